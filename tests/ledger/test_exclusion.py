"""Excluded blocks: the new tip, transactions that return, and persistence over restarts."""

import sqlite3
from contextlib import closing

import pytest

from chain.consensus.errors import InvalidError, Reason
from chain.ledger import tree as tree_module
from chain.ledger.db import exclusion
from chain.ledger.db.exclusion import ExclusionError
from chain.ledger.ledger import Ledger
from chain.ledger.offline.checking import check_ledger
from chain.primitives.numbers import id_text
from tests.builders import assemble, coinbase, commit
from tests.ledger.chains import (
    NOW,
    QUICK,
    TRUNK,
    bad_spend,
    entry_of,
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


@pytest.mark.parametrize("size", [1, 3, 7])
def test_what_was_excluded_and_forgotten_is_not_added_again(monkeypatch, ledger, size):
    monkeypatch.setattr(tree_module, "INVALID_MAX", 5)
    chain = quick_chain(0)
    wrong = assemble(chain.tip, commit([coinbase(1, 1 << 40)]), params=QUICK)  # pays too much
    chain.append(wrong)
    upon = chain.grow(6)
    headers = [block.header for block in chain.blocks]
    assert ledger.add_headers(headers, NOW).added == 7
    ledger.invalidate(entry_of(ledger, upon[2]))
    with pytest.raises(InvalidError):
        ledger.add_block(wrong, NOW)
    assert ledger.tree.get(wrong.id) is None  # forgotten, and all upon it
    groups = [headers[start : start + size] for start in range(0, 7, size)]
    results = [ledger.add_headers(group, NOW) for group in groups]
    assert sum(result.accepted for result in results) == 3
    refused = next(result.error for result in results if result.error is not None)
    assert refused.reason is Reason.KNOWN_INVALID
    assert ledger.tree.best_header.height == 3


@pytest.fixture
def branches(ledger):
    """The chain of the ledger, and a branch that forks three blocks before its tip."""
    chain = quick_chain()
    grow_busy(chain, 6, seed=1)
    side = chain.fork(3)
    grow_busy(side, 2, seed=2)
    feed(ledger, [*chain.blocks, *side.blocks[TRUNK + 3 :]])
    assert ledger.tip.id == chain.tip.id
    return chain, side


def fresh_tables(blocks):
    ledger = quick_ledger()
    feed(ledger, blocks)
    rows = tables(ledger)
    ledger.close()
    return rows


def without_meta(rows):
    return {name: found for name, found in rows.items() if name != "meta"}


def test_the_tip_goes_to_the_parent_where_no_branch_has_more_work(ledger, branches):
    chain, _ = branches
    moved = ledger.invalidate(entry_of(ledger, chain.blocks[-1]))
    assert [b.id for b in moved.disconnected] == [chain.blocks[-1].id]
    assert not moved.connected
    assert without_meta(tables(ledger)) == without_meta(fresh_tables(chain.blocks[:-1]))
    assert ledger.tree.best_header == ledger.tip


def test_the_tip_goes_to_another_branch_where_that_has_more_work(ledger, branches):
    chain, side = branches
    moved = ledger.invalidate(entry_of(ledger, chain.blocks[TRUNK + 3]))
    assert [b.id for b in moved.disconnected] == [b.id for b in reversed(chain.blocks[TRUNK + 3 :])]
    assert [b.id for b in moved.connected] == [b.id for b in side.blocks[TRUNK + 3 :]]
    assert without_meta(tables(ledger)) == without_meta(fresh_tables(side.blocks))


@pytest.mark.parametrize(
    "asked", [TRUNK + 2, TRUNK + 4, TRUNK + 5], ids=["below", "itself", "above"]
)
def test_reconsidering_a_block_of_the_branch_restores_everything(ledger, branches, asked):
    chain, side = branches
    before = tables(ledger)
    ledger.invalidate(entry_of(ledger, chain.blocks[TRUNK + 4]))
    ledger.invalidate(entry_of(ledger, chain.blocks[TRUNK + 3]))
    moved = ledger.reconsider(entry_of(ledger, chain.blocks[asked]))
    assert [b.id for b in moved.disconnected] == [b.id for b in reversed(side.blocks[TRUNK + 3 :])]
    assert [b.id for b in moved.connected] == [b.id for b in chain.blocks[TRUNK + 3 :]]
    assert tables(ledger) == before
    assert ledger.tree.best_header == ledger.tip


def test_reconsidering_a_block_of_another_branch_changes_nothing(ledger, branches):
    chain, side = branches
    ledger.invalidate(entry_of(ledger, chain.blocks[TRUNK + 3]))
    moved = ledger.reconsider(entry_of(ledger, side.blocks[-1]))
    assert not moved.disconnected
    assert not moved.connected
    assert ledger.tip.id == side.tip.id


def test_a_block_of_a_branch_beside_the_best_chain_is_left_out_before_it_wins(ledger, branches):
    chain, side = branches
    ledger.invalidate(entry_of(ledger, side.blocks[-1]))
    side.grow(1, extra=b"more")
    with pytest.raises(InvalidError) as caught:
        ledger.add_block(side.blocks[-1], NOW)
    assert caught.value.reason is Reason.PARENT_INVALID
    with pytest.raises(InvalidError) as caught:
        ledger.add_block(side.blocks[-2], NOW)
    assert caught.value.reason is Reason.KNOWN_INVALID
    assert ledger.tip.id == chain.tip.id


def test_of_two_equal_branches_the_one_that_was_complete_first_is_followed(ledger):
    trunk = quick_chain(3)
    first, second, third = (trunk.fork(0) for _ in range(3))
    third.grow(3, extra=b"third")
    first.grow(2, extra=b"first")
    second.grow(2, extra=b"second")
    ledger.add_headers([b.header for b in second.blocks], NOW)
    feed(ledger, [*third.blocks, *first.blocks, *second.blocks])
    ledger.invalidate(entry_of(ledger, third.blocks[3]))
    assert ledger.tip.id == first.tip.id


def test_the_first_of_two_equal_branches_is_followed_again_once_it_is_let_in(tmp_path):
    first, second = quick_chain(3), quick_chain(3)
    first.grow(2, extra=b"first")
    second.grow(2, extra=b"second")
    ledger = Ledger(url_of(tmp_path), QUICK, verify_threads=1)
    feed(ledger, [*first.blocks, *second.blocks[3:]])
    before = tables(ledger)
    ledger.invalidate(entry_of(ledger, first.blocks[3]))
    assert ledger.tip.id == second.tip.id
    moved = ledger.reconsider(entry_of(ledger, first.blocks[3]))
    assert [b.id for b in moved.disconnected] == [b.id for b in reversed(second.blocks[3:])]
    assert [b.id for b in moved.connected] == [b.id for b in first.blocks[3:]]
    assert tables(ledger) == before
    ledger.close()
    assert check_ledger(url_of(tmp_path), QUICK, verify_threads=1).problems == []


def test_a_bad_branch_is_not_followed_when_it_is_all_that_is_left(ledger):
    chain = quick_chain(TRUNK + 3)
    bad = chain.fork(2)
    bad.add([bad_spend(bad)], fees=0)
    feed(ledger, [*chain.blocks, *bad.blocks[TRUNK + 1 :]])
    ledger.invalidate(entry_of(ledger, chain.blocks[TRUNK + 1]))
    assert ledger.tip.id == chain.blocks[TRUNK].id
    assert ledger.tree.is_invalid(bad.tip.id)


def test_a_restart_and_a_check_know_what_is_left_out(tmp_path):
    chain = quick_chain()
    grow_busy(chain, 3, seed=1)
    ledger = Ledger(url_of(tmp_path), QUICK, verify_threads=1)
    feed(ledger, chain.blocks)
    ledger.invalidate(entry_of(ledger, chain.blocks[TRUNK + 1]))
    ledger.close()
    assert check_ledger(url_of(tmp_path), QUICK, verify_threads=1).problems == []
    ledger = Ledger(url_of(tmp_path), QUICK, verify_threads=1)
    assert ledger.tip.id == chain.blocks[TRUNK].id
    assert ledger.tree.is_invalid(chain.blocks[TRUNK + 2].id)
    ledger.reconsider(entry_of(ledger, chain.blocks[TRUNK + 1]))
    assert ledger.tip.id == chain.tip.id
    ledger.close()
    ledger = Ledger(url_of(tmp_path), QUICK, verify_threads=1)
    assert tables(ledger) == fresh_tables(chain.blocks)
    ledger.close()


def excluded_on_disk(folder, monkeypatch, excluded_blocks):
    """Exclude a whole branch that is not followed, and then let no block be disconnected."""
    chain = quick_chain()
    side = chain.fork(0)
    grow_busy(chain, excluded_blocks, seed=1)
    grow_busy(side, 2, seed=2)
    ledger = Ledger(url_of(folder), QUICK, verify_threads=1)
    feed(ledger, [*chain.blocks, *side.blocks[TRUNK:]])
    ledger.mark_precious(entry_of(ledger, side.tip))
    assert ledger.tip.id == side.tip.id
    monkeypatch.setattr(exclusion, "DISCONNECTED_BYTES_MAX", 0)
    assert not ledger.invalidate(entry_of(ledger, chain.blocks[TRUNK])).disconnected
    ledger.close()
    return chain, side


def test_a_check_excludes_an_equal_branch_without_connecting_it(tmp_path, monkeypatch):
    excluded_on_disk(tmp_path, monkeypatch, 2)
    assert check_ledger(url_of(tmp_path), QUICK, verify_threads=1).problems == []


@pytest.mark.parametrize("what", ["the followed branch is damaged", "genesis is excluded"])
def test_a_check_says_in_a_line_which_block_cannot_be_excluded_again(tmp_path, monkeypatch, what):
    chain, side = excluded_on_disk(tmp_path, monkeypatch, 1)
    if what == "genesis is excluded":
        excluded, why = chain.blocks[0].header.previous, "the genesis block"
        statement, changed = "UPDATE meta SET value = ? WHERE name = 'excluded'", excluded
    else:
        excluded, why = chain.blocks[TRUNK].id, "that would disconnect"
        statement, changed = "UPDATE blocks SET raw = x'00' WHERE id = ?", side.blocks[TRUNK].id
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as database, database:
        assert database.execute(statement, (changed,)).rowcount == 1
    problems = check_ledger(url_of(tmp_path), QUICK, verify_threads=1).problems
    line = f"block {id_text(excluded)} cannot be excluded again: {why}"
    assert [problem.startswith(line) for problem in problems].count(True) == 1


def test_what_is_refused_changes_nothing(ledger, branches, monkeypatch):
    chain, _ = branches
    before = tables(ledger)
    with pytest.raises(ExclusionError, match="genesis"):
        ledger.invalidate(ledger.tree.genesis)
    size = sum(len(block.raw) for block in chain.blocks[TRUNK + 3 :])
    monkeypatch.setattr(exclusion, "DISCONNECTED_BYTES_MAX", size - 1)
    with pytest.raises(ExclusionError, match="start with a later block"):
        ledger.invalidate(entry_of(ledger, chain.blocks[TRUNK + 3]))
    monkeypatch.setattr(exclusion, "EXCLUDED_MAX", 0)
    with pytest.raises(ExclusionError, match="at most 0"):
        ledger.invalidate(entry_of(ledger, chain.blocks[-1]))
    assert tables(ledger) == before
    assert not ledger.tree.is_invalid(chain.tip.id)
    monkeypatch.setattr(exclusion, "EXCLUDED_MAX", 1)
    monkeypatch.setattr(exclusion, "DISCONNECTED_BYTES_MAX", size)
    ledger.invalidate(entry_of(ledger, chain.blocks[TRUNK + 3]))


def test_an_excluded_block_is_not_followed_when_an_ancestor_arrives(ledger):
    chain = quick_chain(30)
    ledger.add_headers([block.header for block in chain.blocks], NOW)
    feed(ledger, chain.blocks[10:])  # they wait for the first ten
    ledger.invalidate(entry_of(ledger, chain.blocks[19]))
    feed(ledger, chain.blocks[:10])
    assert ledger.tip.height == ledger.tree.best_header.height == 19
    ledger.reconsider(entry_of(ledger, chain.blocks[19]))
    assert ledger.tip.id == chain.tip.id
    assert tables(ledger) == fresh_tables(chain.blocks)
