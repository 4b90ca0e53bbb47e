"""A reader's connections: one that the server lost, or that hangs, is no error for long."""

import os
import signal
import threading
import time
from contextlib import suppress

import httpx
import psycopg
import pytest

from chain.ledger.errors import SnapshotExpiredError, UnavailableError
from chain.ledger.ledger import Ledger
from chain.ledger.reader import open_reader
from tests.end_to_end.processes import NodeProcess, wait_until
from tests.end_to_end.test_serve import ADDRESS, ServeProcess
from tests.ledger.chains import QUICK, feed, quick_chain
from tests.postgresql.test_readers import sql
from tests.postgresql_server import new_database, new_server, server_folder

pytestmark = pytest.mark.slow
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'groat reader'"
CLIENTS = 30  # more than there are threads and connections
REPLY_S_MAX = 25.0


@pytest.fixture
def own_server(programs):
    """A server that the test may stop."""
    with server_folder() as folder:
        running = new_server(programs, programs.own(folder / "s"), 1)
        yield running
        running.stop(signal.SIGQUIT)


@pytest.fixture
def made(own_server):
    """The URL of a ledger."""
    url = own_server.url(new_database(own_server))
    ledger = Ledger(url, QUICK, verify_threads=1)
    feed(ledger, quick_chain(2).blocks)
    ledger.close()
    return url


@pytest.fixture
def reader(made):
    reader = open_reader(made)
    yield reader
    reader.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_the_first_read_after_a_restart_of_the_server_succeeds(reader, own_server, caplog, how):
    with reader.snapshot(), reader.snapshot(), reader.snapshot():
        pass  # three are kept
    if how == signal.SIGKILL:
        own_server.kill()
    else:
        own_server.stop(how)
    with pytest.raises(UnavailableError), reader.snapshot():
        pass
    own_server.start()
    for _ in range(4):
        with reader.snapshot() as snapshot:
            assert snapshot.tip_height == 2
    own_server.stop(signal.SIGINT)
    own_server.start()
    with reader.snapshot() as snapshot, reader.snapshot() as other:
        assert (snapshot.tip_height, other.tip_height) == (2, 2)
    assert caplog.records == []


def lose(own_server, snapshot, _connection):
    [(pid,)] = sql(snapshot, "SELECT pg_backend_pid()")
    own_server.execute(f"SELECT pg_terminate_backend({pid}, 5000)")


def see_it_lost(own_server, snapshot, connection):
    """The driver has seen the end of the connection, SQLAlchemy has not: status UNKNOWN."""
    lose(own_server, snapshot, connection)
    driver = connection.connection.driver_connection
    with suppress(psycopg.OperationalError):
        while True:
            driver.pgconn.consume_input()
    assert driver.info.transaction_status == psycopg.pq.TransactionStatus.UNKNOWN


def leave_a_statement(_server, _snapshot, connection):
    """As if a thread had been taken away from a statement: status ACTIVE."""
    connection.connection.driver_connection.pgconn.send_query(b"SELECT pg_sleep(60)")


@pytest.mark.serial
@pytest.mark.parametrize("damage", [lose, see_it_lost, leave_a_statement])
def test_a_connection_in_an_unknown_state_is_not_used_again(reader, own_server, caplog, damage):
    started = time.monotonic()
    try:
        with reader.snapshot() as snapshot:
            snapshot.query(lambda c: damage(own_server, snapshot, c))
    except UnavailableError:
        pass  # it was not certain to be whole
    with reader.snapshot() as snapshot:
        assert snapshot.tip_height == 2
        assert sql(snapshot, "SELECT 1 FROM pg_sleep(0)") == [(1,)]
    assert time.monotonic() - started < 10
    assert caplog.records == []


def test_a_server_that_hangs_in_a_read_is_left_and_used_again(reader, own_server, monkeypatch):
    monkeypatch.setattr("chain.ledger.db.connections.OVERDUE_S", 0.3)
    stopped = []

    def read(seconds):
        with reader.snapshot(seconds) as snapshot:
            [(pid,)] = sql(snapshot, "SELECT pg_backend_pid()")
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
            sql(snapshot, "SELECT 1")

    try:
        with pytest.raises(SnapshotExpiredError):
            read(0.3)
        with reader.snapshot() as snapshot:
            assert snapshot.tip_height == 2
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def ask(serve, path, replies):
    try:
        reply = serve.get(path)
        replies.append((reply.status_code, reply.headers.get("Retry-After")))
    except httpx.HTTPError as error:
        replies.append(error)


@pytest.fixture
def serve(own_server, tmp_path):
    """A reader on its own, of a ledger with three blocks."""
    url = own_server.url(new_database(own_server))
    node = NodeProcess(tmp_path / "node", ["--no-discovery", "--database", url]).start()
    node.mine(3, ADDRESS)
    assert node.stop() == 0
    serve = ServeProcess(tmp_path / "reader", ("--database", url)).start().ready()
    yield serve
    assert serve.end() == 0
    assert not [line for line in serve.errors if "Traceback" in line], serve.errors


@pytest.mark.net
@pytest.mark.serial
def test_a_server_that_hangs_is_a_503_for_all_clients_and_not_a_hang(own_server, serve):
    path = f"/api/block/{serve.get('/api/block-height/2').text}/txids"
    assert serve.get(path).is_success
    replies = []
    own_server.signal_all(signal.SIGSTOP)
    try:
        started = time.monotonic()
        asked = (serve, path, replies)
        clients = [threading.Thread(target=ask, args=asked) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert set(replies) == {(503, "1")}
        assert time.monotonic() - started < REPLY_S_MAX
    finally:
        own_server.signal_all(signal.SIGCONT)
    wait_until(lambda: serve.get(path).is_success, "it goes on")
    own_server.stop(signal.SIGINT)
    own_server.start()
    assert serve.get(path).status_code == 200, "the first one, too"
