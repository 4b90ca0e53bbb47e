"""Amounts: each limit, one beyond it, and sums."""

from chain.consensus.params import REGTEST
from chain.consensus.subsidy import block_subsidy
from chain.primitives.numbers import Amount
from chain.primitives.transaction import TxOut
from tests.builders import KEY
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.offer import bad, good
from tests.differential.world import FEE, World

MAX = REGTEST.amount_max
NEGATIVE = "bad-txns-vout-negative"
TOO_LARGE = "bad-txns-vout-toolarge"
TOTAL = "bad-txns-txouttotal-toolarge"
BELOW = "bad-txns-in-belowout"


def outputs_of(*values: int) -> list[TxOut]:
    return [TxOut(Amount(value), KEY.script) for value in values]


@for_each(0, 1)
def small_output(world: World, value: int) -> Offers:
    yield good(world.block([world.payment(outputs=outputs_of(value))]))


@for_each(
    ((-1,), NEGATIVE),
    ((-(1 << 63),), NEGATIVE),
    ((MAX + 1,), TOO_LARGE),
    (((1 << 63) - 1,), TOO_LARGE),
    ((MAX,), BELOW),
    ((MAX, 0), BELOW),
    ((MAX, 1), TOTAL),
    ((MAX, MAX), TOTAL),
    ((MAX // 2, MAX // 2 + 1), TOTAL),
    ((-1, MAX + 1), NEGATIVE),
    ((MAX + 1, -1), TOO_LARGE),
    ((MAX, 1, -1), TOTAL),
    ((MAX, -1), NEGATIVE),
)
def outputs_out_of_range(world: World, values: tuple[int, ...], reason: str) -> Offers:
    yield bad(world.block([world.payment(outputs=outputs_of(*values))]), reason)


@for_each(0, 1, FEE)
def fee(world: World, amount: int) -> Offers:
    yield good(world.block([world.payment(fee=amount)]))


@mutation
def everything_is_fee(world: World) -> Offers:
    coins = world.take(2)
    total = sum(coin.value for _, coin in coins)
    pay = world.spend(coins, outputs_of(0))
    subsidy = block_subsidy(world.height, REGTEST)
    yield bad(world.block([pay], value=subsidy + total + 1), "bad-cb-amount")
    yield good(world.block([pay], value=subsidy + total))


@mutation
def one_more_than_the_inputs(world: World) -> Offers:
    coins = world.take(3)
    total = sum(coin.value for _, coin in coins)
    yield bad(world.block([world.spend(coins, outputs_of(total - 5, 6))]), BELOW)
    yield good(world.block([world.spend(coins, outputs_of(total - 5, 5))]))


@for_each((-1, None), (0, None), (1, "bad-cb-amount"))
def coinbase_pays_beyond_its_due(world: World, more: int, reason: str | None) -> Offers:
    payments = [world.payment(), world.payment(fee=7)]
    due = block_subsidy(world.height, REGTEST) + FEE + 7
    block = world.block(payments, value=due + more)
    yield good(block) if reason is None else bad(block, reason)


@for_each(
    (0, None),
    (-1, NEGATIVE),
    (MAX, "bad-cb-amount"),
    (MAX + 1, TOO_LARGE),
)
def coinbase_output(world: World, value: int, reason: str | None) -> Offers:
    block = world.block(value=value)
    yield good(block) if reason is None else bad(block, reason)


@mutation
def coinbase_outputs_sum_up(world: World) -> Offers:
    half = block_subsidy(world.height, REGTEST) // 2
    over = world.first(outputs=outputs_of(half, half, 1))
    yield bad(world.assemble([over]), "unexpected-witness")
    over = world.first(outputs=outputs_of(half, half, 1), witness=())
    yield bad(world.assemble([over]), "bad-cb-amount")
    yield good(world.assemble([world.first(outputs=outputs_of(half, half), witness=())]))
