"""Spends of other kinds of outputs, most of them in vain."""

from chain.consensus.coin import Coin
from chain.primitives.hashes import hash160, sha256
from chain.primitives.numbers import Amount, OutPoint
from chain.primitives.transaction import Transaction, TxIn, TxOut, decode_transaction
from tests.builders import KEY, output_of
from tests.differential.mutation import Offers, for_each
from tests.differential.offer import good, unknown
from tests.differential.world import FEE, ODD_SCRIPTS, World
from tests.script.random_spends import SpendMaker

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
    yield unknown(world.block([spend]))


@for_each("true", "p2sh of true", "p2wsh of true", "witness v16")
def spend_that_anyone_can_make(world: World, name: str) -> Offers:
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
    spend = spend_in_some_way(world, (output_of(tx), made), script_sig, witness)
    yield good(world.block([spend]))


@for_each(*range(24))
def random_spends(world: World, number: int) -> Offers:
    """Scripts of every kind, made and spent; also in the block that makes them, and in a branch."""
    del number
    plans = [_Plan(world) for _ in range(6)]
    (coin,) = world.take()
    rest = Amount(coin[1].value - FEE - sum(plan.output.value for plan in plans))
    outputs = [*(plan.output for plan in plans), TxOut(rest, coin[1].script)]
    funding = world.spend([coin], outputs)
    spends = [plan.spend(output_of(funding, at)) for at, plan in enumerate(plans)]
    yield unknown(world.block([funding, *spends[:2]]))
    if funding.txid not in {point[:32] for point in world.coins()}:
        yield good(world.block([funding]))
    before = world.tip
    for spend in spends:
        yield unknown(world.block([spend]))
    other = world.block([], parent=before)
    yield good(other)
    for spend in spends[:2]:
        yield unknown(world.block([spend, *spends[2:3]]))


class _Plan:
    """A random spend that is made twice in the same way: for its output, and of that."""

    def __init__(self, world: World) -> None:
        self._seed = world.rng.getrandbits(64)
        case = SpendMaker(self._seed).fresh()
        value, script = case.coins[case.index]
        self.output = TxOut(Amount(value), script)

    def spend(self, point: OutPoint) -> Transaction:
        maker = SpendMaker(self._seed)
        case = maker.fresh(point)
        while maker.rng.random() < 0.3:
            case = maker.changed_in_spend(case)
        return decode_transaction(case.raw)
