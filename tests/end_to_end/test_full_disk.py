"""A node that cannot write what it should, as on a full disk (F5, H4)."""

import resource
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.end_to_end.processes import NodeProcess, wait_until

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
HEARTBEATS_BYTES = 60_000  # seven; blocks and 400 prices take more
IO_ERROR = "disk I/O error"  # SQLite's word for a file that may not grow


@pytest.mark.net
@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
def test_a_node_that_cannot_write_what_a_peer_sends_ends_with_one_line(tmp_path):
    node = NodeProcess(tmp_path / "full", ["--no-discovery"]).start()
    limit_ledger(node)
    other = NodeProcess(tmp_path / "other", ["--no-discovery", "--peer", node.p2p]).start()
    try:
        other.mine(40, ADDRESS)
        assert node.process.wait(30) == 1
        node.process.stdout.close()
        check_errors(node)
    finally:
        other.stop()


def check_errors(node: NodeProcess) -> None:
    """Check that only the last line names the file, and that there is no traceback."""
    ledger = next(node.folder.rglob("ledger.sqlite"))
    lines = node.errors().splitlines()
    assert lines[-1] == f"groat: stopped: the ledger failed: {ledger} cannot be written: {IO_ERROR}"
    assert len([line for line in lines if "cannot be written" in line]) == 1
    assert not [line for line in lines if "Traceback" in line or " ERROR " in line]


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
def test_a_call_whose_block_cannot_be_written_gets_a_503_and_the_node_ends_with_one_line(tmp_path):
    node = NodeProcess(tmp_path, ["--no-discovery"]).start()
    limit_ledger(node)
    call = {"id": 7, "method": "generatetoaddress", "params": [40, ADDRESS]}
    reply = node.post_rpc(call)
    assert node.process.wait(30) == 1
    node.process.stdout.close()
    assert reply.status_code == 503
    assert reply.json()["error"]["message"].startswith("the node's ledger cannot be written")
    check_errors(node)


def rows_of(ledger: Path, table: str) -> int:
    """Return how many rows a table has, as another process sees it."""
    with closing(sqlite3.connect(ledger)) as database:
        [(count,)] = database.execute(f"SELECT count(*) FROM {table}")  # of this test's
    return count


def limit_ledger(node: NodeProcess) -> None:
    """Let no file of the node grow beyond its ledger's log and some heartbeats."""
    size = next(node.folder.rglob("ledger.sqlite-wal")).stat().st_size
    hard = resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (size + HEARTBEATS_BYTES, hard))


@pytest.mark.net
@pytest.mark.slow
def test_peers_are_saved_again_once_their_file_can_be_written(tmp_path):
    node = NodeProcess(tmp_path, ["--no-discovery"]).start()
    path = tmp_path / "regtest" / "peers.json"
    path.unlink(missing_ok=True)
    path.mkdir()
    node.rpc("setban", "192.0.2.1", "add")
    wait_until(lambda: f"cannot save {path}: Is a directory" in node.errors(), "reported")
    time.sleep(4)  # it tries again and again meanwhile
    assert node.errors().count("cannot save") == 1
    path.rmdir()
    wait_until(lambda: f"{path} is saved again" in node.errors(), "saved again")
    assert node.stop() == 0
    assert "Traceback" not in node.errors()
    node.start()
    assert len(node.rpc("listbanned")) == 1
    assert node.stop() == 0


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.serial  # answers under way have three seconds when a node ends
@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
def test_a_node_that_cannot_write_its_mempool_ends_with_one_line_and_has_the_rest(tmp_path):
    node = NodeProcess(tmp_path, ["--no-discovery"]).start()
    kept = "01" * 32
    node.rpc("prioritisetransaction", kept, 0, 7)
    ledger = next(node.folder.rglob("ledger.sqlite"))
    wait_until(lambda: rows_of(ledger, "deltas") == 1, "the delta is in the database")
    limit_ledger(node)
    node.post_rpc(
        [
            {"id": 1, "method": "prioritisetransaction", "params": [f"{number:064x}", 0, 1000]}
            for number in range(1, 400)
        ]
    )
    assert node.process.wait(30) == 1
    node.process.stdout.close()
    check_errors(node)
    node.start()
    found = node.rpc("getprioritisedtransactions")
    assert found.pop(kept) == {"fee_delta": 7, "in_mempool": False}
    assert len(found) < 399
    assert set(found) == {f"{number:064x}" for number in range(1, len(found) + 1)}
    assert node.stop() == 0
