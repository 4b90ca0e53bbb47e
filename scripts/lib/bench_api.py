"""Time the API with wrk, while the node is idle and while blocks connect.

`scripts/bench_api FILE [--seconds S] [--connections N] [--every S] [--folder DIR] [--json] [--paths
N] [--rounds N] [--against CHECKOUT] [--api-processes N]`: a regtest node imports FILE
(scripts/make_chain) except for its last blocks; wrk requests the tip, and random transactions and
addresses of the chain; then again, while the last blocks are submitted, one every S seconds. DIR
keeps the imported ledger for another run. Make the file with `--addresses` to have addresses with
long histories. Each line gives the node's processor time for a request too, which depends less on
what else the machine does.

With CHECKOUT, another version's tree, both are asked in turn, idle only, and the last lines give
the medians of the rounds and their ratios. N paths of each kind are asked for: with more than
50,000 hardly any is asked for twice.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.end_to_end

from chain.consensus.params import REGTEST
from chain.ledger.offline.blockfile import read_frames, write_frame
from chain.primitives.address import script_address
from chain.primitives.block import decode_block
from chain.primitives.numbers import id_text
from tests.end_to_end.processes import CLEAN, PLAIN, NodeProcess

FIRST_FULL = 150  # blocks that mature and spread coins are before
HELD_BACK = 60  # blocks that are submitted, not imported
SAMPLED_BLOCKS = 40  # at least, for the paths
PATHS_ASKED = 1_000  # different paths of a kind
BATCH_CALLS = 1_000
BATCHES = 10
SINGLE_CALLS = 300
SETTLE_S_MAX = 60
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
local paths = {{ {paths} }}
local at = 0
request = function()
  at = at % #paths + 1
  return wrk.format("GET", paths[at])
end
done = function(summary, latency, _)
  local errors = summary.errors
  io.write(string.format("FIGURES %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


def main() -> None:
    """Run every measurement and print requests a second, median and 99th percentile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--every", type=float, default=0.5, help="seconds between blocks")
    parser.add_argument("--folder", type=Path, help="where to keep the imported ledger")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--paths", type=int, default=PATHS_ASKED, help="different ones of a kind")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--against", type=Path, help="the tree of another version, asked in turn")
    parser.add_argument("--api-processes", type=int, default=0, help="of this tree's node")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        print("skipped: there is no wrk here (on Debian, apt install wrk)")
        return
    with given.file.open("rb") as stream:
        frames = list(read_frames(stream, REGTEST))
    with tempfile.TemporaryDirectory(prefix="groat-api-") as folder:
        if given.against is None and given.rounds == 1:
            node = _imported_node(ROOT, frames[:-HELD_BACK], Path(folder), given)
            _measure(node, Path(folder), frames, given)
        else:
            _compare(Path(folder), frames, given)


def _imported_node(
    tree: Path, frames: Sequence[bytes], folder: Path, given: argparse.Namespace
) -> NodeProcess:
    """Return a node, not started, whose ledger `tree` imported, now or in an earlier run."""
    name = "this" if tree == ROOT else "other"
    imported = (given.folder or folder / "imported") / name
    if not imported.exists():
        _import(frames, imported, tree)
    copied = folder / name
    shutil.copytree(imported, copied)
    more = ["--api-processes", str(given.api_processes)] if given.api_processes else []
    return NodeProcess(copied, more if tree == ROOT else [])


def _import(frames: Sequence[bytes], folder: Path, tree: Path) -> None:
    folder.mkdir(parents=True)
    path = folder / "head.dat"
    with path.open("wb") as stream:
        for frame in frames:
            write_frame(stream, frame, REGTEST)
    command = [sys.executable, "-m", "chain", "import", "--network", "regtest"]
    command += ["--datadir", str(folder), str(path)]
    subprocess.run(command, env=CLEAN, check=True, stdout=subprocess.DEVNULL, cwd=tree)
    path.unlink()


def _compare(folder: Path, frames: Sequence[bytes], given: argparse.Namespace) -> None:
    """Measure this tree and the other one in turn, and print medians."""
    kinds = _paths(frames[:-HELD_BACK], given.paths)
    trees = [ROOT] if given.against is None else [given.against.resolve(), ROOT]
    nodes = [_imported_node(tree, frames[:-HELD_BACK], folder, given) for tree in trees]
    cpu_ms: dict[str, dict[Path, list[float]]] = {}
    per_s: dict[str, dict[Path, list[float]]] = {}
    for _ in range(given.rounds):
        for node, tree in zip(nodes, trees, strict=True):
            os.chdir(tree)  # where `-m chain` is imported from
            node.start()
            for figures in _idle_rows(node, folder, kinds, given):
                _print({"state": tree.name, "blocks": 0, **figures}, given)
                path = str(figures["path"])
                cpu_ms.setdefault(path, {}).setdefault(tree, []).append(figures["cpu_ms"])
                per_s.setdefault(path, {}).setdefault(tree, []).append(figures["requests_per_s"])
    for path, by_tree in cpu_ms.items():
        first, last = median(by_tree[trees[0]]), median(by_tree[trees[-1]])
        rates = [round(median(per_s[path][tree])) for tree in trees]
        print(
            f"{path:24} medians: {first:.3f} and {last:.3f} ms of processor, {first / last:.2f}"
            f" times; {rates[0]} and {rates[-1]} a second, {rates[-1] / rates[0]:.2f} times"
        )


def _idle_rows(
    node: NodeProcess, folder: Path, kinds: dict[str, list[str]], given: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    try:
        _settle(node)
        for kind, paths in kinds.items():
            yield {"path": kind, **_requested(node, folder, paths, given)}
        single = {"id": 1, "method": "getblockcount", "params": []}
        yield {"path": "getblockcount", **_called(node, single, SINGLE_CALLS)}
        batch = [
            {"id": at, "method": "getblockhash", "params": [at % 200]} for at in range(BATCH_CALLS)
        ]
        yield {"path": "1,000 getblockhash", **_called(node, batch, BATCHES)}
    finally:
        node.stop()


def _called(node: NodeProcess, body: object, times: int) -> dict[str, float]:
    """Return the figures of JSON-RPC, one call or batch after the other on one connection."""
    user, _, password = (node.folder / node.network / ".cookie").read_text().partition(":")
    took_ms = []
    with httpx.Client(auth=(user, password), **PLAIN, timeout=60) as client:
        client.post(f"{node.api}/", json=body).raise_for_status()
        before = _cpu_s(node)
        for _ in range(times):
            started = time.monotonic()
            client.post(f"{node.api}/", json=body).raise_for_status()
            took_ms.append(1000 * (time.monotonic() - started))
        cpu_ms = 1000 * (_cpu_s(node) - before) / times
    return {
        "requests_per_s": round(1000 * times / sum(took_ms)),
        "median_ms": round(median(took_ms), 1),
        "p99_ms": round(max(took_ms), 1),
        "errors": 0,
        "cpu_ms": round(cpu_ms, 3),
    }


def _requested(
    node: NodeProcess, folder: Path, paths: Sequence[str], given: argparse.Namespace
) -> dict[str, float]:
    """Return the figures of paths that wrk asks for, with the node's processor time."""
    script = folder / "script.lua"
    script.write_text(SCRIPT.format(paths=", ".join(f'"{path}"' for path in paths)))
    before = _cpu_s(node)
    figures = _wrk(node.api, script, given)
    requests = max(figures["requests_per_s"] * given.seconds, 1)
    figures["cpu_ms"] = round(1000 * (_cpu_s(node) - before) / requests, 3)
    return figures


def _measure(
    node: NodeProcess, folder: Path, frames: Sequence[bytes], given: argparse.Namespace
) -> None:
    kinds = _paths(frames[:-HELD_BACK], given.paths)
    held_back = list(reversed(frames[-HELD_BACK:]))
    node.start()
    try:
        _settle(node)
        for state in ("idle", "blocks connect"):
            for kind, paths in kinds.items():
                with _Feeder(node, held_back if state != "idle" else [], given.every) as feeder:
                    figures = _requested(node, folder, paths, given)
                _print({"state": state, "path": kind, "blocks": feeder.count, **figures}, given)
    finally:
        node.stop()


def _paths(frames: Sequence[bytes], count: int) -> dict[str, list[str]]:
    """Return the requested paths, by kind; fewer where the chain has fewer."""
    source = Random(1)  # noqa: S311 - reproducible
    txs: list[Any] = []
    mixed = source.sample(frames[FIRST_FULL:], len(frames[FIRST_FULL:]))
    if not mixed:
        raise SystemExit(
            f"FILE needs more than {FIRST_FULL + HELD_BACK} blocks: make_chain --blocks"
        )
    for sampled, raw in enumerate(mixed):
        if sampled >= SAMPLED_BLOCKS and len(txs) >= count:
            break
        txs += decode_block(raw).transactions[1:]
    chosen = source.sample(txs, min(count, len(txs)))
    addresses = [script_address(tx.outputs[0].script, REGTEST.address_prefixes) for tx in chosen]
    return {
        "/api/blocks/tip/height": ["/api/blocks/tip/height"],
        "/api/tx/:txid": [f"/api/tx/{id_text(tx.txid)}" for tx in chosen],
        "/api/address/:a/txs": [
            f"/api/address/{address}/txs" for address in dict.fromkeys(addresses)
        ],
    }


class _Feeder:
    """Submits blocks on its own thread, from the end of the list."""

    def __init__(self, node: NodeProcess, blocks: list[bytes], every_s: float) -> None:
        self.count = 0
        self._node, self._blocks, self._every_s = node, blocks, every_s
        self._finish_read = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "_Feeder":
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._finish_read.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while self._blocks and not self._finish_read.is_set():
            answer = self._node.rpc("submitblock", self._blocks.pop().hex())
            assert answer is None, answer
            self.count += 1
            due += self._every_s
            self._finish_read.wait(max(due - time.monotonic(), 0))


def _wrk(url: str, script: Path, given: argparse.Namespace) -> dict[str, float]:
    command = [
        "wrk",
        "-t1",
        f"-c{given.connections}",
        f"-d{given.seconds}s",
        "-s",
        str(script),
        url,
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    [line] = [line for line in output.splitlines() if line.startswith("FIGURES ")]
    requests, took_us, median_us, most_us, errors = map(int, line.split()[1:])
    return {
        "requests_per_s": round(1e6 * requests / took_us),
        "median_ms": round(median_us / 1000, 1),
        "p99_ms": round(most_us / 1000, 1),
        "errors": errors,
    }


def _settle(node: NodeProcess) -> None:
    """Wait until the check of the coins that a node makes after its start is over."""
    deadline = time.monotonic() + SETTLE_S_MAX
    while time.monotonic() < deadline:
        before = _cpu_s(node)
        time.sleep(0.5)
        if _cpu_s(node) - before < 0.05:
            return


def _cpu_s(node: NodeProcess) -> float:
    """Return the processor time that the node and its children have used; 0 without /proc."""
    if node.process is None or not Path("/proc").is_dir():
        return 0.0
    pid = node.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for number in (pid, *children):
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _print(figures: dict[str, object], given: argparse.Namespace) -> None:
    if given.json:
        print(json.dumps(figures), flush=True)
        return
    text = "{state:15} {path:24} {requests_per_s:6} a second, median {median_ms:6} ms, "
    text += "99 % {p99_ms:6} ms, {cpu_ms:5} ms of processor, {errors} errors, {blocks} blocks"
    print(text.format(**figures), flush=True)


if __name__ == "__main__":
    main()
