"""A crash or a failure at every single statement of a reorganisation (C1, E1)."""

import shutil
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from chain.ledger import chain_tip as chain_tip_module
from chain.ledger.errors import DatabaseFailedError
from chain.ledger.ledger import Ledger
from chain.ledger.offline.checking import check_ledger
from chain.ledger.offline.importing import import_blocks
from tests.ledger.chains import (
    NOW,
    QUICK,
    TRUNK,
    bad_spend,
    feed,
    grow_busy,
    quick_chain,
    tables,
    url_of,
)
from tests.ledger.offline.test_importing import file_of

_FILES = ("ledger.sqlite", "ledger.sqlite-wal")
_PARTS = 3  # of the statements, each a test: all of them take long
_STATEMENTS_MIN = 30  # in the reorganisation; fewer would mean that the test sees too little


@pytest.fixture
def branches(monkeypatch):
    """Two branches; the second wins with its last block, and is written in many small flushes."""
    monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", 3)
    old = quick_chain()
    new = old.fork(0)
    grow_busy(old, 2, seed=1)
    grow_busy(new, 3, seed=2)
    return old, new


def opened(folder):
    return Ledger(url_of(folder), QUICK, verify_threads=1)


def ready(folder, branches):
    """A ledger on the old branch that has the new one except its last block."""
    old, new = branches
    ledger = opened(folder)
    feed(ledger, [*old.blocks, *new.blocks[TRUNK:-1]])
    return ledger


def on_each_statement(ledger, act):
    engine = ledger._connection.engine
    event.listen(engine, "before_cursor_execute", lambda *_: act())
    event.listen(engine, "commit", lambda *_: act())
    event.listen(engine, "rollback_savepoint", lambda *_: act())


def fail_at(ledger, number, error):
    """Raise `error()` at the statement with this number, and at no other."""
    numbers = iter(range(number + 1))

    def act():
        if next(numbers, None) == number:
            raise error()

    on_each_statement(ledger, act)


def copier(folder):
    """A list of copies, and a function that adds the state that a crash now would leave."""
    copies = []

    def copy():
        copies.append(folder / f"copy-{len(copies)}")
        copies[-1].mkdir()
        for name in _FILES:
            shutil.copy(folder / name, copies[-1] / name)

    return copies, copy


@pytest.mark.parametrize("part", range(_PARTS))
def test_a_crash_at_any_statement_leaves_the_old_chain_or_the_new(tmp_path, branches, part):
    old, new = branches
    ledger = ready(tmp_path, branches)
    before = tables(ledger)
    copies, copy = copier(tmp_path)
    on_each_statement(ledger, copy)
    ledger.add_block(new.blocks[-1], NOW)
    copy()
    after = tables(ledger)
    ledger.close()
    assert len(copies) > _STATEMENTS_MIN
    ends = {old.tip.id: before, new.tip.id: after}
    seen = set()
    for folder in [*copies[part:-1:_PARTS], copies[-1]]:
        crashed = opened(folder)
        assert tables(crashed) == ends[crashed.tip.id], folder.name
        seen.add(crashed.tip.id)
        feed(crashed, new.blocks)
        assert tables(crashed) == after, folder.name
        crashed.close()
    assert seen == set(ends)


def test_a_crash_while_a_bad_branch_is_refused_leaves_the_old_chain(tmp_path, branches):
    old, new = branches
    new.grow(1)
    bad = new.fork(2)
    bad.add([bad_spend(bad)], fees=0)
    ledger = opened(tmp_path)
    feed(ledger, [*old.blocks, *bad.blocks[TRUNK:-1]])
    before = tables(ledger)
    copies, copy = copier(tmp_path)
    on_each_statement(ledger, copy)
    with pytest.raises(Exception, match="block-script-verify-flag-failed"):
        ledger.add_block(bad.blocks[-1], NOW)
    ledger.close()
    assert len(copies) > _STATEMENTS_MIN
    for folder in copies:
        crashed = opened(folder)
        assert tables(crashed) == before, folder.name
        crashed.close()


def disk_error():
    return OperationalError("?", None, sqlite3.OperationalError("disk I/O error"))


@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("error", [disk_error, pytest.param(MemoryError, marks=pytest.mark.slow)])
def test_a_failure_of_any_statement_ends_the_ledger_and_keeps_the_old_chain(
    tmp_path, branches, error, part
):
    _old, new = branches
    template = tmp_path / "template"
    template.mkdir()
    ledger = ready(template, branches)
    before = tables(ledger)
    ledger.close()
    failing, survived = part, False
    while not survived:
        folder = tmp_path / str(failing)
        shutil.copytree(template, folder)
        ledger = opened(folder)
        fail_at(ledger, failing, error)
        try:
            ledger.add_block(new.blocks[-1], NOW)
        except DatabaseFailedError:
            with pytest.raises(DatabaseFailedError, match="open it again"):
                ledger.get(bytes(36))
        else:
            survived = True
        ledger.close()
        again = opened(folder)
        assert survived or tables(again) == before, f"statement {failing}"
        feed(again, new.blocks)
        assert again.tip.id == new.tip.id
        again.close()
        failing += _PARTS
    assert failing > _STATEMENTS_MIN
    assert check_ledger(url_of(folder), QUICK, verify_threads=1).problems == []


@pytest.mark.parametrize("part", range(_PARTS))
def test_a_failure_of_any_statement_of_an_import_keeps_the_chain_to_some_good_block(
    tmp_path, monkeypatch, part
):
    monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", 20)
    chain = quick_chain()
    grow_busy(chain, 6, seed=3)
    ids = [block.id for block in chain.blocks]
    fork = chain.fork(3)
    bad = [fork.add([bad_spend(fork, 4)], fees=0), *fork.grow(2)]
    given = [*chain.blocks[TRUNK : TRUNK + 3], *bad, *chain.blocks[TRUNK + 3 :]]
    template = tmp_path / "template"
    template.mkdir()
    with closing(opened(template)) as ledger:
        feed(ledger, chain.blocks[:TRUNK])
    failing, survived, heights = 3 * part, False, set()
    while not survived:
        folder = tmp_path / str(failing)
        shutil.copytree(template, folder)
        ledger = opened(folder)
        fail_at(ledger, failing, disk_error)
        try:
            errors = [verdict.error for verdict in ledger.add_blocks(given, NOW)]
        except DatabaseFailedError:
            with pytest.raises(DatabaseFailedError, match="open it again"):
                ledger.get(bytes(36))
        else:
            survived = True
            assert [error is None for error in errors] == [True] * 3 + [False] * 3 + [True] * 3
        ledger.close()
        again = opened(folder)
        assert again.tip.id == ids[again.tip.height - 1]
        assert not again.tree.is_stored(bad[0].id)
        heights.add(again.tip.height)
        feed(again, chain.blocks)
        assert again.tip.id == chain.tip.id
        again.close()
        failing += 3 * _PARTS  # all parts: a third of the places, from the first to past the last
    assert len(heights) > 2, "batches were committed one by one"
    assert check_ledger(url_of(folder), QUICK, verify_threads=1).problems == []


@pytest.mark.parametrize(
    "end",
    [
        (disk_error, DatabaseFailedError, "disk I/O error"),
        (KeyboardInterrupt, KeyboardInterrupt, None),
    ],
)
@pytest.mark.parametrize("statement", [0, 5, 40])
def test_an_import_that_ends_says_why(tmp_path, monkeypatch, end, statement):
    error, raised, told = end
    monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", 20)
    chain = quick_chain()
    grow_busy(chain, 6, seed=3)
    ledger = opened(tmp_path)
    count = iter(range(statement + 1))

    def fail_at_last():
        if next(count, None) == statement:
            raise error()

    on_each_statement(ledger, fail_at_last)
    with pytest.raises(raised, match=told):
        import_blocks(ledger, file_of(chain.blocks), lambda: NOW)
    ledger.close()
    again = opened(tmp_path)
    feed(again, chain.blocks)
    assert again.tip.id == chain.tip.id
    again.close()
