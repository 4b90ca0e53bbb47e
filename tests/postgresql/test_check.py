"""`groat check` on PostgreSQL: a sound ledger is sound, and any changed value is found."""

import random

import psycopg
import pytest

from chain.ledger.ledger import Ledger
from chain.ledger.offline.checking import check_ledger
from chain.ledger.offline.comparing import TABLES
from tests.ledger.chains import QUICK, feed, grow_busy, quick_chain

pytestmark = pytest.mark.slow
CHANGES = 100


@pytest.fixture
def busy(url):
    """The URL of a ledger with many payments."""
    chain = quick_chain()
    grow_busy(chain, 12, seed=3)
    ledger = Ledger(url, QUICK, verify_threads=1)
    feed(ledger, chain.blocks)
    ledger.close()
    return url


def changed(value, source):
    if isinstance(value, bytes):
        at = source.randrange(len(value))
        return value[:at] + bytes([value[at] ^ 1 << source.randrange(8)]) + value[at + 1 :]
    return value + ("x" if isinstance(value, str) else source.choice((-1, 1)))


def places(server, database, source):
    """Yield tables, columns and the row numbers (ctid) of values, at random."""
    columns = [(table.name, column) for table in TABLES for column in table.columns]
    columns += [("blocks", "raw"), ("meta", "value")]
    while True:
        table, column = source.choice(columns)
        query = f"SELECT ctid::text, {column} FROM {table} WHERE {column} IS NOT NULL"
        rows = server.execute(f"{query} ORDER BY ctid", database)
        yield table, column, *source.choice(rows)


def put(connection, table, column, place, value):
    """Change one value behind PostgreSQL's back; return where the row is now."""
    connection.execute("SET session_replication_role = replica")  # no foreign keys
    update = f"UPDATE {table} SET {column} = %s WHERE ctid = %s::tid RETURNING ctid::text"
    return connection.execute(update, (value, place)).fetchone()[0]


def test_a_sound_ledger_is_sound_and_each_changed_value_is_found(busy, server, database, tmp_path):
    def problems():
        return check_ledger(busy, QUICK, verify_threads=1, folder=tmp_path).problems

    assert problems() == []
    source = random.Random(1)
    unnoticed = []
    tried = 0
    with server.connect(database) as connection:
        for table, column, place, value in places(server, database, source):
            other = changed(value, source)
            try:
                now = put(connection, table, column, place, other)
            except psycopg.errors.UniqueViolation:
                continue  # the server finds it itself
            if not problems():
                unnoticed.append((table, column, value, other))
            put(connection, table, column, now, value)
            tried += 1
            if tried == CHANGES:
                break
    assert unnoticed == []
    assert problems() == []
