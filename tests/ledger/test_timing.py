"""Timings of the blocks that were committed and are still in the chain."""

from random import Random

import pytest

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.genesis import genesis_block
from chain.consensus.params import REGTEST
from chain.ledger.timing import BlockTimer, BlockTiming
from chain.primitives.block import Header

GENESIS = BlockTreeEntry(genesis_block(REGTEST).header, None)


def grow(parent: BlockTreeEntry, source: Random) -> BlockTreeEntry:
    header = Header(4, parent.id, source.randbytes(32), parent.header.time + 1, 0x207FFFFF, 0)
    return BlockTreeEntry(header, parent)


@pytest.mark.parametrize("seed", range(20))
def test_those_of_blocks_in_the_chain_are_told_in_the_order_in_which_they_connected(seed):
    """Blocks connect on branches that are left again, longer or shorter than the one kept."""
    source, timer, tip, connected = Random(seed), BlockTimer(), GENESIS, []
    told: list[BlockTiming] = []
    timer.listeners.append(told.append)
    for _ in range(6):
        tip = tip.ancestor(source.randrange(tip.height + 1))
        for _ in range(source.randrange(1, 5)):
            tip = grow(tip, source)
            connected.append(tip)
            timer.connected(timer.of(tip.id), tip)
    tip = tip.ancestor(source.randrange(tip.height + 1))
    timer.report(tip, 1.0)
    assert [timing.entry for timing in told] == [e for e in connected if e.is_ancestor_of(tip)]
    assert all(timing.write_s == 1.0 / len(connected) for timing in told)


def test_the_newest_wait_for_the_next_report():
    timer, told, tip = BlockTimer(), [], GENESIS
    timer.listeners.append(told.append)
    for number in range(5):
        tip = grow(tip, Random(number))
        timer.connected(timer.of(tip.id), tip)
    timer.report(tip, 0.0, unverified=2)
    assert [timing.height for timing in told] == [1, 2, 3]
    timer.report(tip, 0.0)
    assert [timing.height for timing in told] == [1, 2, 3, 4, 5]
