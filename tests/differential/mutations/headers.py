"""Headers: work, bits, time, version, and the parent."""

import time as clock
from dataclasses import replace

from chain.primitives.block import Block
from chain.primitives.compact import target_from_bits
from chain.primitives.numbers import Hash32
from tests.builders import solve
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.offer import bad, good
from tests.differential.world import World

OLD = "time-too-old"
NEW = "time-too-new"


def with_header(block: Block, **changes) -> Block:
    """Return the block with another header field and the work done again."""
    return Block(solve(replace(block.header, nonce=0, **changes)), block.transactions)


def without_work(block: Block, **changes) -> Block:
    """Return the block with another header field and a hash in the upper half."""
    for nonce in range(1000):
        header = replace(block.header, nonce=nonce, **changes)
        if header.id[31] >= 0x80:
            break
    return Block(header, block.transactions)


@for_each((-1, OLD), (0, OLD), (1, None), (2, None))
def time_after_the_median(world: World, more: int, reason: str | None) -> Offers:
    block = world.block([world.payment()], time=world.tip.median_time_past + more)
    yield good(block) if reason is None else bad(block, reason)


@for_each((7200, None), (7210, NEW), (1_000_000, NEW))
def time_ahead_of_the_clock(world: World, ahead_s: int, reason: str | None) -> Offers:
    block = world.block(time=int(clock.time()) + ahead_s)
    yield good(block) if reason is None else bad(block, reason)
    if reason is not None:
        yield bad(block, reason)  # it is not condemned: the same answer again


@for_each((0, OLD), (0xFFFFFFFF, NEW))
def time_at_the_ends(world: World, time: int, reason: str) -> Offers:
    yield bad(world.block(time=time), reason)


@for_each(
    (0x207FFFFE, "bad-diffbits"),
    (0x21007FFF, "bad-diffbits"),
    (0x20123456, "bad-diffbits"),
    (0x1F7FFFFF, "bad-diffbits"),
    (0x20800001, "high-hash"),
    (0x20FFFFFF, "high-hash"),
    (0x20000000, "high-hash"),
    (0, "high-hash"),
    (0x01003456, "high-hash"),
    (0x217FFFFF, "high-hash"),
    (0x21008000, "high-hash"),
    (0xFF7FFFFF, "high-hash"),
    (0x23000001, "high-hash"),
    (0x1D00FFFF, "high-hash"),
    (0xFFFFFFFF, "high-hash"),
)
def bits(world: World, value: int, reason: str) -> Offers:
    block = world.block([world.payment()])
    if reason == "high-hash":
        changed = Block(replace(block.header, bits=value), block.transactions)
    else:
        assert target_from_bits(value) is not None
        changed = with_header(block, bits=value)
    yield bad(changed, reason)
    yield good(block)


@mutation
def no_work(world: World) -> Offers:
    yield bad(without_work(world.block()), "high-hash")


@for_each(4, 5, 0x20000000, 0x3FFFFFFF, 0x7FFFFFFF)
def version(world: World, value: int) -> Offers:
    yield good(world.block(version=value))


@for_each(3, 2, 1, 0, -1, -(1 << 31), -0x60000000)
def version_too_low(world: World, value: int) -> Offers:
    reason = f"bad-version(0x{value & 0xFFFFFFFF:08x})"
    yield bad(world.block([world.payment()], version=value), reason)
    yield bad(world.block(version=value, time=world.tip.median_time_past), OLD)


@mutation
def unknown_parent(world: World) -> Offers:
    block = with_header(world.block(), previous=Hash32(world.rng.randbytes(32)))
    yield bad(block, "prev-blk-not-found")
    yield bad(block, "prev-blk-not-found")
    yield bad(with_header(block, merkle_root=Hash32(bytes(32))), "bad-txnmrklroot")
    yield bad(with_header(block, version=1, time=0), "prev-blk-not-found")


@mutation
def null_parent(world: World) -> Offers:
    yield bad(with_header(world.block(), previous=Hash32(bytes(32))), "prev-blk-not-found")


@mutation
def merkle_root_of_something_else(world: World) -> Offers:
    block = world.block([world.payment()])
    for root in (bytes(32), block.transactions[0].txid, world.rng.randbytes(32)):
        yield bad(with_header(block, merkle_root=Hash32(root)), "bad-txnmrklroot")
    yield good(block)


@mutation
def empty_block(world: World) -> Offers:
    yield bad(world.assemble([]), "bad-blk-length")
    yield bad(without_work(world.assemble([])), "high-hash")
    copy = Block(world.block().header, [])
    yield bad(copy, "bad-txnmrklroot")


@mutation
def header_fault_of_a_block_never_poisons_another(world: World) -> Offers:
    block = world.block([world.payment()])
    yield bad(with_header(block, time=world.tip.median_time_past), OLD)
    yield bad(with_header(block, version=3), "bad-version(0x00000003)")
    yield good(block)
    yield good(block)
