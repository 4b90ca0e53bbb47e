"""Time and weigh a start over more and more headers: what a node costs by what lies behind it.

`scripts/bench_growth [--headers 20000,100000,1000000] [--before COMMIT] [--rounds N] [--json]`: a
regtest data directory with so many blocks is made, row by row (a minute for a million). A process
opens it, and looks up ancestors, ids and locators, reads headers, and adds blocks; another is a
whole node. A third gives a new ledger as many headers and no block, as a first sync does, and adds
the first blocks. A fourth opens that ledger again, and excludes the next header with all that
follow and takes them back; a fifth is given an invalid block there. With `--before`, the code of
that commit does the same in turns, on a copy in its own schema; from LARGE on only once.

All of that takes a quarter of an hour on an idle machine.
"""

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, Final

_ROOT: Final = Path(__file__).resolve().parents[2]
# The code that is measured: of another commit in a process that `--before` starts.
_CODE: Final = Path(os.environ.get("GROAT_BENCH_CODE", _ROOT))
sys.path.insert(0, str(_CODE))

# ruff: noqa: E402
from sqlalchemy import URL

from chain.consensus.errors import InvalidError
from chain.consensus.params import REGTEST
from chain.consensus.subsidy import block_subsidy
from chain.consensus.work import meets_target
from chain.ledger.ledger import Ledger
from chain.node.node import Node
from chain.node.policy import Policy
from chain.primitives.block import Block, Header
from chain.primitives.numbers import NULL_HASH, NULL_OUTPOINT, Amount, Hash32
from chain.primitives.script import p2wpkh_script, push, push_number
from chain.primitives.transaction import Transaction, TxIn, TxOut
from chain.service.process import GARBAGE_THRESHOLDS

try:
    from chain.consensus.block_validation import witness_commitment_script
    from chain.gossip.wire.messages import HEADERS_MAX, Headers
except ModuleNotFoundError:  # as they were in 9697a37
    from chain.consensus.block import witness_commitment_script
    from chain.gossip.messages import HEADERS_MAX, Headers

LOOKUPS: Final = 2_000
BLOCKS: Final = 30
LARGE: Final = 500_000  # headers; with so many or more, everything is measured fewer times
SLOPE_MAX: Final = 100  # bytes of memory a header
START_S_MAX: Final = 2.0  # of processor time, at a million
NODE_MB_MAX: Final = 500  # with a million headers and a million coins
_NOW: Final = 1 << 31
_NONCE: Final = bytes(32)
_SCRIPT: Final = p2wpkh_script(bytes(20))
_COMMITMENT: Final = TxOut(Amount(0), witness_commitment_script(NULL_HASH, _NONCE))
_READY: Final = "groat: ready"
_SLOPES: Final = (
    *("rss_mb", "node_rss_mb", "ahead_rss_mb", "ahead_restart_rss_mb"),
    *("ahead_excluded_rss_mb", "ahead_invalid_rss_peak_mb"),
)
_COSTS: Final = {
    "block_ms": "ms for an empty block",
    "ancestor_us": "us for an ancestor",
    "locator_us": "us for a locator",
}


def main() -> None:
    """Read the flags, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--headers", default="20000,100000,1000000", help="sizes")
    parser.add_argument("--before", help="a commit to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="machine output")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # in a child process
    parser.add_argument("--ahead", type=Path, help=argparse.SUPPRESS)  # in another
    parser.add_argument("--stage", choices=_STAGES, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.ahead is not None:
        print(json.dumps(_STAGES[flags.stage](flags.ahead, int(flags.headers))))
        return
    if flags.measure is not None:
        print(json.dumps(measure(flags.measure)))
        return
    sizes = [int(size) for size in flags.headers.split(",")]
    with tempfile.TemporaryDirectory(prefix="groat-growth-") as folder:
        report = compare(Path(folder), sizes, flags.before, flags.rounds)
    if flags.json:
        print(json.dumps(report))
        return
    for name, values in report.items():
        print(f"{name:44} {'  '.join(f'{value:>10}' for value in values)}")
    print("\n".join(["", *summary(report)]))


def summary(report: dict[str, Any]) -> list[str]:
    """Return lines that say of each limit whether it is kept, and what the largest size costs."""
    size = report["headers"][-1]
    limits = {
        "rss_bytes_a_header": (SLOPE_MAX, "bytes of memory a header, ledger"),
        "node_rss_bytes_a_header": (SLOPE_MAX, "bytes of memory a header, node"),
        "start_cpu_s": (START_S_MAX, f"s of processor time for a start at {size:,}"),
        "ahead_restart_cpu_s": (START_S_MAX, f"s for a start with {size:,} headers ahead"),
        "node_rss_peak_mb": (NODE_MB_MAX, f"MB at most, a node with {size:,} headers and coins"),
    }
    lines = []
    for name, (most, what) in limits.items():
        found = report[name][-1]
        lines.append(f"{'kept  ' if found <= most else 'MISSED'} {found:>8} (limit {most}) {what}")
    for name, what in _COSTS.items():
        before = report.get(f"before: {name}")
        old = f" instead of {before[-1]}" if before else ""
        lines.append(f"       {report[name][-1]:>8}{old} {what} at {size:,}")
    return lines


def compare(folder: Path, sizes: Sequence[int], before: str | None, rounds: int) -> dict[str, Any]:
    """Return the medians by name: one for each size, and the bytes of memory a header."""
    codes = {"": _ROOT}
    if before is not None:
        codes["before: "] = _checkout(before, folder / "code")
    found: dict[str, list[Any]] = {"headers": list(sizes)}
    for size in sizes:
        for name, value in _medians(folder, codes, size, rounds).items():
            found.setdefault(name, []).append(value)
    for name in codes:
        for figure in _SLOPES:
            grown = (found[name + figure][-1] - found[name + figure][0]) * (1 << 20)
            slope = grown / max(sizes[-1] - sizes[0], 1)
            found[f"{name}{figure.removesuffix('_mb')}_bytes_a_header"] = [round(slope)]
    return found


def _medians(folder: Path, codes: dict[str, Path], size: int, rounds: int) -> dict[str, float]:
    """Measure each code on a data directory of its own, in turns."""
    # Of this code: the child processes that measure another must not import it.
    from growth_ledger import downgrade, make  # noqa: PLC0415

    data = {name: folder / f"data-{number}" for number, name in enumerate(codes)}
    make(_file(data[""]), size, next_block)
    for name, copy in data.items():
        if name:
            shutil.copytree(data[""], copy)
            downgrade(_file(copy), codes[name])
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in codes}
    is_large = size >= LARGE
    for turn in range(1 + (min(rounds, 2) if is_large else rounds)):
        for name, code in codes.items():
            if name and is_large and turn != 1:
                continue
            figures = {**_child(code, data[name]), **_node(code, data[name])}
            figures |= _ahead(code, folder, size) if turn else {}
            if turn:  # the first makes the pages, and fills the system's cache
                runs[name].append(figures)
    for path in data.values():
        shutil.rmtree(path)
    return {
        name + figure: round(statistics.median(result[figure] for result in results), 2)
        for name, results in runs.items()
        for figure in results[0]
    }


def _checkout(commit: str, folder: Path) -> Path:
    folder.mkdir()
    archive = subprocess.run(
        ["git", "archive", commit], cwd=_ROOT, stdout=subprocess.PIPE, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def _environment(code: Path) -> dict[str, str]:
    return {**os.environ, "GROAT_BENCH_CODE": str(code), "PYTHONPATH": str(code)}


def _child(code: Path, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", str(folder)]
    done = subprocess.run(
        command, env=_environment(code), stdout=subprocess.PIPE, check=True, cwd=code
    )
    return dict(json.loads(done.stdout))


def _ahead(code: Path, folder: Path, size: int) -> dict[str, float]:
    """Measure a first sync's headers: each stage in a process of its own, on the same ledger."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=folder) as data:
        for stage in _STAGES:
            command = [sys.executable, __file__, "--ahead", data, "--headers", str(size)]
            command += ["--stage", stage]
            done = subprocess.run(
                command, env=_environment(code), stdout=subprocess.PIPE, check=True, cwd=code
            )
            figures |= json.loads(done.stdout)
    return figures


def _node(code: Path, folder: Path) -> dict[str, float]:
    """Start a node; return the seconds until it is ready, and its memory a while later."""
    command = [sys.executable, "-m", "chain", "node", "--network", "regtest", "--p2p"]
    command += ["127.0.0.1:0", "--api", "127.0.0.1:0", "--datadir", str(folder)]
    started = time.perf_counter()
    with subprocess.Popen(
        command,
        env=_environment(code),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=code,
    ) as process:
        try:
            assert process.stdout is not None
            if not any(line.startswith(_READY) for line in process.stdout):
                sys.exit("the node did not start")
            ready = time.perf_counter() - started
            _wait_until_idle(process.pid)
            rss, peak = _memory_mb(process.pid)
        finally:
            process.terminate()
    return {"node_ready_s": ready, "node_rss_mb": rss, "node_rss_peak_mb": peak}


def _wait_until_idle(pid: int) -> None:
    """Wait until a process takes no time: what it checks in the background is done."""
    before = -1
    while (ticks := _ticks(pid)) - before > 10:  # a tenth of a second of each second
        before = ticks
        time.sleep(1)


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _memory_mb(pid: int | str) -> tuple[float, float]:
    """Return the resident memory of a process, and the most it ever was."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    facts = dict(line.split(":", 1) for line in lines)
    rss, peak = (int(facts[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return rss, peak


def measure(folder: Path) -> dict[str, float]:
    """Open a ledger in this process; return what that took, and the costs of its uses."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    cpu, started = time.process_time(), time.perf_counter()
    with closing(Ledger(_url(_file(folder)), REGTEST, verify_threads=2)) as ledger:
        start_s, start_cpu_s = time.perf_counter() - started, time.process_time() - cpu
        check_cpu_s = _finish_check(ledger)
        gc.collect()
        rss, _ = _memory_mb("self")
        tip, source = ledger.tip, Random(1)  # noqa: S311 - the same each time is the point
        heights = [source.randrange(tip.height) for _ in range(LOOKUPS)]
        entries = [tip.ancestor(height) for height in heights]
        ids = [entry.id for entry in entries]
        return {
            "start_s": start_s,
            "start_cpu_s": start_cpu_s,
            "background_check_cpu_s": check_cpu_s,
            "rss_mb": rss,
            "ancestor_us": _cost_us(tip.ancestor, heights),
            "get_us": _cost_us(ledger.tree.get, ids),
            "unknown_us": _cost_us(ledger.tree.get, [source.randbytes(32) for _ in ids]),
            "locator_us": _cost_us(lambda entry: entry.locator(), entries),
            **_getheaders_costs(ledger),
            "block_ms": _block_cost_ms(ledger),
        }


def _getheaders_costs(ledger: Ledger) -> dict[str, float]:
    """Return what a full reply to getheaders takes, encoded: of old and of new headers."""
    node, tip = Node(ledger, Policy()), ledger.tip

    def reply(locator: list[Hash32]) -> bytes:
        headers = node.read_headers(locator, NULL_HASH)
        return Headers(tuple(headers) if isinstance(headers, list) else headers).encode()

    deep = [tip.ancestor(tip.height // 3 + number).locator() for number in range(20)]
    new = [tip.ancestor(max(tip.height - 2000 - number, 0)).locator() for number in range(20)]
    return {
        "deep_getheaders_us": _cost_us(reply, deep),
        "new_getheaders_us": _cost_us(reply, new),
    }


def measure_ahead(folder: Path, count: int) -> dict[str, float]:
    """Give a new ledger `count` headers without blocks, and the first blocks."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    rss_before, _ = _memory_mb("self")
    with closing(_ledger_ahead(folder)) as ledger:
        spent = _add_headers(ledger, count)
        gc.collect()
        rss, peak = _memory_mb("self")
        best, source = ledger.tree.best_header, Random(2)  # noqa: S311 - the same each time
        heights = [source.randrange(best.height) for _ in range(LOOKUPS)]
        return {
            "ahead_header_us": spent / count * 1e6,
            "ahead_rss_mb": rss,
            "ahead_rss_peak_mb": peak,
            "ahead_grown_mb": rss - rss_before,
            "ahead_ancestor_us": _cost_us(best.ancestor, heights),
            "ahead_block_ms": _block_cost_ms(ledger),
        }


def measure_restart(folder: Path, _count: int) -> dict[str, float]:
    """Open the ledger with headers ahead; exclude nearly all of them, and take them back."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    cpu = time.process_time()
    with closing(_ledger_ahead(folder)) as ledger:
        start_cpu_s = time.process_time() - cpu
        check_cpu_s = _finish_check(ledger)
        gc.collect()
        rss, _ = _memory_mb("self")
        first = ledger.tree.best_header.ancestor(ledger.tip.height + 1)
        cpu = time.process_time()
        ledger.invalidate(first)
        exclude_cpu_s = time.process_time() - cpu
        gc.collect()
        excluded_rss, _ = _memory_mb("self")
        cpu = time.process_time()
        ledger.reconsider(first)
        reconsider_cpu_s = time.process_time() - cpu
    return {
        "ahead_restart_cpu_s": start_cpu_s,
        "ahead_background_check_cpu_s": check_cpu_s,
        "ahead_restart_rss_mb": rss,
        "ahead_exclude_cpu_s": exclude_cpu_s,
        "ahead_excluded_rss_mb": excluded_rss,
        "ahead_reconsider_cpu_s": reconsider_cpu_s,
    }


def measure_invalid(folder: Path, _count: int) -> dict[str, float]:
    """Open the ledger with headers ahead, and add the block below them, which is invalid."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    with closing(_ledger_ahead(folder)) as ledger:
        _finish_check(ledger)
        bad = next_block(ledger.tip.header, ledger.tip.height + 1, fees=1)
        cpu = time.process_time()
        try:
            ledger.add_block(bad, _NOW)
        except InvalidError:
            spent = time.process_time() - cpu
        else:
            sys.exit("the invalid block was accepted")
        _, peak = _memory_mb("self")
    return {"ahead_invalid_cpu_s": spent, "ahead_invalid_rss_peak_mb": peak}


def _ledger_ahead(folder: Path) -> Ledger:
    return Ledger(_url(folder / "ledger.sqlite"), REGTEST, verify_threads=2)


def _finish_check(ledger: Ledger) -> float:
    """Wait for what is checked in the background; return the processor time of this process."""
    cpu = time.process_time()
    check = getattr(ledger, "check", None)
    if check is not None:
        check.result.result()
    return time.process_time() - cpu


def _add_headers(ledger: Ledger, count: int) -> float:
    """Add headers upon genesis as they come from a peer; return the processor time."""
    spent, height, at = 0.0, 0, ledger.tip.header
    while height < count:
        headers = []
        for _ in range(min(HEADERS_MAX, count - height)):
            height += 1
            if height <= BLOCKS + 1:  # the first that has no block will be found invalid
                at = next_block(at, height, fees=height // (BLOCKS + 1)).header
            else:
                at = _next_header(at, height.to_bytes(32, "little"))
            headers.append(at)
        started = time.process_time()
        added = ledger.add_headers(headers, _NOW)
        spent += time.process_time() - started
        assert added.error is None, added.error
    return spent


def _next_header(parent: Header, merkle_root: bytes) -> Header:
    time_s = parent.time + REGTEST.spacing_s
    nonce = 0
    while True:
        header = Header(4, parent.id, Hash32(merkle_root), time_s, parent.bits, nonce)
        if meets_target(header.id, header.bits, REGTEST):
            return header
        nonce += 1


def _cost_us(function: Callable[[Any], object], arguments: Sequence[Any]) -> float:
    started = time.process_time()
    for argument in arguments:
        function(argument)
    return (time.process_time() - started) / len(arguments) * 1e6


def _block_cost_ms(ledger: Ledger) -> float:
    """Return processor time for an empty block at the tip."""
    costs = []
    for _ in range(BLOCKS):
        block = next_block(ledger.tip.header, ledger.tip.height + 1)
        started = time.process_time()
        ledger.add_block(block, _NOW)
        costs.append(time.process_time() - started)
    return statistics.median(costs) * 1000


def next_block(parent: Header, height: int, fees: int = 0) -> Block:
    """Return an empty block on `parent`, with its work; it is invalid if it claims `fees`."""
    txin = TxIn(NULL_OUTPOINT, push_number(height) + push(b"groat"), witness=(_NONCE,))
    out = TxOut(Amount(block_subsidy(height, REGTEST) + fees), _SCRIPT)
    coinbase = Transaction(2, [txin], [out, _COMMITMENT])
    time_s, nonce = parent.time + REGTEST.spacing_s, 0
    while True:
        header = Header(4, parent.id, coinbase.txid, time_s, parent.bits, nonce)
        if meets_target(header.id, header.bits, REGTEST):
            return Block(header, [coinbase])
        nonce += 1


def _file(folder: Path) -> Path:
    return folder / "regtest" / "ledger.sqlite"


def _url(file: Path) -> str:
    return URL.create("sqlite", database=str(file)).render_as_string()


_STAGES: Final = {"add": measure_ahead, "restart": measure_restart, "invalid": measure_invalid}

if __name__ == "__main__":
    main()
