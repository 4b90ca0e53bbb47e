"""A reader's SQL transaction sees tip and pool as of one instant, between any two statements."""

from collections import Counter
from contextlib import closing

import pytest
from sqlalchemy import event

from chain.ledger import chain_tip as chain_tip_module
from chain.ledger.db.batch import CommitRows
from chain.ledger.db.engine import open_engine, read_rows
from chain.ledger.db.node_state import read_state, write_sequence
from chain.ledger.db.snapshot import LedgerSnapshot
from chain.ledger.ledger import Ledger
from chain.ledger.writer import Writer
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import decode_transaction
from tests.ledger.chains import QUICK, url_of
from tests.node.pool_walk import PoolWalk

BATCH_ROWS = 12  # several batches in a run of blocks, written by the writer's thread
STEPS = 120
STEPS_DEEP = 3_000


class Observer:
    """Reads everything in one SQL transaction, before each statement and commit of the writer."""

    def __init__(self, ledger: Ledger, url: str) -> None:
        self.wrong: list[str] = []
        self.seen: Counter[str] = Counter()
        self._engine = open_engine(url, read_only=True)
        self._last: tuple[Hash32, bytes] = (Hash32(bytes(32)), b"")
        self._pool: set[Hash32] = set()
        for name in ("before_cursor_execute", "commit"):
            event.listen(ledger._connection.engine, name, lambda *_: self.look())

    def close(self) -> None:
        self._engine.dispose()

    def look(self) -> None:
        self.seen["looks"] += 1
        with self._engine.connect() as connection, connection.begin():
            snapshot, state = LedgerSnapshot(connection), read_state(connection)
            version = (snapshot.tip_id, state["sequence"])
            if version == self._last:
                return
            self.seen["tips" if version[0] != self._last[0] else "batches"] += 1
            if state.get("pool_tip") != snapshot.tip_id:
                self.wrong.append("the pool's rows are of another tip")
            rows = read_rows(connection, "SELECT raw FROM pool ORDER BY number")
            self._check(snapshot, [decode_transaction(raw) for (raw,) in rows])
            self._last = version

    def _check(self, snapshot, pooled) -> None:
        """Each transaction is in one place, and each coin is spent once and exists."""
        made, spent = set(), set()
        for tx in pooled:
            if snapshot.find(tx.txid) is not None:
                self.wrong.append("a transaction is in chain and pool")
            for txin in tx.inputs:
                if txin.outpoint in spent:
                    self.wrong.append("the pool spends a coin twice")
                spent.add(txin.outpoint)
                if txin.outpoint[:32] not in made and snapshot.coin(txin.outpoint) is None:
                    self.wrong.append("the pool spends a coin that is not there")
            made.add(tx.txid)
        for txid in self._pool - made:
            self.seen["confirmed" if snapshot.find(txid) is not None else "removed"] += 1
        self._pool = made


@pytest.fixture
def walk(tmp_path, monkeypatch):
    """A walk whose runs of blocks are committed in several batches."""
    with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=1)) as ledger:
        walk = PoolWalk(ledger, 11)
        walk.save()
        monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", BATCH_ROWS)
        yield walk


def observed(walk, folder, steps) -> Observer:
    with closing(Observer(walk.ledger, url_of(folder))) as observer:
        for _ in range(steps):
            walk.step()
            observer.look()
        assert observer.seen["looks"] > 5 * steps, "it looks between all statements"
        return observer


def check(observer, least):
    assert observer.wrong == []
    missing = [
        what for what in ("tips", "batches", "confirmed", "removed") if observer.seen[what] < least
    ]
    assert missing == [], observer.seen


def test_between_any_two_statements_tip_and_pool_are_of_one_instant(walk, tmp_path):
    check(observed(walk, tmp_path, STEPS), 5)


@pytest.mark.slow
def test_tip_and_pool_are_of_one_instant_for_long(walk, tmp_path):
    check(observed(walk, tmp_path, STEPS_DEEP), 100)


def test_pool_rows_in_a_second_transaction_are_noticed(walk, tmp_path, monkeypatch):
    commit = Writer.commit

    def write_sequence_only(last, connection):
        write_sequence(connection, last.sequence)

    def commit_twice(writer, last):
        commit(writer, last)
        writer.connection.begin()
        last.hook_rows.write(writer.connection)
        writer.connection.commit()

    monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", 10**6)
    monkeypatch.setattr(CommitRows, "write", write_sequence_only)
    monkeypatch.setattr(Writer, "commit", commit_twice)
    wrong = Counter(observed(walk, tmp_path, STEPS).wrong)
    assert wrong["the pool's rows are of another tip"] > 0
    assert wrong["a transaction is in chain and pool"] > 0
    assert wrong["the pool spends a coin that is not there"] > 0
