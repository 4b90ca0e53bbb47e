"""Streaming standbys: readers on them, what survives the primary, and a node on a promoted one."""

import signal
import threading

import pytest

from chain.ledger.errors import (
    DatabaseFailedError,
    FencedError,
    LedgerError,
    StandbyError,
    UnavailableError,
)
from chain.ledger.ledger import Ledger
from chain.ledger.reader import open_reader
from tests.end_to_end.processes import wait_until
from tests.ledger.chains import NOW, QUICK, feed, quick_chain
from tests.patience import PATIENCE_S
from tests.postgresql.test_readers import sql
from tests.postgresql_server import new_database, new_server, server_folder

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(programs):
    """A primary and a synchronous standby, which a test may stop."""
    with server_folder() as folder:
        primary = new_server(programs, programs.own(folder / "s"), 1)
        standby = primary.standby(2, "one")
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (one, two)'")
        primary.execute("SELECT pg_reload_conf()")
        query = "SELECT sync_state FROM pg_stat_replication"
        wait_until(lambda: primary.execute(query) == [("quorum",)], "the standby is synchronous")
        yield primary, standby
        for server in (standby, primary):
            server.stop(signal.SIGQUIT)


@pytest.fixture
def database(pair):
    return new_database(pair[0])


@pytest.fixture
def chain():
    return quick_chain(12)


def open_ledger(url, **how):
    return Ledger(url, QUICK, verify_threads=1, **how)


def caught_up(primary, standby):
    [(end,)] = primary.execute("SELECT pg_current_wal_lsn()")
    query = f"SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn"
    wait_until(lambda: standby.execute(query) == [(True,)], "the standby has replayed")


def test_a_reader_on_a_standby_has_snapshots_of_one_commit(pair, database, chain):
    primary, standby = pair
    ledger = open_ledger(primary.url(database))
    feed(ledger, chain.blocks[:3])
    caught_up(primary, standby)
    reader = open_reader(standby.url(database))
    with reader.snapshot() as snapshot:
        ledger.add_block(chain.blocks[3], NOW)
        caught_up(primary, standby)
        assert (snapshot.tip_height, sql(snapshot, "SELECT count(*) FROM chain")) == (3, [(4,)])
    with reader.snapshot() as snapshot:
        assert snapshot.tip_height == 4
    reader.close()
    ledger.close()


def test_a_read_that_a_standby_cancels_may_be_tried_again(pair, database, chain):
    """What it replays changes a table that the snapshot reads."""
    primary, standby = pair
    standby.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
    standby.execute("SELECT pg_reload_conf()")
    ledger = open_ledger(primary.url(database))
    feed(ledger, chain.blocks[:3])
    caught_up(primary, standby)
    reader = open_reader(standby.url(database))

    def read_while_rows_go():
        with reader.snapshot() as snapshot:
            sql(snapshot, "SELECT * FROM node_state")
            feed(ledger, chain.blocks[3:6])
            lock = "LOCK TABLE node_state IN ACCESS EXCLUSIVE MODE"
            primary.execute(f"DO $$BEGIN {lock}; END$$", database)
            caught_up(primary, standby)
            for _ in range(50):
                sql(snapshot, "SELECT * FROM node_state")

    with pytest.raises(UnavailableError, match="conflict with recovery"):
        read_while_rows_go()
    with reader.snapshot() as snapshot:
        assert snapshot.tip_height == 6
    reader.close()
    ledger.close()


def test_a_node_is_not_started_on_a_standby(pair, database):
    primary, standby = pair
    open_ledger(primary.url(database)).close()
    caught_up(primary, standby)
    with pytest.raises(StandbyError, match="promote it first"):
        open_ledger(standby.url(database))


def test_a_node_goes_on_on_a_promoted_standby_and_the_old_one_is_told(pair, database, chain):
    primary, standby = pair
    hosts = {"host": f"{primary.folder},{primary.folder}", "port": "1,2"}
    url = primary.url(database, **hosts, target_session_attrs="read-write")
    ledger = open_ledger(url)
    feed(ledger, chain.blocks[:3])
    version = ledger.version
    primary.kill()
    with pytest.raises(DatabaseFailedError):
        ledger.add_block(chain.blocks[3], NOW)
    standby.execute("SELECT pg_promote(true, 60)")
    ledger = open_ledger(url)
    assert ledger.tip.id == chain.blocks[2].id, "each acknowledged block is there"
    assert ledger.version.counter == version.counter + 1
    standby.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
    ledger.close()


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("pg_cancel_backend(pid)", "COMMIT is not certain: canceling wait"),
        ("pg_terminate_backend(pid)", "cannot be written"),  # the connection is lost in the COMMIT
    ],
)
def test_a_block_that_no_standby_has_is_not_acknowledged(pair, database, chain, end, why):
    """A wait for the standby that is ended is a failure, though the server commits."""
    primary, standby = pair
    ledger = open_ledger(primary.url(database))
    feed(ledger, chain.blocks[:3])
    standby.stop(signal.SIGINT)
    waiting = f"SELECT {end} FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    ender = threading.Thread(
        target=lambda: wait_until(lambda: primary.execute(waiting), "it waits")
    )
    ender.start()
    with pytest.raises(DatabaseFailedError, match=why) as caught:
        ledger.add_block(chain.blocks[3], NOW)
    ender.join()
    assert len(str(caught.value).splitlines()) == 1
    assert not ledger.is_usable
    standby.start()
    ledger = open_ledger(primary.url(database))
    assert ledger.tip.id in {chain.blocks[2].id, chain.blocks[3].id}, "either, as a whole"
    feed(ledger, chain.blocks[3:5])
    assert ledger.tip.id == chain.blocks[4].id
    ledger.close()


def test_an_old_primary_that_comes_back_is_written_by_nobody_while_a_witness_is_there(
    pair, database, chain, monkeypatch
):
    primary, standby = pair
    monkeypatch.setattr("chain.ledger.writer_watch.LOOK_S", 0.2)
    both = {"host": f"{primary.folder},{primary.folder}"}
    at_old = primary.url(database, **both, port="1,2")  # the first that answers is taken
    old = open_ledger(at_old)
    feed(old, chain.blocks[:3])
    caught_up(primary, standby)
    standby.promote()
    new = open_ledger(primary.url(database, **both, port="2,1"))
    feed(new, chain.blocks[3:5])
    with pytest.raises(FencedError, match=r"moved to another server: .*:2 is a newer primary"):
        old.watch.result.result(PATIENCE_S)
    with pytest.raises(DatabaseFailedError):
        old.add_block(chain.blocks[3], NOW)
    for _ in range(3):  # its old node, started again and again, has no later epoch by that
        with pytest.raises(LedgerError, match=r"an old one, as .*:2 is a newer primary: .*rewind"):
            open_ledger(at_old)
    assert new.watch.failure is None
    feed(new, chain.blocks[5:7])
    assert primary.execute("SELECT max(height) FROM chain", database) == [(3,)]
    new.close()
