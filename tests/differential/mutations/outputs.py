"""Output scripts: any may stand in a block."""

from chain.consensus.coin import Coin
from chain.primitives.numbers import Amount
from chain.primitives.transaction import TxOut
from tests.builders import KEY, output_of
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.offer import bad, good
from tests.differential.world import ODD_SCRIPTS, World

MISSING = "bad-txns-inputs-missingorspent"
UNSPENDABLE = {"return", "10001 bytes"}


def paying(world: World, script: bytes, value: int = 1000):
    """Return a payment whose first output has `script`, and whose rest comes back."""
    coins = world.take()
    rest = coins[0][1].value - value - 500
    outputs = [TxOut(Amount(value), script), TxOut(Amount(rest), coins[0][1].script)]
    return world.spend(coins, outputs)


@for_each(*ODD_SCRIPTS)
def output_script(world: World, name: str) -> Offers:
    yield good(world.block([paying(world, ODD_SCRIPTS[name])]))


@for_each(0, 1, 252, 253, 519, 520, 521, 9_999, 65_535, 65_536)
def output_script_of_length(world: World, size: int) -> Offers:
    yield good(world.block([paying(world, bytes(size))]))


@mutation
def output_script_of_random_bytes(world: World) -> Offers:
    size = world.rng.choice([5, 22, 34, 100])
    yield good(world.block([paying(world, world.rng.randbytes(size)) for _ in range(3)]))


@for_each(*ODD_SCRIPTS)
def coinbase_pays_to(world: World, name: str) -> Offers:
    yield good(world.assemble([world.first(script=ODD_SCRIPTS[name], witness=())]))


@for_each(*sorted(UNSPENDABLE))
def unspendable_output_never_was_a_coin(world: World, name: str) -> Offers:
    funding = paying(world, ODD_SCRIPTS[name])
    coin = _first_output_as_p2wpkh(funding)
    yield bad(world.block([funding, world.spend([coin])]), MISSING)
    yield good(world.block([funding]))
    yield bad(world.block([world.spend([coin])]), MISSING)


def _first_output_as_p2wpkh(tx):
    return output_of(tx), Coin(tx.outputs[0].value, KEY.script, 1, from_coinbase=False)
