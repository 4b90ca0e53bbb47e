"""Which coins a transaction takes: missing, spent, too young, made beside it."""

from chain.consensus.coin import Coin
from chain.primitives.numbers import Amount, Hash32, outpoint
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.builders import KEY, output_of, pay
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.mutations.locks import parent_and_child
from tests.differential.offer import bad, good
from tests.differential.world import FEE, KEY_OF, MATURITY, ODD_SCRIPTS, Spendable, World

MISSING = "bad-txns-inputs-missingorspent"
IMMATURE = "bad-txns-premature-spend-of-coinbase"
REPEATED = "bad-txns-BIP30"


def some_coin() -> Coin:
    return Coin(5000, KEY.script, 1, from_coinbase=False)  # type: ignore[arg-type]


@mutation
def spend_twice_in_a_block(world: World) -> Offers:
    coins = world.take()
    one, other = world.spend(coins), world.spend(coins, fee=2000)
    yield bad(world.block([one, other]), MISSING)
    yield good(world.block([other]))


@for_each("true", "return", "10001 bytes")
def payment_twice_in_a_block(world: World, kind: str) -> Offers:
    """The same transaction, at places where the Merkle tree is not mutated; some create no coin."""
    outputs = [TxOut(Amount(1), ODD_SCRIPTS[kind]), pay(2)]
    twice, one, other = world.spend(world.take(), outputs), world.payment(), world.payment()
    yield bad(world.block([twice, twice, one]), MISSING)
    yield bad(world.block([twice, one, twice, other]), MISSING)
    yield good(world.block([twice, one]))


@mutation
def spend_again_after_a_block(world: World) -> Offers:
    coins = world.take()
    yield good(world.block([world.spend(coins)]))
    yield bad(world.block([world.spend(coins, fee=2000)]), MISSING)


@mutation
def same_input_twice(world: World) -> Offers:
    """CVE-2018-17144."""
    coins = world.take()
    yield bad(world.block([world.spend(coins * 2)]), "bad-txns-inputs-duplicate")
    more = world.take(2)
    mixed = world.spend([coins[0], *more, coins[0]])
    yield bad(world.block([mixed]), "bad-txns-inputs-duplicate")


@mutation
def child_in_the_same_block(world: World) -> Offers:
    parent, child = parent_and_child(world)
    yield bad(world.block([child, parent]), MISSING)
    yield bad(world.block([child]), MISSING)
    yield good(world.block([parent, child]))


@mutation
def two_children_of_one_output(world: World) -> Offers:
    parent, child = parent_and_child(world)
    out = parent.outputs[0]
    coin = Coin(out.value, out.script, world.height, from_coinbase=False)
    twin = world.spend([(output_of(parent), coin)], fee=3000)
    yield bad(world.block([parent, child, twin]), MISSING)
    yield good(world.block([parent, twin]))


@for_each("index", "txid", "no such index at all", "own")
def coin_that_never_was(world: World, how: str) -> Offers:
    coins = world.take()
    txid = Hash32(coins[0][0][:32])
    points = {
        "index": outpoint(txid, 5000),
        "txid": outpoint(Hash32(world.rng.randbytes(32)), 0),
        "no such index at all": outpoint(txid, 0xFFFFFFFF),
        "own": output_of(world.spend(coins)),
    }
    tx = world.spend([coins[0], (points[how], some_coin())])
    yield bad(world.block([tx]), MISSING)


@for_each((-1, IMMATURE), (0, None), (1, None))
def coinbase_of_age(world: World, more: int, reason: str | None) -> Offers:
    while (coin := _coinbase_coin(world, world.height - MATURITY - more)) is None:
        yield good(world.block())
    block = world.block([world.spend([coin])])
    yield good(block) if reason is None else bad(block, reason)


def _coinbase_coin(world: World, height: int) -> Spendable | None:
    """Return the coin that the coinbase at `height` made, if a key of ours can spend it."""
    first = world.blocks[world.tip.ancestor(height).id].transactions[0]
    coin = world.coins().get(output_of(first))
    usable = coin is not None and coin.script in KEY_OF and coin.value > 10 * FEE
    return (output_of(first), coin) if usable else None


@mutation
def coinbase_of_the_same_block(world: World) -> Offers:
    """Without witness, as a commitment would have to cover the spend of its own transaction."""
    first = world.first(witness=())
    spend = Transaction(2, [TxIn(output_of(first))], [pay(1)])
    yield bad(world.assemble([first, spend]), IMMATURE)


@mutation
def transaction_repeated_while_its_output_is_unspent(world: World) -> Offers:
    """Bitcoin looks for repeated ids (BIP30) before it looks for the coins."""
    tx = world.payment()
    yield good(world.block([tx]))
    yield bad(world.block([tx]), REPEATED)
    yield bad(world.block([world.payment(), tx]), REPEATED)
    child = world.spend([(output_of(tx), world.coins()[output_of(tx)])])
    yield good(world.block([child]))
    yield bad(world.block([tx]), MISSING)


@mutation
def transaction_repeated_behind_its_spend(world: World) -> Offers:
    """The id exists at the block's start, so that it is spent within does not help."""
    tx = world.payment()
    yield good(world.block([tx]))
    child = world.spend([(output_of(tx), world.coins()[output_of(tx)])])
    yield bad(world.block([child, tx]), REPEATED)
    yield good(world.block([child]))


@mutation
def repeated_id_is_reported_before_other_faults(world: World) -> Offers:
    tx = world.payment()
    yield good(world.block([tx]))
    greedy = world.payment(fee=-1)
    yield bad(world.block([greedy, tx]), REPEATED)
    yield bad(world.block([tx, greedy]), REPEATED)
    yield bad(world.block([tx], value=1 << 45), REPEATED)


@mutation
def many_inputs(world: World) -> Offers:
    coins = world.take(12)
    yield good(world.block([world.spend(coins)]))


@mutation
def coin_of_a_side_branch(world: World) -> Offers:
    parent = world.tip
    tx, other = world.payment(), world.payment()
    yield good(world.block([other]))
    yield good(world.block([tx], parent=parent))
    out = tx.outputs[0]
    coin = Coin(out.value, out.script, world.tip.height, from_coinbase=False)
    yield bad(world.block([world.spend([(output_of(tx), coin)])]), MISSING)
