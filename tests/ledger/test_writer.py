"""The write-ahead log is emptied beside the ledger's work; failures of that are reported."""

import re
import sqlite3
from contextlib import ExitStack, closing
from threading import Event

import pytest
from sqlalchemy import event

from chain.consensus.params import REGTEST
from chain.ledger import writer as writer_module
from chain.ledger.errors import DatabaseFailedError
from chain.ledger.ledger import Ledger
from chain.ledger.reader import open_reader
from chain.settings import LEDGER_NAME
from tests.ledger.chains import NOW, feed, mature_chain, url_of
from tests.ledger.test_failures import disk_error

WRITTEN = re.compile(r"(?:INTO|UPDATE|FROM) (\w+)")


@pytest.fixture
def opened(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "CHECKPOINT_ROWS", 10)
    with closing(Ledger(url_of(tmp_path), REGTEST, verify_threads=1)) as ledger:
        yield ledger


@pytest.fixture
def emptied(opened):
    """Statements that emptied the log, and the engine that ran them."""
    statements = []
    event.listen(
        opened._chain._writer._reader,
        "before_cursor_execute",
        lambda *call: statements.append(call[2]) if "checkpoint" in call[2] else None,
    )
    return statements


def test_the_log_is_emptied_once_for_so_many_rows(opened, emptied):
    chain = mature_chain(10)
    feed(opened, chain.blocks[:9])
    opened._chain._writer._emptying.result()
    assert 1 <= len(emptied) <= 9
    feed(opened, chain.blocks[9:])  # while none is under way: what waited meanwhile is too much
    opened._chain._writer._emptying.result()
    assert opened._chain._writer._rows < 10


def test_the_error_of_a_slow_emptying_is_not_lost(opened):
    chain = mature_chain(12)
    gate = Event()

    def fail(*call):
        if "checkpoint" in call[2]:
            gate.wait()
            raise disk_error()

    event.listen(opened._chain._writer._reader, "before_cursor_execute", fail)
    writer = opened._chain._writer
    blocks = iter(chain.blocks)
    while writer._emptying is None:
        opened.add_block(next(blocks), NOW)
    first = writer._emptying
    try:
        for _ in range(4):  # with rows for another
            opened.add_block(next(blocks), NOW)
        assert writer._emptying is first
    finally:
        gate.set()
    first.exception()
    with pytest.raises(DatabaseFailedError, match="disk I/O error"):
        opened.add_block(next(blocks), NOW)


def test_a_log_that_cannot_be_emptied_ends_the_ledger(opened):
    chain = mature_chain(9)

    def fail(*call):
        if "checkpoint" in call[2]:
            raise disk_error()

    event.listen(opened._chain._writer._reader, "before_cursor_execute", fail)
    blocks = iter(chain.blocks)
    while opened._chain._writer._emptying is None:
        opened.add_block(next(blocks), NOW)
    opened._chain._writer._emptying.exception()  # now it is over
    with pytest.raises(DatabaseFailedError, match="disk I/O error"):
        opened.add_block(next(blocks), NOW)
    with pytest.raises(DatabaseFailedError, match="open it again"):
        opened.add_block(chain.blocks[-1], NOW)


def test_a_log_that_readers_kept_from_being_emptied_begins_again(tmp_path, monkeypatch):
    """A reader that is always there, each time with another snapshot, keeps it growing."""
    monkeypatch.setattr(writer_module, "LOG_BYTES_LONG", 0)
    monkeypatch.setattr(writer_module, "RESTART_EVERY_S", 0)
    file = tmp_path / LEDGER_NAME
    with (
        closing(Ledger(url_of(tmp_path), REGTEST, verify_threads=1)) as ledger,
        closing(open_reader(file)) as reader,
    ):
        held = ExitStack()
        for block in mature_chain(8).blocks:
            ledger.add_block(block, NOW)
            following = ExitStack()
            following.enter_context(reader.snapshot())
            held.close()
            held = following
        ledger.note({"heartbeat": b"1"})
        ledger._pipeline._writer._emptying.result()
        assert log_frames(file) > 30, "one who reads still needs its end"
        held.close()
        ledger.note({"heartbeat": b"2"})
        ledger._pipeline._writer._emptying.result()
        ledger.note({"heartbeat": b"3"})
        assert log_frames(file) < 5, "those of the last note"


def log_frames(file):
    with closing(sqlite3.connect(file)) as other:
        return other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]


def test_a_commit_without_a_change_of_the_chain_writes_only_its_version(opened):
    feed(opened, mature_chain(2).blocks)
    statements = []
    engine = opened._chain._writer.connection.engine
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    opened.save(is_durable=False)
    opened.save(is_durable=False)
    tables = [found[1] for text in statements if (found := WRITTEN.search(text))]
    assert set(tables) == {"node_state"}
