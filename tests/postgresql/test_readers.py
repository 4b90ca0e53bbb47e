"""Readers: each snapshot is of one commit, ends in time, and writes nothing."""

import re
import threading
import time

import pytest

from chain.ledger.db.engine import connect_to_read_latest, open_engine, read_keys, read_rows
from chain.ledger.errors import (
    DatabaseFailedError,
    LedgerError,
    SnapshotExpiredError,
    UnavailableError,
)
from chain.ledger.ledger import Ledger
from chain.ledger.reader import is_made, open_reader
from tests.ledger.chains import NOW, QUICK, feed, quick_chain


@pytest.fixture
def chain():
    return quick_chain(4)


@pytest.fixture
def ledger(url, chain):
    ledger = Ledger(url, QUICK, verify_threads=1)
    feed(ledger, chain.blocks[:2])
    yield ledger
    ledger.close()


@pytest.fixture
def reader(url, ledger):
    reader = open_reader(url)
    yield reader
    reader.close()


def sql(snapshot, statement, values=()):
    return snapshot.query(lambda connection: read_rows(connection, statement, values))


def test_a_snapshot_stays_at_one_commit_while_blocks_come(reader, ledger, chain):
    count = "SELECT count(*) FROM chain"
    with reader.snapshot() as snapshot:
        ledger.add_block(chain.blocks[2], NOW)
        assert (snapshot.tip_height, sql(snapshot, count)) == (2, [(3,)])
    with reader.snapshot() as snapshot:
        assert (snapshot.tip_height, sql(snapshot, count)) == (3, [(4,)])


def test_who_reads_the_latest_sees_each_commit_and_holds_no_snapshot(
    url, ledger, chain, server, database
):
    engine = open_engine(url, read_only=True)
    latest = connect_to_read_latest(engine)
    query = "SELECT height FROM chain WHERE height IN"
    assert read_keys(latest, query, [1, 2, 3], (int,)) == [(1,), (2,)]
    ledger.add_block(chain.blocks[2], NOW)
    assert read_keys(latest, query, [3], (int,)) == [(3,)]
    held = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
    assert server.execute(f"{held} AND datname = '{database}'") == [(0,)]
    latest.close()
    engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize(("more", "kept"), [({}, True), ({"prepare_threshold": "none"}, False)])
def test_statements_are_prepared_unless_a_pooler_cannot(ledger, server, database, more, kept):
    reader = open_reader(server.url(database, **more))
    for _ in range(10):
        with reader.snapshot() as snapshot:
            [(count,)] = sql(
                snapshot, "SELECT count(*) FROM pg_prepared_statements WHERE ? = 1", (1,)
            )
    assert bool(count) == kept
    reader.close()


def test_a_reader_cannot_write(reader):
    with (
        pytest.raises(DatabaseFailedError, match="read-only transaction"),
        reader.snapshot() as snapshot,
    ):
        snapshot.query(lambda connection: connection.exec_driver_sql("DELETE FROM chain"))


def test_a_statement_ends_with_the_time_of_its_snapshot(reader):
    started = time.monotonic()
    with (
        pytest.raises(SnapshotExpiredError, match="a read took over"),
        reader.snapshot(0.3) as snapshot,
    ):
        sleep_often(snapshot)
    assert time.monotonic() - started < 5
    with reader.snapshot() as snapshot:
        assert snapshot.tip_height == 2


@pytest.mark.slow
def test_the_server_ends_a_snapshot_whose_reader_has_stopped(reader, server, database):
    """It would keep the server from cleaning up, and its standbys from replaying."""
    [(limit,)] = [sql(s, "SHOW idle_in_transaction_session_timeout")[0] for s in opened(reader)]
    number, unit = re.fullmatch(r"(\d+)(ms|s)", limit).groups()
    limit_ms = int(number) * {"ms": 1, "s": 1000}[unit]
    assert 5_000 < limit_ms <= 6_001, "what is left of the snapshot's 5 s, and 1 s more"


def sleep_often(snapshot):
    for _ in range(20):  # each is short: the time is that of all of them
        sql(snapshot, "SELECT 1 FROM pg_sleep(0.06)")


def opened(reader):
    with reader.snapshot() as snapshot:
        yield snapshot


def test_a_read_that_the_server_cancels_may_be_tried_again(reader, server, database):
    def cancel():
        query = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%sleep(9)%'"
        while not server.execute(f"{query} AND pid <> pg_backend_pid() AND datname = '{database}'"):
            pass

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with (
        pytest.raises(UnavailableError, match="canceling statement"),
        reader.snapshot() as snapshot,
    ):
        sql(snapshot, "SELECT 1 FROM pg_sleep(9)")
    canceller.join()


@pytest.mark.slow
def test_connections_that_the_server_closed_are_replaced_without_an_error(reader, server, database):
    with reader.snapshot(), reader.snapshot():
        pass  # two are kept
    assert len(reader._connections._idle) == 2
    end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    server.execute(f"{end} WHERE application_name = 'groat reader' AND datname = '{database}'")
    with reader.snapshot() as snapshot:
        assert snapshot.tip_height == 2


def test_a_server_that_is_away_is_no_damage(url):
    away = url.replace("port=1", "port=9")
    with pytest.raises(UnavailableError, match="cannot be read just now"):
        open_reader(away)
    with pytest.raises(UnavailableError):
        is_made(away)


@pytest.mark.slow
def test_a_database_without_a_ledger_is_not_made_yet(url):
    assert not is_made(url)
    with pytest.raises(LedgerError, match="does not hold a ledger"):
        open_reader(url)
