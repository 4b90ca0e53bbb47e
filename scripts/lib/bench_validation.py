"""Validate a block file with groat and with Bitcoin Core's kernel in turns, and compare.

`scripts/bench_validation FILE` (of scripts/make_chain). Each run is a process of its own with an
empty ledger on disk; the time is from opening the ledger to having closed it, last flush included.
On a shared machine, compare the processor times. With `--before FOLDER`, another checkout with an
environment of its own in .venv takes the kernel's place, and the ratio of each pair is printed.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from chain.consensus.params import REGTEST
from chain.ledger.offline.blockfile import read_frames
from chain.primitives.block import decode_block
from chain.service.offline import import_file
from chain.settings import load_settings

CHECK_THREADS: Final = 2  # of the kernel, besides its main thread
_RUN_S_MAX: Final = 1_800
_THIS_CHECKOUT: Final = Path(__file__).resolve().parents[2]


def run_groat(file: Path, folder: Path) -> int:
    """Import into a ledger in `folder`, as `groat import` does; return the height."""
    settings = load_settings({"network": "regtest", "datadir": folder})
    return int(import_file(settings, str(file))["height"])


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


def compare(file: Path, runs: int, peer: str) -> dict[str, Any]:
    """Measure both in turns; return rates, their medians and the ratios."""
    height, transactions = _content(file)
    rows: dict[str, list[dict[str, Any]]] = {"groat": [], peer: []}
    for _ in range(runs):
        for side, results in rows.items():
            result = measure(side, file)
            if result["height"] != height:
                sys.exit(f"{side} stopped at height {result['height']} of {height}")
            results.append(result)
    report: dict[str, Any] = {"transactions": transactions, "runs": runs}
    for side, results in rows.items():
        for kind in ("seconds", "cpu_seconds"):
            values = [round(result[kind], 3) for result in results]
            report[f"{side}_{kind}"] = values
            report[f"{side}_{kind}_median"] = statistics.median(values)
        report[f"{side}_per_second"] = round(transactions / report[f"{side}_seconds_median"])
    for kind in ("seconds", "cpu_seconds"):
        ours, theirs = report[f"groat_{kind}_median"], report[f"{peer}_{kind}_median"]
        report[f"ratio_by_{kind}"] = round(theirs / ours, 3)
    return report


def compare_checkouts(file: Path, runs: int, before: Path) -> dict[str, Any]:
    """Import with another checkout and this one in turns; return times, and before / now."""
    kinds = ("seconds", "cpu_seconds")
    pairs = [
        (measure("groat", file, before), measure("groat", file, _THIS_CHECKOUT))
        for _ in range(runs)
    ]
    report: dict[str, Any] = {"runs": runs}
    for kind in kinds:
        report[f"before_{kind}"] = [round(old[kind], 3) for old, _ in pairs]
        report[f"now_{kind}"] = [round(new[kind], 3) for _, new in pairs]
    for kind in kinds:
        ratios = [old[kind] / new[kind] for old, new in pairs]
        report[f"before/now_by_{kind}_median"] = round(statistics.median(ratios), 3)
    return report


def _content(file: Path) -> tuple[int, int]:
    with file.open("rb") as stream:
        counts = [len(decode_block(raw).transactions) for raw in read_frames(stream, REGTEST)]
    return len(counts), sum(counts)


def main() -> None:
    """Read the flags, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=int, default=5, help="of each side")
    parser.add_argument("--json", action="store_true", help="machine output")
    parser.add_argument("--only", choices=SIDES, help="one run of one side, in this process")
    parser.add_argument("--peer", choices=["kernel", "kernel_blocks"], default="kernel")
    parser.add_argument("--before", type=Path, help="another checkout, to be compared with this")
    flags = parser.parse_args()
    if flags.only:
        print(json.dumps(measure_here(flags.only, flags.file)))
        return
    file = flags.file.resolve()
    if flags.before:
        report = compare_checkouts(file, flags.runs, flags.before.resolve())
    else:
        report = compare(file, flags.runs, flags.peer)
    if flags.json:
        print(json.dumps(report))
        return
    for name, value in report.items():
        print(f"{name:32} {value}")


if __name__ == "__main__":
    main()
