"""Connections that are cut or changed on their way, and nodes that are stopped at a bad moment."""

import signal
import struct
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass

import httpx
import pytest

from chain.ledger.errors import DatabaseFailedError, LedgerError
from chain.ledger.ledger import Ledger
from chain.ledger.reader import open_reader
from tests.end_to_end.processes import PLAIN, NodeProcess, wait_until
from tests.end_to_end.test_serve import ADDRESS
from tests.ledger.chains import NOW, QUICK, feed, quick_chain
from tests.postgresql.proxy import proxy
from tests.postgresql.test_processes import ended, last_line

pytestmark = pytest.mark.slow


@pytest.fixture
def chain():
    return quick_chain(6)


def open_ledger(url, **how):
    return Ledger(url, QUICK, verify_threads=1, **how)


@dataclass
class Cut:
    """Cuts a connection at its client's next COMMIT: before the server has it, or after."""

    is_before: bool
    is_armed: bool = False
    is_committing: bool = False

    def to_server(self, link, data):
        if self.is_armed and b"COMMIT" in data:
            self.is_armed, self.is_committing = False, True
            if self.is_before:
                link.cut()
        return data

    def to_client(self, link, data):
        if self.is_committing:
            link.cut()
        return data


@pytest.mark.parametrize("is_before", [True, False])
def test_a_connection_lost_in_a_commit_ends_the_ledger_which_goes_on_from_what_there_is(
    server, database, chain, is_before
):
    cut = Cut(is_before)
    changes = {"to_server": cut.to_server, "to_client": cut.to_client}
    with proxy(server.folder, server.port, **changes) as place:
        ledger = open_ledger(server.url(database, **place))
        feed(ledger, chain.blocks[:3])
        cut.is_armed = True
        with pytest.raises(DatabaseFailedError, match="cannot be written") as caught:
            ledger.add_block(chain.blocks[3], NOW)
        assert len(str(caught.value).splitlines()) == 1
        assert cut.is_committing
        assert not ledger.is_usable
        with pytest.raises(LedgerError):
            ledger.add_block(chain.blocks[4], NOW)
        ledger = open_ledger(server.url(database))
    assert ledger.tip.height == (3 if is_before else 4)
    feed(ledger, chain.blocks[3:])
    assert ledger.tip.id == chain.tip.id
    ledger.close()


def test_a_node_behind_a_connection_pooler_is_refused_and_a_reader_is_not(server, database, chain):
    """A pooler gives its clients keys of its own."""

    def other_key(_link, data):
        at = data.find(b"K\0\0\0\x0c")
        if at < 0 or b"R\0\0\0\x08\0\0\0\0" not in data:
            return data
        (pid,) = struct.unpack_from(">I", data, at + 5)
        return data[: at + 5] + struct.pack(">I", pid + 1) + data[at + 9 :]

    ledger = open_ledger(server.url(database))
    feed(ledger, chain.blocks)
    ledger.close()
    with proxy(server.folder, server.port, to_client=other_key) as place:
        url = server.url(database, **place, prepare_threshold="none")
        with pytest.raises(LedgerError, match="leads to a connection pooler"):
            open_ledger(url)
        reader = open_reader(url)
        with reader.snapshot() as snapshot:
            assert snapshot.tip_id == chain.tip.id
        reader.close()


WAIT_IN_TRANSACTION = (
    "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS"
    " $$BEGIN IF EXISTS (SELECT FROM holds) THEN PERFORM pg_sleep(60); END IF; RETURN NULL; END$$"
)
HELD = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"


@pytest.mark.net
@pytest.mark.parametrize("when", ["", "DEFERRABLE INITIALLY DEFERRED"])
def test_a_node_stopped_between_lock_and_commit_or_in_a_commit_writes_nothing_after_a_take_over(
    server, url, database, tmp_path, when
):
    arguments = ["--no-discovery", "--database", url]
    first, other = (NodeProcess(tmp_path / name, arguments) for name in ("first", "other"))
    first.start()
    ids = first.mine(3, ADDRESS)
    for statement in (
        "CREATE TABLE holds (is_on int)",
        WAIT_IN_TRANSACTION,
        f"CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON chain {when}"
        " FOR EACH ROW EXECUTE FUNCTION hold()",
        "INSERT INTO holds VALUES (1)",
    ):
        server.execute(statement, database)
    body = {"id": 1, "method": "generatetoaddress", "params": [1, ADDRESS]}

    def ask():
        with suppress(httpx.HTTPError):  # the node ends meanwhile
            httpx.post(first.api + "/", json=body, auth=login, **PLAIN, timeout=60)

    user, _, password = (first.folder / "regtest" / ".cookie").read_text().partition(":")
    login = (user, password)
    asked = threading.Thread(target=ask)
    asked.start()
    try:
        wait_until(lambda: server.execute(HELD), "the transaction is held")
        first.process.send_signal(signal.SIGSTOP)
        server.execute("DELETE FROM holds", database)
        other.start("--take-over")
        assert other.tip == ids[-1]
        tip = other.mine(1, ADDRESS)[0]
        first.process.send_signal(signal.SIGCONT)
        assert ended(first) == 1
        assert last_line(first).startswith("groat: stopped: the ledger failed: ")
        assert other.tip == tip
        assert other.stop() == 0
    finally:
        asked.join(60)
        for node in (first, other):
            if node.process is not None:
                node.process.send_signal(signal.SIGCONT)
                node.kill()


@pytest.mark.net
def test_of_nodes_that_start_at_the_same_time_one_runs(url, tmp_path):
    nodes = [
        NodeProcess(tmp_path / f"n{n}", ["--no-discovery", "--database", url]) for n in range(3)
    ]
    outcomes = []

    def run(node):
        try:
            outcomes.append(node.start())
        except (AssertionError, subprocess.TimeoutExpired):
            outcomes.append(None)

    threads = [threading.Thread(target=run, args=(node,)) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running = [node for node in outcomes if node is not None]
    assert len(running) == 1
    for node in nodes:
        assert "Traceback" not in node.errors()
        if node is not running[0]:
            node.process.stdout.close()
            assert "groat: another process is using the database" in last_line(node)
    running[0].mine(2, ADDRESS)
    assert running[0].stop() == 0
