"""Portable SQL: checked by its words, and run on another database if there is one."""

import os
import re
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from chain.consensus.params import REGTEST
from chain.ledger.db import engine as engine_module
from chain.ledger.ledger import Ledger
from chain.ledger.reader import open_reader
from chain.primitives.hashes import sha256
from chain.primitives.numbers import outpoint
from tests.ledger.chains import feed, grow_busy, mature_chain, tables, url_of

ROOT = Path(__file__).resolve().parents[2]
SQLITE_ONLY = re.compile(
    r"PRAGMA|INSERT OR |REPLACE INTO|ON CONFLICT|\browid\b|WITHOUT ROWID|\bGLOB\b|sqlite_master"
    r"|randomblob|last_insert_rowid"
)
OTHER = os.environ.get("GROAT_TEST_DATABASE")  # the URL of an empty database


def test_words_that_only_sqlite_knows_are_in_one_module():
    sources = [*(ROOT / "chain").rglob("*.py"), *(ROOT / "alembic").rglob("*.py")]
    found = [path for path in sources if SQLITE_ONLY.search(path.read_text())]
    assert found == [Path(engine_module.__file__)]


@pytest.mark.skipif(OTHER is None, reason="GROAT_TEST_DATABASE names no other database")
def test_another_database_holds_and_tells_the_same(tmp_path):
    engine = create_engine(OTHER)
    assert inspect(engine).get_table_names() == [], "only an empty database is used"
    try:
        assert answers_of(OTHER) == answers_of(url_of(tmp_path))
    finally:
        with engine.begin() as connection:
            for name in inspect(engine).get_table_names():
                connection.execute(text(f'DROP TABLE "{name}" CASCADE'))
        engine.dispose()


def answers_of(url):
    """Return the rows and the reader's answers after blocks, reorganisations and an exclusion."""
    left = mature_chain(101)
    right = left.fork(0)
    grow_busy(left, 8, seed=1)
    grow_busy(right, 9, seed=2)
    ledger = Ledger(url, REGTEST, verify_threads=1)
    feed(ledger, [*left.blocks, *right.blocks[101:]])
    excluded = ledger.tree.get(right.blocks[103].id)
    ledger.invalidate(excluded)
    assert ledger.tip.id == left.tip.id
    ledger.reconsider(excluded)
    assert ledger.tip.id == right.tip.id
    rows = {name: sorted(map(plain, found)) for name, found in tables(ledger).items()}
    ledger.close()
    ledger = Ledger(url, REGTEST, verify_threads=1)
    assert ledger.tip.id == right.tip.id, "and it opens again"
    ledger.close()
    reader = open_reader(url)
    try:
        with reader.snapshot() as snapshot:
            return rows, list(answers(snapshot, right))
    finally:
        reader.close()


def plain(row):
    return tuple(bytes(v) if isinstance(v, memoryview) else v for v in row)


def answers(snapshot, chain):
    last = chain.blocks[-1]
    yield snapshot.tip_id, snapshot.coin_totals(), snapshot.transaction_count(0, 110)
    yield snapshot.transactions(last.id, 0, 25), snapshot.spent_coins(last.id)
    for block in chain.blocks[95:]:
        for tx in block.transactions:
            yield snapshot.find(tx.txid), snapshot.transaction(tx.txid)
            for index, out in enumerate(tx.outputs):
                script_hash = sha256(out.script)
                yield snapshot.history(script_hash, limit=25), snapshot.script_stats(script_hash)
                yield snapshot.script_coins(script_hash, limit=100)
                yield snapshot.spender(outpoint(tx.txid, index))
