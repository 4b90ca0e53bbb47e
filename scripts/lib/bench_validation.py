"""Validate a block file with groat and with Bitcoin Core's kernel in turns, and compare.

`scripts/bench_validation FILE` (of scripts/make_chain). Each run is a process of its own with an
empty ledger on disk; the time is from opening the ledger to having closed it, last flush included.
On a shared machine, compare the processor times. With `--before FOLDER`, another checkout with an
environment of its own in .venv has its turn, too. `--small N` makes a file of small blocks itself.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, Final

from make_chain import small_chain

from chain.consensus.params import REGTEST
from chain.ledger.offline.blockfile import read_frames
from chain.primitives.block import decode_block
from chain.service.offline import import_file
from chain.settings import load_settings

_KINDS: Final = ("seconds", "cpu_seconds")
_OURS: Final = ("groat", "verify_only")  # what the others are compared with
_PEERS: Final = ("kernel", "kernel_blocks", "none")
CHECK_THREADS: Final = 2  # of the kernel, besides its main thread
_RUN_S_MAX: Final = 1_800
_THIS_CHECKOUT: Final = Path(__file__).resolve().parents[2]


def run_groat(file: Path, folder: Path) -> int:
    """Import into a ledger in `folder`, as `groat import` does; return the height."""
    settings = load_settings({"network": "regtest", "datadir": folder})
    return int(import_file(settings, str(file))["height"])


def run_groat_verify_only(file: Path, folder: Path) -> int:
    """Do as `groat import --verify-only`, which has no indexes; return the height."""
    settings = load_settings({"network": "regtest", "datadir": folder})
    return int(import_file(settings, str(file), verify_only=True)["height"])


def run_kernel(file: Path, folder: Path) -> int:
    """Let the kernel import the file by itself; return the height."""
    return _kernel(folder, lambda manager: manager.import_blocks([str(file)]))


def run_kernel_blocks(file: Path, folder: Path) -> int:
    """Pass the blocks to the kernel one by one; return the height."""
    import pbk  # noqa: PLC0415 - groat's processes must not load it

    def feed(manager: Any) -> None:  # noqa: ANN401 - pbk has no types
        with file.open("rb") as stream:
            for raw in read_frames(stream, REGTEST):
                manager.process_block(pbk.Block(raw))

    return _kernel(folder, feed)


def _kernel(folder: Path, feed: Callable[[Any], object]) -> int:
    import pbk  # noqa: PLC0415

    context = pbk.make_context(pbk.ChainType.REGTEST)
    options = pbk.ChainstateManagerOptions(context, str(folder), str(folder / "blocks"))
    options.set_worker_threads_num(CHECK_THREADS)
    manager = pbk.ChainstateManager(options)
    feed(manager)
    height = int(manager.get_active_chain().height)
    del manager  # it writes its files
    return height


SIDES: Final = {
    "groat": run_groat,
    "groat_verify_only": run_groat_verify_only,
    "kernel": run_kernel,
    "kernel_blocks": run_kernel_blocks,
}


def measure_here(side: str, file: Path) -> dict[str, Any]:
    """Run one side in this process; return its height, seconds and processor seconds."""
    with tempfile.TemporaryDirectory(prefix="groat-bench-") as folder:
        cpu_before = _cpu_s()
        started = time.perf_counter()
        height = SIDES[side](file, Path(folder))
        return {
            "height": height,
            "seconds": time.perf_counter() - started,
            "cpu_seconds": _cpu_s() - cpu_before,
        }


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(side: str, file: Path, checkout: Path | None = None) -> dict[str, Any]:
    """Run one side in a fresh process, of another checkout if it is given."""
    command = [sys.executable, __file__, str(file), "--only", side]
    if checkout is not None:
        command[0] = str(checkout / ".venv/bin/python")
        command[1] = str(checkout / "scripts/lib/bench_validation.py")
    done = subprocess.run(
        command, cwd=checkout, capture_output=True, text=True, timeout=_RUN_S_MAX, check=False
    )
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@dataclass(frozen=True, slots=True)
class Side:
    """What is measured: groat here, groat in another checkout, or the kernel."""

    name: str
    kind: str  # a key of SIDES
    checkout: Path | None = None


def compare(file: Path, runs: int, sides: Sequence[Side]) -> dict[str, Any]:
    """Measure all sides in turns; return times, medians, and how many times groat's they are."""
    height, transactions = _content(file)
    rounds: list[dict[str, dict[str, Any]]] = []
    for _ in range(runs):
        rounds.append({side.name: measure(side.kind, file, side.checkout) for side in sides})
        for name, result in rounds[-1].items():
            if result["height"] != height:
                sys.exit(f"{name} stopped at height {result['height']} of {height}")
    report: dict[str, Any] = {"blocks": height, "transactions": transactions, "runs": runs}
    for side in sides:
        for kind in _KINDS:
            values = [results[side.name][kind] for results in rounds]
            report[f"{side.name}_{kind}"] = [round(value, 3) for value in values]
            report[f"{side.name}_{kind}_median"] = round(statistics.median(values), 3)
        seconds = report[f"{side.name}_seconds_median"]
        report[f"{side.name}_transactions_per_second"] = round(transactions / seconds)
        report[f"{side.name}_blocks_per_second"] = round(height / seconds)
    for one, other in permutations(rounds[0], 2):
        if one in _OURS and other != "groat":
            report |= _ratios(rounds, other, one)
    return report


def _ratios(rounds: Sequence[dict[str, dict[str, Any]]], other: str, one: str) -> dict[str, float]:
    """Return how many times the time of one side that of the other is, medians of the rounds."""
    return {
        f"{other}/{one}_by_{kind}": round(
            statistics.median(results[other][kind] / results[one][kind] for results in rounds), 3
        )
        for kind in _KINDS
    }


def _content(file: Path) -> tuple[int, int]:
    with file.open("rb") as stream:
        counts = [len(decode_block(raw).transactions) for raw in read_frames(stream, REGTEST)]
    return len(counts), sum(counts)


def main() -> None:
    """Read the flags, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", help="of make_chain; none with --small")
    parser.add_argument("--small", type=int, help="make so many blocks with no payment or one")
    parser.add_argument("--runs", type=int, default=5, help="of each side")
    parser.add_argument("--json", action="store_true", help="machine output")
    parser.add_argument("--only", choices=SIDES, help="one run of one side, in this process")
    parser.add_argument("--peer", choices=_PEERS, default="kernel")
    parser.add_argument("--before", type=Path, help="another checkout, measured in turns too")
    parser.add_argument("--verify-only", action="store_true", help="without indexes, in turns too")
    flags = parser.parse_args()
    if flags.only:
        print(json.dumps(measure_here(flags.only, flags.file)))
        return
    if (flags.file is None) == (flags.small is None):
        parser.error("give either a file or --small")
    sides = [Side("groat", "groat", _THIS_CHECKOUT)]
    if flags.before:
        sides.append(Side("before", "groat", flags.before.resolve()))
    if flags.verify_only:
        sides.append(Side("verify_only", "groat_verify_only", _THIS_CHECKOUT))
    if flags.peer != "none":
        sides.append(Side("kernel", flags.peer))
    with tempfile.TemporaryDirectory(prefix="groat-bench-") as folder:
        is_small = flags.small is not None
        file = small_chain(Path(folder), flags.small) if is_small else flags.file.resolve()
        report = compare(file, flags.runs, sides)
    if flags.json:
        print(json.dumps(report))
        return
    for name, value in report.items():
        print(f"{name:32} {value}")


if __name__ == "__main__":
    main()
