"""Time how soon mining stops at a new tip, and the effect of a burst of stale blocks on a node.

`scripts/bench_mining [--threads N] [--tips N] [--seconds S] [--json]`: mining threads search for a
block that cannot be found, while a ledger adds blocks; then wrk submits thousands of solved blocks
on a parent that has a child to a regtest node, while a client requests the tip and mines.
"""

import argparse
import base64
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.params import REGTEST
from chain.ledger.ledger import Ledger
from chain.mining.kernel import Kernel, best_kernel
from chain.mining.miner import Miner
from chain.node.node import ChainStateUpdate, Node
from chain.node.policy import Policy
from chain.node.template import Template
from chain.primitives.address import script_address
from chain.primitives.block import Block, Header, decode_block
from tests.builders import KEY, ChainBuilder, block_on
from tests.end_to_end.processes import NodeProcess

ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)
BROTHERS = 4_000  # different blocks of the burst
SEARCH_S = 0.1  # before each new tip
SCRIPT = """
local bodies = {{}}
for line in io.lines("{bodies}") do bodies[#bodies + 1] = line end
local at = 0
wrk.method = "POST"
wrk.headers["Authorization"] = "Basic {login}"
request = function()
  at = at % #bodies + 1
  return wrk.format(nil, "/", nil, bodies[at])
end
done = function(summary, _, _)
  io.write(string.format("FIGURES %d %d\\n", summary.requests, summary.duration))
end
"""


def main() -> None:
    """Run both measurements and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tips", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure_stops(given.threads, given.tips)
    if shutil.which("wrk") is None:
        print("burst skipped: there is no wrk here (on Debian, apt install wrk)", file=sys.stderr)
    else:
        figures |= measure_burst(given.seconds)
    if given.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):44} {value:8.1f}")


@dataclass(frozen=True)
class Hopeless:
    """A template whose block cannot be found."""

    template: Template
    target: int = 0

    @property
    def time_min(self) -> int:
        """The template's."""
        return self.template.time_min

    def header(self, extranonce: int, time: int) -> Header:
        """Return the template's header."""
        return self.template.header(extranonce, time)

    def block(self, header: Header, extranonce: int) -> Block:
        """Return the template's block."""
        return self.template.block(header, extranonce)


class Watched:
    """A kernel that records the end of its last search."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.name, self.lanes = kernel.name, kernel.lanes
        self.ended_s = 0.0

    def search(self, header: bytes, target: int, start: int, count: int) -> int | None:
        """Search, and record the time."""
        found = self._kernel.search(header, target, start, count)
        self.ended_s = time.perf_counter()
        return found


def measure_stops(threads: int, tips: int) -> dict[str, float]:
    """Return the delays from a new tip to the end of the last search on the old one."""
    kernel = Watched(best_kernel())
    node = Node(Ledger("sqlite://", REGTEST, verify_threads=1), Policy())
    miner = Miner(kernel, threads, lambda _: None, clock=lambda: 0, first_extranonce=0)
    published_s = 0.0

    def on_change(_change: ChainStateUpdate) -> None:
        nonlocal published_s
        published_s = time.perf_counter()
        miner.set_job(None)

    node.listeners.append(on_change)
    chain, now, delays = ChainBuilder(), int(time.time()), []
    for _ in range(tips):
        miner.set_job(Hopeless(node.template(KEY.script, now)))
        time.sleep(SEARCH_S)
        node.submit_block(chain.add(), now)
        time.sleep(SEARCH_S)
        delays.append(1000 * max(kernel.ended_s - published_s, 0))
    miner.stop()
    return {
        "mining_stops_median_ms": statistics.median(delays),
        "mining_stops_max_ms": max(delays),
    }


def measure_burst(seconds: int) -> dict[str, float]:
    """Return the latencies of a client of an idle node, and of one under a burst."""
    with tempfile.TemporaryDirectory(prefix="groat-burst-") as folder:
        node = NodeProcess(Path(folder) / "node").start()
        try:
            node.mine(50, ADDRESS)
            figures = _measure_client("idle", node, lambda: False, seconds)
            command = _burst(node, Path(folder), seconds)
            burst = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            figures |= _measure_client("burst", node, lambda: burst.poll() is not None, seconds)
            output, _ = burst.communicate()
        finally:
            node.stop()
    [line] = [line for line in output.splitlines() if line.startswith("FIGURES ")]
    requests, took_us = map(int, line.split()[1:])
    return {"stale_blocks_per_s": 1e6 * requests / took_us, **figures}


def _burst(node: NodeProcess, folder: Path, seconds: int) -> list[str]:
    """Return the command that submits siblings of the tip's parent."""
    parent = _entry(node, node.height - 10)
    bodies = folder / "bodies"
    with bodies.open("w") as file:
        for number in range(BROTHERS):
            raw = block_on(parent, extra=b"%06d" % number).raw.hex()
            file.write(json.dumps({"id": 1, "method": "submitblock", "params": [raw]}) + "\n")
    cookie = (node.folder / node.network / ".cookie").read_bytes()
    login = base64.b64encode(cookie).decode()
    script = folder / "script.lua"
    script.write_text(SCRIPT.format(bodies=bodies, login=login))
    return ["wrk", "-t1", "-c4", f"-d{seconds}s", "-s", str(script), node.api]


def _entry(node: NodeProcess, height: int) -> BlockTreeEntry:
    entry = None
    for at in range(height + 1):
        raw = bytes.fromhex(str(node.rpc("getblock", node.rpc("getblockhash", at), 0)))
        entry = BlockTreeEntry(decode_block(raw).header, entry)
    assert entry is not None
    return entry


def _measure_client(
    state: str, node: NodeProcess, is_over: Callable[[], bool], seconds: int
) -> dict[str, float]:
    """Request the tip repeatedly, and mine a block from time to time."""
    latencies_ms, mined = [], []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not is_over():
        latencies_ms += [_timed(lambda: node.height) for _ in range(20)]
        mined.append(_timed(lambda: node.mine(1, ADDRESS)))
    return {
        f"{state}_tip_height_median_ms": statistics.median(latencies_ms),
        f"{state}_tip_height_p99_ms": statistics.quantiles(latencies_ms, n=100)[-1],
        f"{state}_generate_a_block_median_ms": statistics.median(mined),
        f"{state}_generate_a_block_max_ms": max(mined),
    }


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    main()
