"""A ledger with headers in columns: across their border, deeper, restarted, upgraded, rotten."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from chain.consensus.params import REGTEST
from chain.ledger import background_check
from chain.ledger.db import loading
from chain.ledger.db.engine import open_engine, read_rows
from chain.ledger.errors import DamagedError, DatabaseFailedError, LedgerError
from chain.ledger.header_columns import PAGE_BYTES, PAGE_HEADERS, Page
from chain.ledger.ledger import Ledger
from chain.ledger.offline.checking import check_ledger
from tests.ledger.chains import NOW, entry_of, feed, grow_busy, mature_chain, tables, url_of
from tests.migrated import downgrade

HELD = 16
BLOCKS = 215  # so the columns end below height 192
_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def chain():
    chain = mature_chain(101)
    grow_busy(chain, 4, seed=5)
    chain.grow(BLOCKS - 105)
    return chain


@pytest.fixture(scope="module")
def template(tmp_path_factory, chain):
    """A folder with a ledger of the chain, three pages of it in columns."""
    folder = tmp_path_factory.mktemp("template")
    with closing(opened(folder)) as ledger:
        for verdict in ledger.add_blocks(chain.blocks, NOW):
            verdict.result()
        assert len(ledger.tree.columns) == 192
    return folder


@pytest.fixture
def folder(template, tmp_path):
    shutil.copytree(template, tmp_path / "ledger")
    return tmp_path / "ledger"


def opened(folder, held=HELD) -> Ledger:
    return Ledger(url_of(folder), REGTEST, verify_threads=1, held_blocks=held)


def checked(ledger: Ledger) -> None:
    """Wait for the check in the background. Raises what it found."""
    assert ledger.check is not None
    ledger.check.result.result(timeout=60)


def fresh(folder, *groups) -> Ledger:
    """A ledger that holds all entries, given these blocks."""
    folder.mkdir()
    ledger = opened(folder, held=10**6)
    for blocks in groups:
        feed(ledger, blocks)
    return ledger


def state(ledger: Ledger):
    """What must be the same however many headers are in columns."""
    ids = [entry.id for entry in ledger.tree]
    return (
        tables(ledger),
        ledger.tip.id,
        ledger.tip.locator(),
        ledger.tree.best_header.id,
        {i: (ledger.tree.is_stored(i), ledger.tree.is_invalid(i)) for i in ids},
    )


def is_as_written(ledger: Ledger) -> None:
    """Check that the pages are what is in memory, and are of the best chain."""
    with ledger._reading():
        rows = read_rows(ledger._connection, "SELECT raw FROM header_pages ORDER BY number")
    assert [raw for (raw,) in rows] == [page.raw for page in ledger.tree.columns.pages]
    connected = ledger.tree.connected
    assert not connected or ledger.tree.columns.entry(connected - 1).is_ancestor_of(ledger.tip)


@pytest.mark.parametrize("back", [5, HELD + 10, HELD + 90], ids=["above", "across", "deep below"])
def test_a_reorganisation_is_the_same_wherever_the_columns_end(chain, folder, tmp_path, back):
    side = chain.fork(back)
    new = side.grow(back + 2, extra=b"side")
    with closing(opened(folder)) as ledger:
        feed(ledger, new[:-2])
        assert ledger.tip.id == chain.tip.id, "the same work is not enough"
        feed(ledger, new[-2:])
        assert ledger.tip.id == side.tip.id
        is_as_written(ledger)
        with closing(fresh(tmp_path / "fresh", chain.blocks, new)) as plain:
            right = state(plain)
        assert state(ledger) == right
        more = chain.fork(0).grow(4, extra=b"back")
        feed(ledger, more)
        assert ledger.tip.id == more[-1].id, "and back again"
        is_as_written(ledger)
    with closing(opened(folder)) as again:
        checked(again)
        assert again.tip.id == more[-1].id
        assert len(again.tree) == 1 + BLOCKS + len(new) + len(more)
    assert check_ledger(url_of(folder), REGTEST, verify_threads=1).problems == []


def test_everything_is_there_after_a_restart_with_columns(chain, folder, tmp_path):
    side = chain.fork(60).grow(3, extra=b"side")  # it leaves the columns
    with closing(opened(folder)) as ledger:
        feed(ledger, side)
        before = state(ledger)
    with closing(opened(folder)) as ledger:
        checked(ledger)
        assert len(ledger.tree.columns) == 192
        assert state(ledger) == before
        for block in [*chain.blocks, *side]:
            assert entry_of(ledger, block).header == block.header
        assert ledger.tree.get(chain.blocks[9].id).anchor_time == chain.blocks[0].header.time
        is_as_written(ledger)


@pytest.mark.parametrize("height", [BLOCKS, 193, 192, 191, 100, 1])
def test_a_block_at_any_depth_is_excluded_and_comes_back(chain, folder, tmp_path, height):
    with closing(opened(folder)) as ledger:
        before = state(ledger)
        ledger.invalidate(entry_of(ledger, chain.blocks[height - 1]))
        assert ledger.tip.height == height - 1
        assert ledger.tree.best_header == ledger.tip
        assert all(ledger.tree.is_invalid(b.id) for b in chain.blocks[height - 1 :])
        is_as_written(ledger)
        excluded = state(ledger)
    with closing(opened(folder)) as ledger:
        assert state(ledger) == excluded
        ledger.reconsider(entry_of(ledger, chain.blocks[-1]))
        assert state(ledger) == before
        is_as_written(ledger)
    with closing(opened(folder)) as ledger:
        checked(ledger)
        assert state(ledger) == before


def test_an_excluded_block_far_below_leaves_its_place_to_another_branch(chain, folder, tmp_path):
    side = chain.fork(BLOCKS - 150).grow(3, extra=b"side")
    with closing(opened(folder)) as ledger:
        feed(ledger, side)
        ledger.invalidate(entry_of(ledger, chain.blocks[150]))
        assert ledger.tip.id == side[-1].id
        with closing(fresh(tmp_path / "fresh", chain.blocks, side)) as plain:
            plain.invalidate(entry_of(plain, chain.blocks[150]))
            assert state(ledger) == state(plain)


@pytest.mark.parametrize("height", [BLOCKS, 193, 192, 150])
def test_an_exclusion_leaves_the_tip_where_an_equal_block_came_later(chain, folder, height):
    later = chain.fork(BLOCKS - height + 2).add(extra=b"later")
    with closing(opened(folder)) as ledger:
        feed(ledger, [later])
        ledger.invalidate(entry_of(ledger, chain.blocks[height - 1]))
        assert ledger.tip.id == chain.blocks[height - 2].id
        assert entry_of(ledger, later).chain_work == ledger.tip.chain_work


def test_headers_far_below_are_refused_and_taken_as_before(chain, folder):
    fork = chain.fork(BLOCKS - 20)
    late = fork.add(extra=b"late")
    with closing(opened(folder)) as ledger:
        assert ledger.add_headers([chain.blocks[3].header], NOW).added == 0
        assert ledger.add_headers([late.header], NOW).added == 1
        assert not ledger.tree.is_stored(late.id)
        assert not ledger.add_block(chain.blocks[3], NOW).is_new


def downgraded(folder) -> None:
    engine = open_engine(url_of(folder))
    downgrade(engine, "0002")
    engine.dispose()


def test_a_ledger_of_before_the_columns_gets_them(chain, folder):
    with closing(opened(folder)) as ledger:
        before = state(ledger)
    downgraded(folder)
    for _ in range(2):
        with closing(opened(folder)) as ledger:
            assert len(ledger.tree.columns) == 192
            is_as_written(ledger)
            checked(ledger)
            assert state(ledger) == before


_KILLED = """
import os, signal, shutil, sys
from itertools import count
from sqlalchemy import Engine, event
from chain.consensus.params import REGTEST
from chain.ledger.ledger import Ledger
old, copies = sys.argv[1:]
for number in count():
    folder = f"{copies}/{number}"
    shutil.copytree(old, folder)
    child = os.fork()
    if child == 0:
        statements = count()
        def kill(*_):
            if next(statements) == number:
                os.kill(os.getpid(), signal.SIGKILL)
        for name in ("before_cursor_execute", "commit"):
            event.listen(Engine, name, kill)
        url = f"sqlite:///{folder}/ledger.sqlite"
        ledger = Ledger(url, REGTEST, verify_threads=1, held_blocks=16)
        ledger.check.result.result()
        ledger.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(number, os.waitstatus_to_exitcode(status), flush=True)
    if not os.WIFSIGNALED(status):
        break
"""


@pytest.mark.slow
def test_an_upgrade_killed_at_any_statement_loses_nothing(chain, folder, tmp_path):
    with closing(opened(folder)) as ledger:
        before = state(ledger)
    downgraded(folder)
    (tmp_path / "copies").mkdir()
    command = [sys.executable, "-c", _KILLED, str(folder), str(tmp_path / "copies")]
    said = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    ends = [line.split() for line in said.stdout.splitlines()]
    assert [end for _, end in ends] == ["-9"] * (len(ends) - 1) + ["0"], said.stderr
    assert len(ends) > 20, "an upgrade has more statements"
    for number, _ in ends:
        with closing(opened(tmp_path / "copies" / number)) as ledger:
            checked(ledger)
            assert state(ledger) == before
            is_as_written(ledger)


def change(folder, statement: str, *values) -> None:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as database:
        assert database.execute(statement, values).rowcount == 1
        database.commit()


@pytest.mark.parametrize("column", ["raw", "work", "checksum"])
@pytest.mark.parametrize("page", [0, 1, 2])
def test_a_bit_flipped_in_a_page_is_found_at_start(folder, column, page):
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as database:
        query = f"SELECT {column} FROM header_pages WHERE number = ?"
        [(value,)] = database.execute(query, (page,)).fetchall()
    flipped = bytearray(value)
    flipped[len(value) * 2 // 3] ^= 4
    change(folder, f"UPDATE header_pages SET {column} = ? WHERE number = ?", bytes(flipped), page)
    with pytest.raises(DamagedError, match=f"page {page} of the headers is damaged"):
        opened(folder)
    [problem] = check_ledger(url_of(folder), REGTEST, verify_threads=1).problems
    assert f"page {page} of the headers" in problem


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM header_pages WHERE number = 1",
        "UPDATE header_pages SET number = 7 WHERE number = 2",
        "UPDATE header_pages SET raw = 5 WHERE number = 0",
        "DELETE FROM headers WHERE height = 30",
        "UPDATE headers SET height = 31 WHERE height = 30",
        "UPDATE headers SET height = 500 WHERE height = 30",
    ],
)
def test_lost_and_moved_rows_are_found_at_start(folder, statement):
    change(folder, statement)
    with pytest.raises(DamagedError):
        opened(folder)


def test_pages_lost_at_the_end_are_made_again(chain, folder):
    change(folder, "DELETE FROM header_pages WHERE number = 2")
    with closing(opened(folder)) as ledger:
        assert len(ledger.tree.columns) == 192
        is_as_written(ledger)
        checked(ledger)


DAMAGE = {
    "a header's bytes": "UPDATE headers SET raw = zeroblob(80) WHERE height = 30",
    "a header's size": "UPDATE headers SET raw = x'00' WHERE height = 30",
    "a header's type": "UPDATE headers SET raw = 'text' WHERE height = 30",
    "a header's height": "UPDATE headers SET height = -1 WHERE height = 30",
    "a header's work": "UPDATE headers SET work = x'00' WHERE height = 30",
    "a header's id": "UPDATE headers SET id = x'00' WHERE height = 30",
    "a status": "UPDATE headers SET status = 0 WHERE height = 30",
    "an order": "UPDATE headers SET sequence = NULL WHERE height = 30",
    "a height of the chain": "DELETE FROM chain WHERE height = 30",
    "an id of the chain": "UPDATE chain SET id = x'00' WHERE height = 30",
    "a body": "DELETE FROM blocks WHERE id = (SELECT id FROM chain WHERE height = 30)",
    "a body too many": "INSERT INTO blocks VALUES (x'00', x'00', x'00')",
    "a coin": "UPDATE coins SET value = value + 1 WHERE height = 30",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_far_below_is_found_in_the_background_and_closes_the_ledger(
    chain, folder, what, monkeypatch
):
    monkeypatch.setattr(loading, "COINS_AT_START_MAX", 0)
    change(folder, DAMAGE[what])
    with closing(opened(folder)) as ledger:
        with pytest.raises(DamagedError) as found:
            checked(ledger)
        assert "\n" not in str(found.value)
        with pytest.raises(DatabaseFailedError, match="the ledger failed"):
            feed(ledger, chain.fork(0).grow(1))
        assert not ledger.is_usable


def test_a_reorganisation_during_the_check_is_no_damage(chain, folder):
    side = chain.fork(BLOCKS - 100).grow(BLOCKS - 99, extra=b"side")
    with closing(opened(folder)) as ledger:
        checked(ledger)
        before = ledger.tree.columns
        feed(ledger, side)
        assert ledger.tree.columns is not before
        assert len(ledger.check._current(0)) == 1, "the first page is on both branches"
        with open_engine(url_of(folder), read_only=True).connect() as connection:
            ledger.check._check_pages(connection)
            ledger.tree.columns, right = before, ledger.tree.columns
            with pytest.raises(DamagedError):  # as if the tables were wrong
                ledger.check._check_pages(connection)
            ledger.tree.columns = right
            connection.engine.dispose()


def test_pages_that_are_not_committed_yet_are_not_compared(chain, folder):
    with closing(opened(folder)) as ledger:
        checked(ledger)
        blocks = chain.fork(0).grow(3 * PAGE_HEADERS)
        verdicts = ledger.add_blocks(blocks, NOW)
        for _ in range(2 * PAGE_HEADERS):
            next(verdicts)
        ledger._chainstate.bury()
        assert len(ledger.tree.columns) > 192
        with open_engine(url_of(folder), read_only=True).connect() as connection:
            ledger.check._check_pages(connection)
            connection.engine.dispose()
        verdicts.close()
        is_as_written(ledger)


def test_a_small_ledger_is_checked_before_the_start_ends(tmp_path, chain):
    with closing(opened(tmp_path)) as ledger:
        feed(ledger, chain.blocks[:70])
    with closing(opened(tmp_path)) as ledger:
        assert ledger.check is None
        assert not ledger.tree.columns
    for what in set(DAMAGE) - {"a coin"}:
        copy = tmp_path / what.replace(" ", "-")
        copy.mkdir()
        shutil.copy(tmp_path / "ledger.sqlite", copy)
        change(copy, DAMAGE[what])
        with pytest.raises(LedgerError):
            opened(copy)


def test_pages_are_written_as_blocks_get_buried_one_by_one(tmp_path, chain):
    with closing(opened(tmp_path)) as ledger:
        for block in chain.blocks[:100]:
            feed(ledger, [block])
            assert len(ledger.tree.columns) == max(ledger.tip.height - HELD, 0) // PAGE_HEADERS * 64
        is_as_written(ledger)


def test_pages_whose_blocks_are_not_committed_yet_are_not_compared(folder, monkeypatch):
    """The ledger's thread buries headers before it commits the blocks that buried them."""
    compare, is_opened, ledgers = background_check.compare_pages, Event(), []

    def bury_meanwhile(connection, before, first, pages):
        assert is_opened.wait(60)
        columns = ledgers[0].tree.columns
        if first + len(pages) == len(columns.pages):
            columns.append(Page.of(bytes(PAGE_BYTES), 0))
        compare(connection, before, first, pages)

    monkeypatch.setattr(background_check, "compare_pages", bury_meanwhile)
    with closing(opened(folder)) as ledger:
        ledgers.append(ledger)
        is_opened.set()
        checked(ledger)
        assert len(ledger.tree.columns.pages) == 4
