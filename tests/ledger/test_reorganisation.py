"""Reorganisation to a branch with more work: all of it or nothing."""

from contextlib import closing

import pytest

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.ledger import chain_tip as chain_tip_module
from chain.ledger.ledger import Ledger
from tests.builders import block_on
from tests.ledger.chains import (
    KEYS,
    NOW,
    QUICK,
    TRUNK,
    bad_spend,
    feed,
    grow_busy,
    quick_chain,
    quick_ledger,
    tables,
    url_of,
)


@pytest.fixture
def ledger():
    with closing(quick_ledger(threads=2)) as opened:
        yield opened


def fresh_tables(blocks):
    """The tables of a ledger that has added only `blocks`."""
    ledger = quick_ledger()
    feed(ledger, blocks)
    rows = tables(ledger)
    ledger.close()
    return rows


@pytest.mark.parametrize("depth", [1, 2, 100])
def test_a_heavier_branch_leaves_no_trace_of_the_old_one(ledger, depth):
    old = quick_chain()
    new = old.fork(0)
    grow_busy(old, depth, seed=depth)
    grow_busy(new, depth + 1, seed=1000 + depth)
    feed(ledger, old.blocks)
    feed(ledger, new.blocks[TRUNK:-1])
    assert ledger.tip.id == old.tip.id, "equal work: the first seen stays"
    added = ledger.add_block(new.blocks[-1], NOW)
    assert [b.id for b in added.disconnected] == [b.id for b in reversed(old.blocks[TRUNK:])]
    assert [b.id for b in added.connected] == [b.id for b in new.blocks[TRUNK:]]
    assert tables(ledger) == fresh_tables(new.blocks)


def test_going_back_and_forth_restores_every_table(ledger):
    left = quick_chain()
    grow_busy(left, 5, seed=1)
    right = left.fork(5)
    feed(ledger, left.blocks)
    for turn in range(1, 4):
        grow_busy(right, 10, seed=turn)
        feed(ledger, right.blocks)
        assert tables(ledger) == fresh_tables(right.blocks)
        left, right = right, left


def test_a_small_flush_limit_changes_nothing(ledger, monkeypatch):
    monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", 3)
    old = quick_chain()
    new = old.fork(0)
    grow_busy(old, 20, seed=1)
    grow_busy(new, 21, seed=2)
    feed(ledger, [*old.blocks, *new.blocks[TRUNK:]])
    assert tables(ledger) == fresh_tables(new.blocks)


@pytest.mark.parametrize("flush_rows", [3, 400_000])
def test_a_bad_block_in_the_middle_leaves_the_old_chain_whole(ledger, monkeypatch, flush_rows):
    monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", flush_rows)
    old = quick_chain()
    new = old.fork(0)
    grow_busy(old, 5, seed=1)
    grow_busy(new, 3, seed=2)
    bad = new.add([bad_spend(new, 1)], fees=0, extra=b"bad")
    new.grow(2, extra=b"after")
    feed(ledger, old.blocks)
    feed(ledger, new.blocks[TRUNK:-1])
    before = tables(ledger)
    with pytest.raises(InvalidError) as caught:
        ledger.add_block(new.blocks[-1], NOW)
    assert caught.value.reason is Reason.PARENT_INVALID
    assert tables(ledger) == before
    assert ledger.tip.id == old.tip.id
    assert [ledger.tree.is_invalid(b.id) for b in new.blocks[-4:]] == [False, True, True, True]
    assert not ledger.tree.is_stored(bad.id)
    with pytest.raises(InvalidError) as caught:
        ledger.add_block(bad, NOW)
    assert caught.value.reason is Reason.KNOWN_INVALID
    grow_busy(old, 3, seed=3)
    feed(ledger, old.blocks)
    assert tables(ledger) == fresh_tables(old.blocks), "and it goes on from there"


def test_the_next_best_branch_is_taken_when_the_best_fails(ledger):
    """The valid part of the invalid branch has more work than the old tip."""
    old = quick_chain(TRUNK + 1)
    new = old.fork(1)
    new.grow(3, extra=b"new")
    bad = new.add([bad_spend(new)], fees=0)
    new.grow(1, extra=b"late")
    feed(ledger, old.blocks)
    ledger.add_headers([b.header for b in new.blocks], NOW)
    feed(ledger, [b for b in new.blocks[TRUNK:] if b is not new.blocks[TRUNK]])
    added = ledger.add_block(new.blocks[TRUNK], NOW)  # fills the gap
    assert [b.id for b in added.connected] == [b.id for b in new.blocks[TRUNK : TRUNK + 3]]
    assert ledger.tip.id == new.blocks[TRUNK + 2].id
    assert ledger.tree.is_invalid(bad.id)
    assert tables(ledger) == fresh_tables(new.blocks[: TRUNK + 3])


def test_of_two_equal_branches_the_first_that_was_complete_wins_even_after_restart(tmp_path):
    trunk = quick_chain(3)
    first, second = trunk.fork(0), trunk.fork(0)
    first.grow(2, extra=b"first")
    second.grow(2, extra=b"second")
    ledger = Ledger(url_of(tmp_path), QUICK, verify_threads=1)
    ledger.add_headers([b.header for b in second.blocks], NOW)  # seen first, complete last
    feed(ledger, [*first.blocks, *second.blocks])
    assert ledger.tip.id == first.tip.id
    ledger.close()
    again = Ledger(url_of(tmp_path), QUICK, verify_threads=1)
    assert again.tip.id == first.tip.id
    feed(again, second.blocks)
    assert again.tip.id == first.tip.id
    second.grow(1, extra=b"more")
    feed(again, second.blocks)
    assert again.tip.id == second.tip.id
    again.close()


def test_a_body_that_completes_two_equal_branches_at_once_takes_the_earlier_stored(ledger):
    trunk = quick_chain(1)
    root = block_on(ledger.tree.genesis, extra=b"root")
    entry = BlockTreeEntry(root.header, ledger.tree.genesis)
    ends = [block_on(entry, extra=extra) for extra in (b"one", b"two")]
    feed(ledger, trunk.blocks)
    ledger.add_headers([root.header], NOW)
    feed(ledger, reversed(ends))
    ledger.add_block(root, NOW)
    assert ledger.tip.id == ends[1].id


def test_disconnecting_gives_back_the_coins_sum(ledger):
    chain = quick_chain()
    grow_busy(chain, 4, seed=7)
    other = chain.fork(4)
    other.grow(5, extra=b"empty", script=next(iter(KEYS)))
    feed(ledger, chain.blocks[:TRUNK])
    before = ledger._chain.coins.summed
    feed(ledger, chain.blocks[TRUNK:])
    feed(ledger, other.blocks[TRUNK:])
    for entry_count in range(5):
        assert ledger._chain.coins.summed.count == before.count + 5 - entry_count
        with ledger._writing():
            ledger._chain.disconnect()
            ledger._chain.flush()
    assert ledger._chain.coins.summed == before


def test_a_ledger_without_indexes_has_all_else_after_a_reorganisation(ledger):
    short, long = quick_chain(), quick_chain()
    grow_busy(short, 3, seed=1)
    grow_busy(long, 5, seed=2)
    plain = quick_ledger(threads=2)
    plain.leave_out_indexes()
    for each in (ledger, plain):
        feed(each, [*short.blocks, *long.blocks])
        assert each.tip.id == long.tip.id
    expected, left_out = tables(ledger), {"transactions", "history", "index_digests"}
    for name, rows in tables(plain).items():
        assert rows == ([] if name in left_out else expected[name]), name
    plain.close()


def test_only_a_new_ledger_can_leave_out_its_indexes(ledger):
    feed(ledger, quick_chain().blocks[:1])
    with pytest.raises(AssertionError, match="indexed already"):
        ledger.leave_out_indexes()
