"""Branches: reorganisations, ties, invalid blocks within, and any order of arrival."""

from collections.abc import Sequence

from chain.consensus.entry import BlockTreeEntry
from chain.primitives.block import Block
from chain.primitives.transaction import Transaction
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.mutations.witnesses import with_witness
from tests.differential.offer import ANY, Offer, bad, good, header_only, undecodable, unknown
from tests.differential.world import World

NOT_FOUND = "prev-blk-not-found"
PARENT = "bad-prevblk"
KNOWN_INVALID = "duplicate-invalid"


def branch(
    world: World, start: BlockTreeEntry, payments: Sequence[Sequence[Transaction]], **how
) -> list[Block]:
    """Return blocks in a row on `start`, with these payments each."""
    blocks, at = [], start
    for transactions in payments:
        blocks.append(world.block(transactions, parent=at, **how))
        at = BlockTreeEntry(blocks[-1].header, at)
    return blocks


def fork_of(world: World, depth: int) -> BlockTreeEntry:
    return world.tip.ancestor(world.tip.height - depth)


def spread(world: World, start: BlockTreeEntry, count: int) -> list[list[Transaction]]:
    """Return payments for `count` blocks on `start`, some of them empty."""
    return [
        [world.spend(world.take(at=start))] if world.rng.random() < 0.7 else []
        for _ in range(count)
    ]


@for_each(*range(1, 11))
def reorganisation_of_depth(world: World, depth: int) -> Offers:
    start = fork_of(world, depth)
    for block in branch(world, start, spread(world, start, depth + 1)):
        yield good(block)
    assert world.tip.id == block.id


@for_each(1, 3, 6)
def reorganisation_and_back(world: World, depth: int) -> Offers:
    start, old = fork_of(world, depth), world.tip
    for block in branch(world, start, spread(world, start, depth + 1)):
        yield good(block)
    for block in branch(world, old, [[], []]):
        yield good(block)
    assert world.tip.id == block.id


FAULTS = {
    "amount": (lambda w, at, tx: w.block([tx], parent=at, value=1 << 45), "bad-cb-amount"),
    "missing coin": (lambda w, at, tx: w.block([tx, tx, tx, tx][:2], parent=at), None),
    "signature": (
        lambda w, at, tx: w.block([with_witness(tx, b"", tx.inputs[0].witness[1])], parent=at),
        None,
    ),
}


@for_each(*[(depth, name) for depth in (1, 2, 5, 10) for name in FAULTS])
def invalid_block_within_a_branch(world: World, depth: int, fault: str) -> Offers:
    """It is only stored until its branch has more work; then it brings all behind it down."""
    start, old = fork_of(world, depth), world.tip
    before = world.rng.randint(0, depth - 1)
    blocks = branch(world, start, spread(world, start, before))
    at = start
    for block in blocks:
        yield good(block)
        at = BlockTreeEntry(block.header, at)
    invalid = FAULTS[fault][0](world, at, world.spend(world.take(at=start)))
    yield good(invalid)
    at = BlockTreeEntry(invalid.header, at)
    behind = branch(world, at, [[]] * (depth - before + 2))
    for block in behind[: depth - before - 1]:
        yield good(block)
    yield undecodable(behind[depth - before - 1].raw)  # refused, and not for its own sake
    assert world.tip.id == old.id
    yield bad(behind[depth - before], PARENT)
    yield bad(behind[depth - before + 1], NOT_FOUND)
    yield bad(invalid, KNOWN_INVALID)
    yield bad(behind[0], KNOWN_INVALID)
    yield bad(world.block(parent=BlockTreeEntry(invalid.header, at)), PARENT)


@for_each(1, 2, 4)
def invalid_block_at_the_end_of_a_branch(world: World, depth: int) -> Offers:
    start, old = fork_of(world, depth), world.tip
    blocks = branch(world, start, spread(world, start, depth))
    for block in blocks:
        yield good(block)
    at = start
    for block in blocks:
        at = BlockTreeEntry(block.header, at)
    last = world.block(parent=at, value=1 << 45)
    yield bad(last, "bad-cb-amount")
    assert world.tip.id == old.id
    yield good(world.block(parent=at))
    assert world.tip.height == old.height + 1


@mutation
def children_of_an_invalid_block(world: World) -> Offers:
    invalid = world.block([world.payment()], value=1 << 45)
    child, grandchild = branch(world, BlockTreeEntry(invalid.header, world.tip), [[], []])
    yield bad(child, NOT_FOUND)
    yield bad(invalid, "bad-cb-amount")
    yield bad(invalid, KNOWN_INVALID)
    yield bad(child, PARENT)
    yield bad(grandchild, NOT_FOUND)
    yield bad(child, PARENT)
    yield good(world.block())


@for_each(2, 5, 9)
def any_order_of_arrival(world: World, count: int) -> Offers:
    """Whoever comes before its parent is refused, and right when it comes again."""
    blocks = branch(world, world.tip, spread(world, world.tip, count))
    known = {world.tip.id}
    waiting = blocks[:]
    while waiting:
        world.rng.shuffle(waiting)
        for block in waiting[:]:
            if block.header.previous in known:
                yield good(block)
                known.add(block.id)
                waiting.remove(block)
            else:
                yield bad(block, NOT_FOUND)
    assert world.tip.id == blocks[-1].id


@for_each(2, 3)
def equal_work(world: World, count: int) -> Offers:
    """The first stays, until one of the others grows."""
    start = world.tip
    payment = world.payment()
    blocks = [world.block([payment], parent=start) for _ in range(count)]
    for block in blocks:
        yield good(block)
    assert world.tip.id == blocks[0].id
    chosen = world.rng.choice(blocks[1:])
    yield good(world.block(parent=BlockTreeEntry(chosen.header, start)))
    assert world.tip.ancestor(start.height + 1).id == chosen.id


@for_each(2, 4)
def branches_that_overtake_each_other(world: World, length: int) -> Offers:
    tips = [world.tip, world.tip]
    for _ in range(length):
        for side in (0, 1):
            for _ in range(2):
                block = world.block(parent=tips[side])
                yield good(block)
                tips[side] = BlockTreeEntry(block.header, tips[side])


@mutation
def same_payments_on_both_branches(world: World) -> Offers:
    start = world.tip
    a, b = world.payment(), world.payment()
    for block in branch(world, start, [[a], [b]]):
        yield good(block)
    for block in branch(world, start, [[b], [], [a]]):
        yield good(block)
    yield bad(world.block([a]), "bad-txns-BIP30")


@mutation
def known_blocks_again(world: World) -> Offers:
    yield good(world.blocks[world.tip.id])
    yield good(world.blocks[world.tip.ancestor(world.rng.randint(1, world.tip.height)).id])
    yield unknown(world.rng.choice(list(world.blocks.values())))  # its branch may have failed


@mutation
def refused_block_again(world: World) -> Offers:
    if world.refused:
        yield unknown(world.rng.choice(world.refused))


@for_each(2, 5)
def headers_before_bodies(world: World, count: int) -> Offers:
    """Bodies are kept in any order once their headers are known; the tip moves when none lacks."""
    blocks = branch(world, world.tip, spread(world, world.tip, count))
    for block in blocks:
        yield header_only(block.header)
    shuffled = blocks[:]
    world.rng.shuffle(shuffled)
    for block in shuffled:
        yield good(block)
    assert world.tip.id == blocks[-1].id


@mutation
def headers_before_an_invalid_body(world: World) -> Offers:
    old = world.tip
    blocks = branch(world, old, [[], []])
    invalid = world.block(
        parent=BlockTreeEntry(blocks[1].header, BlockTreeEntry(blocks[0].header, old)),
        value=1 << 45,
    )
    at = BlockTreeEntry(blocks[1].header, BlockTreeEntry(blocks[0].header, old))
    child = world.block(parent=BlockTreeEntry(invalid.header, at))
    for block in (*blocks, invalid, child):
        yield header_only(block.header)
    yield good(child)
    yield good(invalid)
    yield good(blocks[1])
    yield Offer(blocks[0].raw, ANY)
    yield Offer(child.raw, ANY)
    yield header_only(child.header)
    yield header_only(blocks[0].header)
