"""Time the API with wrk, while the node is idle and while blocks connect.

`scripts/bench_api FILE [--seconds S] [--connections N] [--every S] [--folder DIR] [--json] [--paths
N] [--rate R] [--rounds N] [--against CHECKOUT] [--api-processes N] [--litecoind]`: a regtest node
imports FILE (scripts/make_chain) except for its last blocks; wrk requests the tip, and random
transactions and addresses of the chain; then again, while the last blocks are submitted, one every
S seconds. DIR keeps the imported ledger for another run. Make the file with `--addresses` to have
addresses with long histories. Each line gives the node's processor time for a request too, which
depends less on what else the machine does.

wrk's connections request again as soon as they are answered. With R, each waits for a random time
before, so that all together make about R requests a second, as many people do.

With CHECKOUT, another version's tree, both are asked in turn, idle only, and the last lines give
the medians of the rounds and their ratios. N paths of each kind are asked for: with more than
50,000 hardly any is asked for twice. With `--litecoind`, Debian's litecoind with the same
transactions is asked in turn too: its REST for a transaction, and JSON-RPC.
"""

import argparse
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, TypeAlias

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.end_to_end

from litecoind_peer import LitecoindPeer

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
TX = "/api/tx/:txid"
Peer: TypeAlias = NodeProcess | LitecoindPeer
SCRIPT = """
local paths = {{ {paths} }}
local at = 0
wrk.body = {body}
wrk.method = wrk.body and "POST" or "GET"
wrk.headers["Authorization"] = {login}
local pause_ms = {pause_ms}
if pause_ms > 0 then
  delay = function() return math.random(0, 2 * pause_ms) end -- wrk does not count it
end
request = function()
  at = at % #paths + 1
  return wrk.format(nil, paths[at])
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
    parser.add_argument("--rate", type=int, help="about so many requests a second; default: all")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between blocks")
    parser.add_argument("--folder", type=Path, help="where to keep the imported ledger")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--paths", type=int, default=PATHS_ASKED, help="different ones of a kind")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--against", type=Path, help="the tree of another version, asked in turn")
    parser.add_argument("--api-processes", type=int, default=0, help="of this tree's node")
    parser.add_argument("--litecoind", action="store_true", help="ask Debian's litecoind in turn")
    given = parser.parse_args()
    for program in ["wrk", *(["litecoind"] if given.litecoind else [])]:
        if shutil.which(program) is None:
            print(f"skipped: there is no {program} here (on Debian, apt install {program})")
            return
    with given.file.open("rb") as stream:
        frames = list(read_frames(stream, REGTEST))
    with tempfile.TemporaryDirectory(prefix="groat-api-") as folder:
        if given.against is None and given.rounds == 1 and not given.litecoind:
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
    """Measure this tree, the other one and litecoind in turn, and print medians."""
    kinds = _paths(frames[:-HELD_BACK], given.paths)
    trees = [ROOT] if given.against is None else [given.against.resolve(), ROOT]
    nodes = [_imported_node(tree, frames[:-HELD_BACK], folder, given) for tree in trees]
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}

    def ask(name: str, peer: Peer, paths: dict[str, list[str]]) -> None:
        for figures in _idle_rows(peer, folder, paths, given):
            _print({"state": name, "blocks": 0, **figures}, given)
            rows.setdefault(str(figures["path"]), {}).setdefault(name, []).append(figures)

    with ExitStack() as stack:
        peers = [_litecoind_with(frames[:-HELD_BACK], folder, stack)] if given.litecoind else []
        for _ in range(given.rounds):
            for node, tree in zip(nodes, trees, strict=True):
                os.chdir(tree)  # where `-m chain` is imported from
                node.start()
                try:
                    ask(tree.name, node, kinds)
                finally:
                    node.stop()
            for peer in peers:
                ask("litecoind", peer, {TX: [_rest_path(path) for path in kinds[TX]]})
    _print_medians(rows, trees[0].name)


def _print_medians(rows: dict[str, dict[str, list[dict[str, Any]]]], first: str) -> None:
    """Print a line for each kind of request: each program's medians, and how this tree compares."""
    now = ROOT.name
    for path, by_name in rows.items():
        rate, cpu_ms = _medians(by_name, "requests_per_s"), _medians(by_name, "cpu_ms")
        words = [
            f"{name} {rate[name]:.0f} a second, {cpu_ms[name]:.3f} ms of processor"
            for name in by_name
        ]
        if first != now:
            times, cpu_times = rate[now] / rate[first], cpu_ms[first] / cpu_ms[now]
            words.append(f"{times:.2f} times as many, processor {cpu_times:.2f}")
        if "litecoind" in by_name:
            words.append(f"{rate[now] / rate['litecoind']:.3f} of litecoind")
        print(f"{path:24} medians: " + "; ".join(words))


def _medians(by_name: dict[str, list[dict[str, Any]]], what: str) -> dict[str, float]:
    return {name: median(row[what] for row in rows) for name, rows in by_name.items()}


def _litecoind_with(frames: Sequence[bytes], folder: Path, stack: ExitStack) -> LitecoindPeer:
    """Return a litecoind that has taken the blocks; the stack ends it."""
    litecoind = LitecoindPeer(folder / "litecoind", _free_port())
    stack.callback(litecoind.stop)
    litecoind.add(frames)
    return litecoind


def _rest_path(path: str) -> str:
    return f"/rest/tx/{path.rpartition('/')[2]}.json"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _idle_rows(
    peer: Peer, folder: Path, kinds: dict[str, list[str]], given: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    _wait_until_idle(peer)
    for kind, paths in kinds.items():
        yield {"path": kind, **_requested(peer, folder, paths, given)}
    single = {"id": 1, "method": "getblockcount", "params": []}
    yield {"path": "getblockcount", **_called(peer, single, SINGLE_CALLS)}
    name = f"getblockcount, {given.connections} at once"
    yield {"path": name, **_requested(peer, folder, ["/"], given, json.dumps(single))}
    batch = [
        {"id": at, "method": "getblockhash", "params": [at % 200]} for at in range(BATCH_CALLS)
    ]
    yield {"path": "1,000 getblockhash", **_called(peer, batch, BATCHES)}


def _login(peer: Peer) -> tuple[str, str]:
    """Return name and password for JSON-RPC."""
    if isinstance(peer, LitecoindPeer):
        return peer.login
    name, _, password = (peer.folder / peer.network / ".cookie").read_text().partition(":")
    return name, password


def _called(peer: Peer, body: object, times: int) -> dict[str, float]:
    """Return the figures of JSON-RPC, one call or batch after the other on one connection."""
    took_ms = []
    with httpx.Client(auth=_login(peer), **PLAIN, timeout=60) as client:
        client.post(f"{peer.api}/", json=body).raise_for_status()
        before = _cpu_s(peer)
        for _ in range(times):
            started = time.monotonic()
            client.post(f"{peer.api}/", json=body).raise_for_status()
            took_ms.append(1000 * (time.monotonic() - started))
        cpu_ms = 1000 * (_cpu_s(peer) - before) / times
    return {
        "requests_per_s": round(1000 * times / sum(took_ms)),
        "median_ms": round(median(took_ms), 1),
        "p99_ms": round(max(took_ms), 1),
        "errors": 0,
        "cpu_ms": round(cpu_ms, 3),
    }


def _requested(
    peer: Peer, folder: Path, paths: Sequence[str], given: argparse.Namespace, body: str = ""
) -> dict[str, float]:
    """Return the figures of paths that wrk asks for, with the program's processor time."""
    script = folder / "script.lua"
    login = "nil"
    if body:
        credentials = base64.b64encode(":".join(_login(peer)).encode()).decode()
        login = json.dumps(f"Basic {credentials}")
    script.write_text(
        SCRIPT.format(
            paths=", ".join(f'"{path}"' for path in paths),
            body=json.dumps(body) if body else "nil",
            login=login,
            pause_ms=round(1000 * given.connections / given.rate) if given.rate else 0,
        )
    )
    before = _cpu_s(peer)
    figures = _wrk(peer.api, script, given)
    requests = max(figures["requests_per_s"] * given.seconds, 1)
    figures["cpu_ms"] = round(1000 * (_cpu_s(peer) - before) / requests, 3)
    return figures


def _measure(
    node: NodeProcess, folder: Path, frames: Sequence[bytes], given: argparse.Namespace
) -> None:
    kinds = _paths(frames[:-HELD_BACK], given.paths)
    held_back = list(reversed(frames[-HELD_BACK:]))
    node.start()
    try:
        _wait_until_idle(node)
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
        TX: [f"/api/tx/{id_text(tx.txid)}" for tx in chosen],
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


def _wait_until_idle(node: Peer) -> None:
    """Wait until the check of the coins that a node makes after its start is over."""
    deadline = time.monotonic() + SETTLE_S_MAX
    while time.monotonic() < deadline:
        before = _cpu_s(node)
        time.sleep(0.5)
        if _cpu_s(node) - before < 0.05:
            return


def _cpu_s(node: Peer) -> float:
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
