"""A node whose ledger rots while it runs: the reader gets no wrong answer, and the node ends."""

import sqlite3

import pytest

from tests.end_to_end.processes import NodeProcess

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


@pytest.mark.net
def test_a_node_that_reads_rot_ends_with_one_line(tmp_path):
    node = NodeProcess(tmp_path / "node", ["--no-discovery"]).start()
    node.mine(3, ADDRESS)
    database = sqlite3.connect(next((tmp_path / "node").rglob("ledger.sqlite")))
    with database:
        database.execute("UPDATE history SET value = value + 1 WHERE number = 2 << 16")
    database.close()
    reply = node.get(f"/api/address/{ADDRESS}")
    assert (reply.status_code, reply.text.count("\n")) == (503, 0)
    assert node.process.wait(30) == 1
    node.process.stdout.close()
    last = node.errors().splitlines()[-1]
    assert last.startswith("groat: stopped: the ledger is damaged: the history of script ")
    assert "Traceback" not in node.errors()
