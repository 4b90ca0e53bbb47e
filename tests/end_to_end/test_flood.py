"""A node of 1,024 descriptors under 1,200 idle connections on each port (F7, H1)."""

import asyncio
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from chain.gossip.wire.address import Address, parse_address
from tests.end_to_end.processes import CLEAN, NodeProcess, wait_until
from tests.peers.stranger import linked_stranger

pytestmark = [
    pytest.mark.net,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.0/8 and prlimit"),
]
DESCRIPTORS = 1024  # of the node
CONNECTIONS = 1200  # to each port, from hosts of 127.1.0.0/16
ROOT = Path(__file__).resolve().parents[2]
NEWCOMER = "127.2.0.1"
LINK_S_MAX = 5.0
CALLS = 300
CALL_S_MAX = 0.2  # of 99 calls in 100
LOG_BYTES_MAX = 1_000_000
SOMEBODY = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"


@contextmanager
def flooded(*endpoints: str) -> Iterator[None]:
    """Hold the idle connections inside the block, by another process."""
    command = [sys.executable, "-m", "tests.end_to_end.flood", str(CONNECTIONS), *endpoints]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as flood:
        try:
            assert flood.stdout.readline() == b"flooded\n"
            yield
        finally:
            flood.kill()


async def linking_s(address: Address, nonce: int) -> float:
    """Return how long a newcomer of another network takes from its first packet to its link."""
    started = time.monotonic()
    async with linked_stranger(address, nonce, NEWCOMER):
        return time.monotonic() - started


async def calls_s(api: str) -> list[float]:
    """Return how long each of many calls took, every tenth on a connection of its own."""
    took = []
    for _ in range(CALLS // 10):
        transport = httpx.AsyncHTTPTransport(local_address=NEWCOMER, trust_env=False)
        async with httpx.AsyncClient(base_url=api, transport=transport, timeout=30) as client:
            for _ in range(10):
                started = time.monotonic()
                reply = await client.get("/api/blocks/tip/height")
                took.append(time.monotonic() - started)
                assert reply.status_code == 200
    return took


async def newcomers(node: NodeProcess) -> tuple[list[float], list[float]]:
    """Return how long newcomers take to link, and calls to be answered."""
    host, _, port = node.p2p.rpartition(":")
    address = parse_address(host, int(port))
    links = [await linking_s(address, nonce + 1) for nonce in range(10)]
    calls = await calls_s(node.api)
    links += [await linking_s(address, nonce + 11) for nonce in range(10)]
    return links, calls


@pytest.mark.serial
def test_a_flood_of_one_network_keeps_no_other_out(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path, ["--no-discovery"], descriptors=f"-n {DESCRIPTORS}").start()
    node.mine(1, SOMEBODY)
    with flooded(node.p2p, node.api.removeprefix("http://")):
        opened = len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))
        # Local connections leave one place in 16 to others.
        assert 650 < opened < DESCRIPTORS, "both listeners are as full as they may be"
        links, calls = asyncio.run(newcomers(node))
    assert node.stop() == 0
    said = f"links {max(links):.2f} s, calls {sorted(calls)[-5:]}, {node.errors()[-1000:]}"
    assert max(links) < LINK_S_MAX, said
    assert sorted(calls)[int(len(calls) * 0.99) - 1] < CALL_S_MAX, said
    assert len(node.errors()) < LOG_BYTES_MAX
    assert "cannot accept" not in node.errors(), "the caps are below the limit"
    assert f"{DESCRIPTORS} files may be open: at most " in node.errors()
    assert "Traceback" not in node.errors()


def test_a_low_limit_is_raised_and_one_that_is_too_low_is_said_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chain", "node", "--network", "regtest", "--no-discovery"]
    command += ["--p2p", "127.0.0.1:0", "--api", "127.0.0.1:0", "--datadir", str(tmp_path)]
    script = 'ulimit -n 300; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *command], capture_output=True, text=True, env=CLEAN, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "groat: only 300 files may be open (ulimit -n), and a node needs 364"
    ]
    node = NodeProcess(tmp_path / "raised", ["--no-discovery"], descriptors="-S -n 300").start()
    soft, _ = resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE)
    assert node.stop() == 0
    assert f"{soft} files may be open: at most 1600 connections from peers" in node.errors()


def test_a_node_out_of_descriptors_says_so_once_does_not_spin_and_recovers(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path, ["--no-discovery"]).start()
    pid = node.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(int(file.name) for file in Path(f"/proc/{pid}/fd").iterdir()) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, limits[1]))
    host, _, port = node.api.removeprefix("http://").rpartition(":")
    waiting = [socket.create_connection((host, int(port))) for _ in range(60)]
    line = "cannot accept connections just now: Too many open files"
    wait_until(lambda: line in node.errors(), line)
    before_s = cpu_s(pid)
    time.sleep(3)
    assert cpu_s(pid) - before_s < 1.0
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert node.height == 0
    for one in waiting:
        one.close()
    assert node.stop() == 0
    assert node.errors().count(line) == 1
    assert "Traceback" not in node.errors()


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
