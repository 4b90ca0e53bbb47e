"""What an operator reads while two nodes meet, one loses its blocks, and both stop."""

import re
import socket
import subprocess
import sys

import pytest

from chain.cli.sample_config import sample_config
from chain.service.process import NO_PUBLIC_NETWORK
from tests.end_to_end.processes import CLEAN, NodeProcess, wait_until

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


@pytest.mark.parametrize(
    ("network", "arguments", "is_said"),
    [
        ("test", (), True),
        ("main", (), True),
        ("test", ("--seed", "127.0.0.1:1"), False),
        ("test", ("--peer", "127.0.0.1:1"), False),
        ("devnet", ("--no-discovery",), False),
    ],
)
def test_a_node_names_its_configuration_file_and_says_that_there_is_no_public_network(
    tmp_path, network, arguments, is_said
):
    node = NodeProcess(tmp_path / "data", arguments, network)
    node.folder.mkdir()
    (node.folder / "groat.toml").write_text(sample_config() if is_said else "")
    node.start()
    assert node.stop() == 0
    said = node.errors()
    assert said.count(f"configuration file: {node.folder}/groat.toml\n") == 1
    assert (said.count(NO_PUBLIC_NETWORK) == 1) is is_said


def test_nodes_of_a_network_of_ones_own_find_each_other_by_its_seed(tmp_path):
    """As docs/your-own-network.md has it: the file names the first node, and no flag does."""
    new = [sys.executable, "-m", "chain", "network", "new", "village", "--difficulty", "1e-6"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    made = [*new, "--seed", "127.0.0.1", "--p2p-port", port, "--api-port", "0", "--yes"]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True, env=CLEAN)
    file = ("--network", str(tmp_path / "village.toml"))  # the last one counts
    first = NodeProcess(tmp_path / "first", file, "village", p2p=f"127.0.0.1:{port}").start()
    others = [NodeProcess(tmp_path / name, file, "village").start() for name in ("ben", "carol")]
    try:
        wait_until(lambda: len(first.rpc("getpeerinfo")) == 2, "both others are linked")
        assert first.rpc("getaddednodeinfo") == []
    finally:
        for node in (first, *others):
            node.stop()
    assert f"seed 127.0.0.1:{port}: 0 addresses\n" in others[0].errors()
    assert first.errors().count("it is this node") == 1
