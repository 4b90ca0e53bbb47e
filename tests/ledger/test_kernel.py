"""Comparison with Bitcoin Core's kernel, beyond the rules for single blocks."""

import random
from contextlib import closing

import pytest

from chain.consensus.errors import InvalidError
from tests.builders import assemble, block_on, coinbase, commit
from tests.ledger.chains import bad_spend, grow_busy, mature_chain, memory_ledger

pbk = pytest.importorskip("pbk", reason="py-bitcoinkernel has no wheel here")
NOW = 1 << 31


class Pair:
    """A ledger and a kernel with the same input."""

    def __init__(self, folder, ledger):
        self.ledger = ledger
        self.kernel = pbk.load_chainman(folder, pbk.ChainType.REGTEST)

    def feed(self, block):
        """Add a block to both; compare the tips, and return whether each accepted it."""
        try:
            self.ledger.add_block(block, NOW)
            ours = True
        except InvalidError:
            ours = False
        try:
            self.kernel.process_block(pbk.Block(block.raw))
            theirs = True
        except pbk.ProcessBlockException:
            theirs = False
        chain = self.kernel.get_active_chain()
        tip = bytes(chain.block_tree_entries[chain.height].block_hash)
        assert tip == self.ledger.tip.id
        return ours, theirs

    def feed_headers(self, blocks):
        result = self.ledger.add_headers([block.header for block in blocks], NOW)
        assert result.error is None
        for block in blocks:
            self.kernel.process_block_header(pbk.BlockHeader(block.header.encode()))


@pytest.fixture
def pair(tmp_path):
    with closing(memory_ledger()) as ledger:
        yield Pair(tmp_path, ledger)


def test_branches_that_overtake_each_other(pair):
    left = mature_chain(101)
    right = left.fork(0)
    for block in left.blocks:
        assert pair.feed(block) == (True, True)
    for seed in range(6):
        for block in grow_busy(left, right.tip.height - left.tip.height + 2, seed):
            assert pair.feed(block) == (True, True)
        left, right = right, left


def test_bodies_in_random_order_behind_their_headers(pair):
    left = mature_chain(101)
    right = left.fork(0)
    for block in left.blocks:
        pair.feed(block)
    late = [*grow_busy(left, 7, seed=1), *grow_busy(right, 9, seed=2)]
    pair.feed_headers(late)
    random.Random(3).shuffle(late)
    for block in late:
        assert pair.feed(block) == (True, True)
    assert pair.ledger.tip.id == right.tip.id


def test_a_bad_block_and_what_builds_on_it(pair):
    chain = mature_chain(101)
    for block in chain.blocks:
        pair.feed(block)
    bad = chain.fork(0)
    for number in range(3):
        bad.add([bad_spend(bad)] if number == 1 else [], fees=0, extra=b"bad")
    good = chain.grow(2)
    for block in good:
        assert pair.feed(block) == (True, True)
    first, second, third = bad.blocks[-3:]
    assert pair.feed(first) == (True, True)
    assert pair.feed(second) == (True, True), "no more work than the tip: only stored"
    # The kernel answers that it took the block, and says what was wrong with its parent elsewhere.
    assert pair.feed(third) == (False, True)
    for block in (second, third, block_on(bad.tip)):
        assert pair.feed(block) == (False, False)
    assert pair.feed(first) == (True, True)


def test_verdicts_on_known_unknown_and_misplaced_blocks(pair):
    chain = mature_chain(3)
    for block in (*chain.blocks, *chain.blocks):
        assert pair.feed(block) == (True, True)
    future = chain.fork(0)
    parent, child = future.grow(2)
    wrong_height = assemble(chain.tip, commit([coinbase(9, 0)]))
    mutated = type(parent)(parent.header, [*parent.transactions, parent.transactions[-1]])
    for block in (child, wrong_height, wrong_height, mutated):
        assert pair.feed(block) == (False, False)
    for block in (parent, child):
        assert pair.feed(block) == (True, True)
