"""Time how long a new node takes to fetch and validate a whole chain from two others.

`scripts/bench_sync FILE` (of scripts/make_chain). Three regtest nodes on 127.0.0.1, each a process:
two have the chain, the third starts empty and dials both. The result is compared with `groat
import` of the same file. With `--stall`, one of the two is stopped (SIGSTOP: its links stay open
and silent) as soon as the new node has a third of the chain; the result is then the longest pause
between two blocks.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.end_to_end

from tests.end_to_end.processes import CLEAN, NodeProcess

_SYNC_S_MAX: Final = 600
_LOOK_EVERY_S: Final = 0.1


def main() -> None:
    """Read the flags, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--stall", action="store_true", help="stop one of the two during the download"
    )
    parser.add_argument("--json", action="store_true", help="machine output")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="groat-sync-") as folder:
        report = measure(Path(folder), given.file, stall=given.stall)
    if given.json:
        print(json.dumps(report))
        return
    for name, value in report.items():
        print(f"{name:32} {value}")


def measure(folder: Path, file: Path, *, stall: bool) -> dict[str, Any]:
    """Return the seconds of import and sync, and their ratio."""
    imported = _import(folder / "a", file)
    shutil.copytree(folder / "a", folder / "b")
    a, b = (NodeProcess(folder / name).start() for name in "ab")
    c = NodeProcess(folder / "c", ["--peer", a.p2p, "--peer", b.p2p])
    try:
        c.start()
        seconds, pause_s = _sync(c, int(imported["height"]), a if stall else None)
    finally:
        if stall and a.process is not None:
            a.process.send_signal(signal.SIGCONT)
        for node in (c, b, a):
            node.stop()
    return {
        "transactions": imported["transactions"],
        "import_seconds": round(imported["seconds"], 2),
        "sync_seconds": round(seconds, 2),
        "sync_transactions_per_second": round(imported["transactions"] / seconds),
        "ratio": round(imported["seconds"] / seconds, 3),
        "longest_pause_seconds": round(pause_s, 2),
    }


def _import(folder: Path, file: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "chain", "import", "--network", "regtest", "--json"]
    done = subprocess.run(
        [*command, "--datadir", str(folder), str(file)],
        stdout=subprocess.PIPE,
        text=True,
        env=CLEAN,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _sync(node: NodeProcess, height: int, staller: NodeProcess | None) -> tuple[float, float]:
    """Return the seconds until `node` has the chain, and the longest time without a new tip."""
    started = last_new_tip = time.monotonic()
    last, pause_s = 0, 0.0
    while last < height:
        now = time.monotonic()
        if now - started > _SYNC_S_MAX:
            sys.exit(f"only {last} of {height} blocks after {_SYNC_S_MAX} s")
        if (at := node.height) > last:
            pause_s = max(pause_s, now - last_new_tip)
            last, last_new_tip = at, now
        if staller is not None and last > height // 3:
            assert staller.process is not None, "it runs"
            staller.process.send_signal(signal.SIGSTOP)
            staller = None
        time.sleep(_LOOK_EVERY_S)
    return time.monotonic() - started, pause_s


if __name__ == "__main__":
    main()
