"""Spends of other kinds of outputs: groat refuses them all, Core runs them."""

from chain.consensus.coin import Coin
from chain.primitives.hashes import hash160, sha256
from chain.primitives.numbers import Amount
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.builders import KEY, output_of
from tests.differential.mutation import Offers, for_each
from tests.differential.offer import foreign, good
from tests.differential.world import FEE, ODD_SCRIPTS, World

SPENDABLE = [name for name in ODD_SCRIPTS if name not in {"return", "10001 bytes"}]
SCRIPT_SIGS = (b"", b"\x51", b"\x00", b"\x01\x51", b"\x51\x51")
WITNESSES = ((), (b"",), (b"\x51",), (b"\x01", b"\x51"))


def spend_in_some_way(world: World, coin: tuple, script_sig: bytes, witness: tuple) -> Transaction:
    value = Amount(coin[1].value - FEE)
    return Transaction(2, [TxIn(coin[0], script_sig, witness=witness)], [TxOut(value, KEY.script)])


@for_each(*SPENDABLE)
def spend_of(world: World, name: str) -> Offers:
    coins = world.take()
    value = Amount(coins[0][1].value - FEE)
    tx = world.spend(coins, [TxOut(value, ODD_SCRIPTS[name])])
    yield good(world.block([tx]))
    made = Coin(value, ODD_SCRIPTS[name], world.tip.height, from_coinbase=False)
    script_sig = world.rng.choice(SCRIPT_SIGS)
    witness = world.rng.choice(WITNESSES)
    spend = spend_in_some_way(world, (output_of(tx), made), script_sig, witness)
    yield foreign(world.block([spend]))


@for_each("true", "p2sh of true", "p2wsh of true", "witness v16")
def spend_that_core_takes(world: World, name: str) -> Offers:
    """What Core accepts and groat may not: both must go on together on another branch."""
    scripts = {
        "true": (b"\x51", b"", ()),
        "p2sh of true": (b"\xa9\x14" + hash160(b"\x51") + b"\x87", b"\x01\x51", ()),
        "p2wsh of true": (b"\x00\x20" + sha256(b"\x51"), b"", (b"\x51",)),
        "witness v16": (b"\x60\x02ab", b"", ()),
    }
    script, script_sig, witness = scripts[name]
    coins = world.take()
    value = Amount(coins[0][1].value - FEE)
    tx = world.spend(coins, [TxOut(value, script)])
    yield good(world.block([tx]))
    made = Coin(value, script, world.tip.height, from_coinbase=False)
    answer = yield foreign(
        world.block([spend_in_some_way(world, (output_of(tx), made), script_sig, witness)])
    )
    assert answer.accepted
    yield good(world.block([world.payment()]))
