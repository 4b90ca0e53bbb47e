"""Several faults in one block: the first that Bitcoin looks for is the one it tells."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import combinations

from chain.consensus.params import REGTEST
from chain.consensus.subsidy import block_subsidy
from chain.primitives.block import Block
from chain.primitives.numbers import Amount, Hash32, outpoint
from chain.primitives.script import push_number
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.builders import KEY, commit
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.mutations.headers import with_header, without_work
from tests.differential.mutations.values import outputs_of
from tests.differential.mutations.witnesses import with_input, with_witness
from tests.differential.offer import unknown
from tests.differential.world import MATURITY, World


@dataclass
class Draft:
    """A block in the making, to be spoilt."""

    world: World
    payments: list[Transaction] = field(default_factory=list)
    header: dict[str, int] = field(default_factory=dict)
    value_more: int = 0
    script: bytes | None = None
    finish: list[Callable[[Block], Block]] = field(default_factory=list)

    def insert(self, tx: Transaction) -> None:
        self.payments.insert(self.world.rng.randint(0, len(self.payments)), tx)

    def build(self) -> Block:
        world = self.world
        first = world.first(block_subsidy(world.height, REGTEST) + self.value_more)
        if self.script is not None:
            first = with_input(first, 0, script_sig=self.script)
        block = world.assemble(commit([first, *self.payments]), **self.header)
        for change in self.finish:
            block = change(block)
        return block


def _wrong_commitment(block: Block) -> Block:
    first = with_witness(block.transactions[0], b"\x07" * 32)
    return Block(block.header, [first, *block.transactions[1:]])


def _no_reserved_value(block: Block) -> Block:
    first = with_witness(block.transactions[0])
    return Block(block.header, [first, *block.transactions[1:]])


def _null_prevout(world: World) -> Transaction:
    tx = world.payment()
    return Transaction(2, [*tx.inputs, world.first().inputs[0]], tx.outputs)


def _missing(world: World) -> Transaction:
    point = outpoint(Hash32(world.rng.randbytes(32)), 0)
    return Transaction(2, [*world.payment().inputs, TxIn(point)], outputs_of(1))


def _immature(world: World) -> Transaction:
    point = next(
        point
        for point, coin in world.coins().items()
        if coin.from_coinbase and world.height - coin.height < MATURITY
    )
    return Transaction(2, [TxIn(point)], outputs_of(0))


def _bad_signature(world: World) -> Transaction:
    tx = world.payment()
    return Transaction(tx.version, tx.inputs, [replace(tx.outputs[0], value=Amount(5))])


def _repeated(world: World) -> Transaction:
    for block_id in list(world.blocks)[:0:-1]:
        for tx in world.blocks[block_id].transactions[1:]:
            if outpoint(tx.txid, 0) in world.coins():
                return tx
    raise AssertionError("the base has payments")


def _sigops(world: World) -> Transaction:
    return world.payment(outputs=[TxOut(Amount(1), b"\xac" * 20_001)])


def _sigops_with_inputs(world: World) -> Transaction:
    return world.payment(outputs=[TxOut(Amount(1), b"\xac" * 20_000)])


FAULTS: dict[str, Callable[[Draft], None]] = {
    "bits": lambda d: d.header.update(bits=0x207FFFFE),
    "old": lambda d: d.header.update(time=d.world.tip.median_time_past),
    "new": lambda d: d.header.update(time=0xFFFFFFF0),
    "version": lambda d: d.header.update(version=2),
    "work": lambda d: d.finish.append(without_work),
    "root": lambda d: d.finish.append(lambda b: with_header(b, merkle_root=Hash32(bytes(32)))),
    "parent": lambda d: d.finish.append(lambda b: with_header(b, previous=Hash32(b"\x01" * 32))),
    "repeated tail": lambda d: d.payments.extend([d.world.payment()] * 2),
    "commitment": lambda d: d.finish.append(_wrong_commitment),
    "reserved value": lambda d: d.finish.append(_no_reserved_value),
    "coinbase amount": lambda d: setattr(d, "value_more", 1 << 40),
    "coinbase height": lambda d: setattr(d, "script", push_number(d.world.height + 1) + b"\x00"),
    "coinbase length": lambda d: setattr(d, "script", bytes(101)),
    "second coinbase": lambda d: d.insert(d.world.first()),
    "null prevout": lambda d: d.insert(_null_prevout(d.world)),
    "negative": lambda d: d.insert(d.world.payment(outputs=outputs_of(-1))),
    "too large": lambda d: d.insert(d.world.payment(outputs=outputs_of(1 << 60))),
    "no outputs": lambda d: d.insert(d.world.payment(outputs=[])),
    "twice the input": lambda d: d.insert(d.world.spend(d.world.take() * 2)),
    "not final": lambda d: d.insert(d.world.payment(lock_time=1 << 20, sequence=OFF)),
    "relative lock": lambda d: d.insert(d.world.payment(sequence=0xFFFF)),
    "missing": lambda d: d.insert(_missing(d.world)),
    "immature": lambda d: d.insert(_immature(d.world)),
    "below out": lambda d: d.insert(d.world.payment(fee=-1)),
    "repeated": lambda d: d.insert(_repeated(d.world)),
    "sigops": lambda d: d.insert(_sigops(d.world)),
    "sigops with inputs": lambda d: d.insert(_sigops_with_inputs(d.world)),
    "signature": lambda d: d.insert(_bad_signature(d.world)),
    "no witness": lambda d: d.insert(with_witness(d.world.payment())),
    "key": lambda d: d.insert(_other_key(d.world)),
    "odd spend": lambda d: d.insert(with_input(d.world.payment(), 0, script_sig=b"\x51")),
}
OFF = 0xFFFFFFFE
PAIRS = list(combinations(FAULTS, 2))


def _other_key(world: World) -> Transaction:
    tx = world.payment()
    return with_witness(tx, tx.inputs[0].witness[0], KEY.public[:-1] + b"\x00")


def spoilt(world: World, names: list[str]) -> Block:
    draft = Draft(world, [world.payment()])
    for name in names:
        FAULTS[name](draft)
    return draft.build()


@for_each(*FAULTS)
def fault_beside_each_other(world: World, name: str) -> Offers:
    """This one with each of the others, in either order within the block."""
    for other in FAULTS:
        world.begin()
        yield unknown(spoilt(world, [name] if other == name else [name, other]))


@mutation
def three_faults(world: World) -> Offers:
    yield unknown(spoilt(world, world.rng.sample(list(FAULTS), 3)))


@mutation
def four_faults(world: World) -> Offers:
    yield unknown(spoilt(world, world.rng.sample(list(FAULTS), 4)))
