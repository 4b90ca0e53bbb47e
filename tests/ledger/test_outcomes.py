"""Reorganisations of more blocks than are held in memory."""

from functools import partial

import pytest

from chain.ledger import outcomes as moved_module
from chain.ledger.outcomes import MovedBlocks
from chain.primitives import block as block_module
from chain.primitives import compiled_block
from chain.primitives.block import decode_block
from tests.ledger.chains import NOW, feed, grow_busy, mature_chain, memory_ledger


@pytest.fixture
def branches():
    """A chain, and one with more work that forks at height 101."""
    old = mature_chain(101)
    new = old.fork(0)
    grow_busy(old, 6, seed=1)
    grow_busy(new, 7, seed=2)
    return old, new


@pytest.mark.parametrize("held", [0, 2_000, 1_000_000])
def test_all_blocks_that_moved_are_told_however_few_are_held(branches, held, monkeypatch):
    monkeypatch.setattr(moved_module, "HELD_BYTES_MAX", held)
    old, new = branches
    ledger = memory_ledger()
    feed(ledger, [*old.blocks, *new.blocks[101:-1]])
    added = ledger.add_block(new.blocks[-1], NOW)
    assert [b.raw for b in added.connected] == [b.raw for b in new.blocks[101:]]
    assert [b.raw for b in added.disconnected] == [b.raw for b in reversed(old.blocks[101:])]
    assert [b.raw for b in reversed(added.disconnected)] == [b.raw for b in old.blocks[101:]]
    assert [b.id for b in added.connected.summaries] == [b.id for b in new.blocks[101:]]
    assert len(added.connected) == 7
    assert added.is_connected
    ledger.close()


def test_blocks_over_the_limit_are_read_when_they_are_asked_for(branches, monkeypatch):
    blocks = branches[0].blocks[101:]
    monkeypatch.setattr(moved_module, "HELD_BYTES_MAX", len(blocks[0].raw) + len(blocks[1].raw))
    moved, read = MovedBlocks(), []

    def again(block):
        read.append(block)
        return block

    for block in blocks[:3]:
        moved.add(block, partial(again, block))
    assert [told.id for told in moved.summaries] == [block.id for block in blocks[:3]]
    assert not read, "ids are known without"
    assert list(moved) == blocks[:3]
    assert list(moved) == blocks[:3]
    assert read == [blocks[2], blocks[2]], "and not kept"


def test_blocks_that_moved_hold_no_columns(branches, monkeypatch):
    """Beside their objects, they would take twice the memory that HELD_BYTES_MAX allows for."""
    if compiled_block._reader_or_none() is None:
        pytest.skip("no compiled code on this machine")
    monkeypatch.setattr(block_module, "_COLUMNS_MIN", 1)
    old, new = ([decode_block(block.raw) for block in chain.blocks] for chain in branches)
    assert old[-1].p2wpkh_columns is not None
    ledger = memory_ledger()
    feed(ledger, [*old, *new[101:-1]])
    added = ledger.add_block(new[-1], NOW)
    moved = [*added.connected, *added.disconnected]
    assert len(moved) == 13
    assert [block._columns for block in moved] == [None] * 13
    ledger.close()


def test_two_runs_of_blocks_are_one(branches):
    blocks = branches[0].blocks
    both = MovedBlocks(blocks[:2]) + MovedBlocks(blocks[2:3])
    assert list(both) == blocks[:3]
    assert len(both) == 3
