"""Whole trees of blocks, right and wrong ones, in any order and more than once."""

from chain.consensus.entry import BlockTreeEntry
from chain.primitives.block import Block
from tests.differential.mutation import Offers, for_each
from tests.differential.mutations.faults import OFF
from tests.differential.mutations.headers import with_header
from tests.differential.mutations.witnesses import with_witness
from tests.differential.offer import header_only, unknown
from tests.differential.world import World

WRONG = (
    lambda w, at, tx: w.block([tx], parent=at, value=1 << 45),
    lambda w, at, tx: w.block([tx, tx], parent=at),
    lambda w, at, tx: w.block([with_witness(tx, b"", tx.inputs[0].witness[1])], parent=at),
    lambda w, at, tx: w.block([tx, w.first()], parent=at),
    lambda w, at, tx: w.block(
        [w.spend(w.take(at=w.tip), sequence=OFF, lock_time=1 << 20)], parent=at
    ),
    lambda w, at, tx: w.block([tx], parent=at, version=3),
    lambda w, at, tx: w.block([tx], parent=at, time=at.median_time_past),
    lambda w, at, tx: _wrong_copy(w.block([tx], parent=at)),
)


def _wrong_copy(block: Block) -> Block:
    changed = with_witness(block.transactions[-1], b"x")
    return Block(block.header, [*block.transactions[:-1], changed])


def tree(world: World, count: int, wrong: float) -> list[Block]:
    """Return `count` blocks that all descend from the tip; about a share of `wrong` are bad."""
    start, rng = world.tip, world.rng
    entries, blocks = [start], []
    coins = world.take(min(count, 8))
    for _ in range(count):
        at = rng.choice(entries[-4:])
        tx = world.spend([rng.choice(coins)], fee=rng.randint(0, 5000))
        if rng.random() < wrong:
            block = rng.choice(WRONG)(world, at, tx)
        else:
            block = world.block([tx] if rng.random() < 0.4 else [], parent=at)
        blocks.append(block)
        entries.append(BlockTreeEntry(block.header, at))
    return blocks


@for_each((8, 0.0), (8, 0.2), (16, 0.1), (16, 0.3))
def tree_in_any_order(world: World, count: int, wrong: float) -> Offers:
    """In order of making, then shuffled; whoever came too early comes again at the end."""
    blocks = tree(world, count, wrong)
    for offered in (world.rng.sample(blocks, count), world.rng.sample(blocks, count), blocks):
        for block in offered:
            yield unknown(block)


@for_each((8, 0.0), (8, 0.3), (16, 0.15))
def tree_in_order(world: World, count: int, wrong: float) -> Offers:
    for block in tree(world, count, wrong):
        yield unknown(block)


@for_each((8, 0.0), (8, 0.3), (16, 0.15))
def tree_of_headers_then_bodies(world: World, count: int, wrong: float) -> Offers:
    """Headers first, so that bodies are kept without their parents and complete in any order."""
    blocks = tree(world, count, wrong)
    for block in blocks:
        if world.rng.random() < 0.8:
            yield header_only(block.header)
    for block in world.rng.sample(blocks, count):
        yield unknown(block)
        if world.rng.random() < 0.3:
            yield header_only(world.rng.choice(blocks).header)
    for block in blocks:
        yield unknown(block)


@for_each(20, 40)
def deep_reorganisation(world: World, depth: int) -> Offers:
    """Of empty blocks: it is about the way back."""
    old = at = world.tip
    for _ in range(depth):
        block = world.block([])
        yield unknown(block)
    for _ in range(depth + 1):
        block = world.block(parent=at)
        yield unknown(block)
        at = BlockTreeEntry(block.header, at)
    assert world.tip.id == block.id
    assert world.tip.ancestor(old.height) == old
    yield unknown(with_header(block, version=2))
