"""Time how long a new node takes to fetch and validate a whole chain from two others.

`scripts/bench_sync FILE` (of scripts/make_chain), or `--small N` for a chain of N small blocks that
it makes itself. Three regtest nodes on 127.0.0.1, each a process: two have the chain, the third
starts empty and dials both. The result is compared with `groat import` of the same file.

With `--before FOLDER`, once or more, other checkouts with an environment of their own in .venv have
their turns. With `--pin`, the import and the new node have the first core, the two that serve the
second one. With `--stall`, one of the two is stopped (SIGSTOP: its links stay open and silent) as
soon as the new node has a third of the chain, and the longest pause between two blocks is a result.
With `--stop`, the new node is told to stop at that height, and the result is how long it takes to
exit.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.end_to_end

from make_chain import small_chain

from tests.end_to_end.processes import CLEAN, NodeProcess

_SYNC_S_MAX: Final = 600
_POLL_EVERY_S: Final = 0.05  # each poll costs the node less than a millisecond
_THIS_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_US_PER_S: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure besides the time of a sync."""

    pins: bool
    stalls: bool
    stops: bool


def main() -> None:
    """Read the flags, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", help="of make_chain; none with --small")
    parser.add_argument("--small", type=int, help="make so many blocks with no payment or one")
    parser.add_argument("--rounds", type=int, default=1, help="of each checkout")
    parser.add_argument("--before", type=Path, action="append", default=[], metavar="FOLDER")
    parser.add_argument("--pin", action="store_true", help="a core for the new node alone")
    parser.add_argument(
        "--stall", action="store_true", help="stop one of the two during the download"
    )
    parser.add_argument("--stop", action="store_true", help="stop the new node, and time that")
    parser.add_argument("--json", action="store_true", help="machine output")
    given = parser.parse_args()
    if (given.file is None) == (given.small is None):
        parser.error("give either a file or --small")
    plan = Plan(given.pin, given.stall, given.stop)
    checkouts = [_THIS_CHECKOUT, *(folder.resolve() for folder in given.before)]
    with tempfile.TemporaryDirectory(prefix="groat-sync-") as made:
        file = given.file or small_chain(Path(made), given.small)
        report = compare(file.resolve(), given.rounds, checkouts, plan)
    if given.json:
        print(json.dumps(report))
        return
    for side, values in report.items():
        for name, value in values.items():
            print(f"{side:12} {name:36} {value}")


def compare(file: Path, rounds: int, checkouts: Sequence[Path], plan: Plan) -> dict[str, Any]:
    """Measure the checkouts in turns; return the median of each value, by checkout."""
    results: dict[Path, list[dict[str, float]]] = {checkout: [] for checkout in checkouts}
    for _ in range(rounds):
        for checkout in checkouts:
            with tempfile.TemporaryDirectory(prefix="groat-sync-") as folder:
                results[checkout].append(measure(Path(folder), file, checkout, plan))
            print(checkout, json.dumps(results[checkout][-1]), file=sys.stderr)
    return {
        "now" if checkout == _THIS_CHECKOUT else checkout.name: {
            name: round(statistics.median(result[name] for result in found), 3) for name in found[0]
        }
        for checkout, found in results.items()
    }


def measure(folder: Path, file: Path, checkout: Path, plan: Plan) -> dict[str, float]:
    """Return the seconds of import and sync, and their ratio; or of a stop during the sync."""
    with _on_core(0 if plan.pins else None):
        imported = _import(folder / "a", file, checkout)
    shutil.copytree(folder / "a", folder / "b")
    with _on_core(1 if plan.pins else None):
        a, b = (NodeProcess(folder / name, checkout=checkout).start() for name in "ab")
    c = NodeProcess(folder / "c", ["--peer", a.p2p, "--peer", b.p2p], checkout=checkout)
    try:
        with _on_core(0 if plan.pins else None):
            c.start()
        if plan.stops:
            return _stop(c, int(imported["height"]) // 3)
        before = [_cpu_s(node) for node in (a, b, c)]
        synced = _sync(c, int(imported["height"]), a if plan.stalls else None)
        cpu_s = [_cpu_s(node) - began for node, began in zip((a, b, c), before, strict=True)]
    finally:
        if plan.stalls and a.process is not None:
            a.process.send_signal(signal.SIGCONT)
        for node in (c, b, a):
            node.stop()
    blocks = int(imported["height"])
    return {
        "blocks": blocks,
        "transactions": imported["transactions"],
        "import_seconds": imported["seconds"],
        **synced,
        "import / sync": imported["seconds"] / synced["sync_seconds"],
        "import_cpu_seconds": imported["cpu_seconds"],
        "new_node_cpu_seconds": cpu_s[2],
        "serving_nodes_cpu_seconds": cpu_s[0] + cpu_s[1],
        "new_node_us_per_block": cpu_s[2] * _US_PER_S / blocks,
        "serving_nodes_us_per_block": (cpu_s[0] + cpu_s[1]) * _US_PER_S / blocks,
    }


@contextmanager
def _on_core(core: int | None) -> Iterator[None]:
    """Start processes on one core; None: on any."""
    allowed = os.sched_getaffinity(0)
    try:
        if core is not None:
            os.sched_setaffinity(0, {sorted(allowed)[core]})
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _import(folder: Path, file: Path, checkout: Path) -> dict[str, Any]:
    python = str(checkout / ".venv/bin/python")
    command = [python, "-m", "chain", "import", "--network", "regtest", "--json"]
    before = os.times()
    done = subprocess.run(
        [*command, "--datadir", str(folder), str(file)],
        stdout=subprocess.PIPE,
        text=True,
        env=CLEAN,
        cwd=checkout,
        check=True,
    )
    after = os.times()
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    result["cpu_seconds"] = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    return result


def _cpu_s(node: NodeProcess) -> float:
    """Return the processor time that a node has used."""
    assert node.process is not None, "it runs"
    fields = Path(f"/proc/{node.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2]
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / _TICKS_PER_S


def _sync(node: NodeProcess, height: int, staller: NodeProcess | None) -> dict[str, float]:
    """Return the seconds until `node` has the headers and the chain, and with a staller its pause.

    Without one it is asked as little as possible: each answer takes a part of a millisecond from
    what is measured.
    """
    started = time.monotonic()
    rpc = _Rpc(node)
    while rpc.call("getblockchaininfo")["headers"] < height:
        _check_time(started)
        time.sleep(_POLL_EVERY_S)
    times = {"headers_seconds": time.monotonic() - started}
    if staller is not None:
        times["longest_pause_seconds"] = _pause_after_stall(rpc, height, staller)
    reached = rpc.call("waitforblockheight", height, _SYNC_S_MAX * 1000)["height"]
    if reached < height:
        sys.exit(f"only {reached} of {height} blocks after {_SYNC_S_MAX} s")
    return {**times, "sync_seconds": time.monotonic() - started}


def _pause_after_stall(rpc: "_Rpc", height: int, staller: NodeProcess) -> float:
    """Stop a serving node after a third of the chain; return the longest time without a block."""
    started = last_new_tip = time.monotonic()
    last, pause_s, is_stopped = 0, 0.0, False
    while last < height:
        at, now = rpc.call("getblockcount"), time.monotonic()
        _check_time(started)
        if at > last:
            pause_s = max(pause_s, now - last_new_tip)
            last, last_new_tip = at, now
        if last > height // 3 and not is_stopped:
            assert staller.process is not None, "it runs"
            staller.process.send_signal(signal.SIGSTOP)
            is_stopped = True
        time.sleep(_POLL_EVERY_S)
    return pause_s


def _check_time(started: float) -> None:
    if time.monotonic() - started > _SYNC_S_MAX:
        sys.exit(f"not synchronized after {_SYNC_S_MAX} s")


class _Rpc:
    """Calls a node's RPC methods over one connection."""

    def __init__(self, node: NodeProcess) -> None:
        self._api = HTTPConnection(node.api.removeprefix("http://"), timeout=_SYNC_S_MAX)
        login = (node.folder / node.network / ".cookie").read_bytes()
        self._login = {"Authorization": f"Basic {b64encode(login).decode()}"}

    def call(self, method: str, *params: int) -> Any:  # noqa: ANN401 - JSON
        """Return the result of a method."""
        call = {"id": 1, "method": method, "params": params}
        self._api.request("POST", "/", json.dumps(call), self._login)
        return json.loads(self._api.getresponse().read())["result"]


def _stop(node: NodeProcess, height: int) -> dict[str, float]:
    """Return how long `node` takes to exit when it is told to at this height."""
    started = time.monotonic()
    while (at := node.height) < height:
        if time.monotonic() - started > _SYNC_S_MAX:
            sys.exit(f"only {at} of {height} blocks after {_SYNC_S_MAX} s")
        time.sleep(_POLL_EVERY_S)
    stopped = time.monotonic()
    node.stop()
    return {"stopped_at_height": at, "stop_seconds": time.monotonic() - stopped}


if __name__ == "__main__":
    main()
