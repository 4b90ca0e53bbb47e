"""A node whose ledger rots while it runs: the reader gets no wrong answer, and the node ends."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from chain.consensus.params import REGTEST
from chain.ledger.ledger import Ledger
from tests.end_to_end.processes import CLEAN, NodeProcess
from tests.ledger.chains import NOW, mature_chain

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


@pytest.mark.net
@pytest.mark.slow
def test_a_node_whose_headers_far_below_rot_ends_with_one_line(tmp_path):
    file = tmp_path / "node" / "regtest" / "ledger.sqlite"
    file.parent.mkdir(parents=True)
    with closing(Ledger(file, REGTEST, verify_threads=2)) as ledger:
        for verdict in ledger.add_blocks(mature_chain(5_000 + 64).blocks, NOW):
            verdict.result()
        assert len(ledger.tree.columns) == 64
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE headers SET work = zeroblob(32) WHERE height = 30")
    command = [sys.executable, "-m", "chain", "node", "--network", "regtest", "--no-discovery"]
    command += ["--datadir", str(tmp_path / "node"), "--p2p", "127.0.0.1:0", "--api", "127.0.0.1:0"]
    # The check in the background ends before the node is ready, or after that.
    node = subprocess.run(
        command, capture_output=True, text=True, env=CLEAN, timeout=60, check=False
    )
    assert node.returncode == 1
    last = node.stderr.splitlines()[-1]
    assert last.startswith("groat: ")
    assert last.endswith("the best chain is damaged at height 30")
    assert "Traceback" not in node.stderr
