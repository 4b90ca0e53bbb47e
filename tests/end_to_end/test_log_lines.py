"""What an operator reads while two nodes meet, one loses its blocks, and both stop."""

import re

import pytest

from tests.end_to_end.processes import NodeProcess, wait_until

ADDRESS = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"

pytestmark = [pytest.mark.slow, pytest.mark.net]


def test_a_node_says_who_came_what_it_lost_and_that_it_stopped(tmp_path):
    one = NodeProcess(tmp_path / "one").start()
    two = NodeProcess(tmp_path / "two").start("--quiet")
    try:
        one.mine(3, ADDRESS)
        two.mine(5, ADDRESS)
        one.rpc("addnode", two.p2p, "add")
        wait_until(lambda: one.tip == two.tip, "both on the longer chain")
        assert one.stop() == 0
        said = one.errors()
        assert f"peer connected: {two.p2p} (manual, groat:" in said
        assert re.search(r"new tip 1 [0-9a-f]{64}: 1 transaction\n", said)
        assert re.search(
            r"reorganisation: 3 blocks disconnected, ([45]) connected, fork at 0\n"
            r".* \1 new blocks, tip \1 ",
            said,
        )
        assert re.search(r"tip 5 [0-9a-f]{64}: ", said)
        lines = said.splitlines()
        assert lines[-1].endswith("process: stopped")
        assert "process: stopping\n" in said
    finally:
        one.stop()
        two.stop()
    assert two.errors() == ""
    kept = (two.folder / "regtest" / "node.log").read_text()
    assert "peer disconnected: 127.0.0.1:" in kept
