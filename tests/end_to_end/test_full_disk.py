"""A node whose ledger cannot be written any more while a peer sends it blocks."""

import resource
import sys

import pytest

from tests.end_to_end.processes import NodeProcess

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


@pytest.mark.net
@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
def test_a_node_that_cannot_write_what_a_peer_sends_ends_with_one_line(tmp_path):
    node = NodeProcess(tmp_path / "full", ["--no-discovery"]).start()
    log = next((tmp_path / "full").rglob("ledger.sqlite-wal"))
    size = log.stat().st_size
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (size, size))
    other = NodeProcess(tmp_path / "other", ["--no-discovery", "--peer", node.p2p]).start()
    try:
        other.mine(40, ADDRESS)
        assert node.process.wait(30) == 1
        node.process.stdout.close()
        assert node.errors().splitlines()[-1].startswith("groat: stopped: the ledger failed: ")
        assert "Traceback" not in node.errors()
    finally:
        other.stop()
