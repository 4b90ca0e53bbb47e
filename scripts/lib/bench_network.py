"""Time the propagation of blocks among ten real nodes that have the transactions, and a load.

`scripts/bench_network [--nodes 10] [--blocks 1000x20,4500x5] [--load 200x30] [--json]`: regtest
nodes on 127.0.0.1, each a process that dials two others and discovers more. A block's time is from
the first node that has it as its tip to the last. The load, a rate and a number of seconds, is
submitted to all nodes in turn; 30 s later all mempools should have all transactions.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from runpy import run_path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.end_to_end

from chain.consensus.params import REGTEST
from chain.ledger.offline.blockfile import write_frame
from tests.end_to_end.networks import Line, lines, memory_mb, network, watching
from tests.end_to_end.processes import CLEAN, NodeProcess, wait_until

SOMEBODY: Final = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"
GRACE_S: Final = 30.0  # after the load, the limit for all mempools to be equal
RELAY_S_MAX: Final = 120.0
LINKS_MIN: Final = 4
_MAKE_CHAIN: Final = run_path(str(Path(__file__).with_name("make_chain.py")))


@dataclass(frozen=True, slots=True)
class Bench:
    """The nodes, an RPC client for each, and the source of payments."""

    nodes: list[NodeProcess]
    lines: list[Line]
    chain: Any  # make_chain.Chain, whose coins the nodes know

    def payments(self, count: int) -> list[bytes]:
        """Return `count` payments from confirmed coins."""
        return [tx.raw for tx in self.chain.full(count).transactions[1:]]

    def all_have(self, count: int) -> bool:
        """Return whether each mempool has `count` transactions."""
        return all(line.mempool_count() == count for line in self.lines)


def main() -> None:
    """Read the flags, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--blocks", default="1000x20,4500x5", help="TRANSACTIONSxROUNDS")
    parser.add_argument("--load", default="200x30", help="A SECONDxSECONDS")
    parser.add_argument("--json", action="store_true", help="machine output")
    flags = parser.parse_args()
    sizes = [_pair(text) for text in flags.blocks.split(",") if text]
    load = _pair(flags.load) if flags.load else None
    with tempfile.TemporaryDirectory(prefix="groat-network-") as folder:
        report = _measure(Path(folder), flags.nodes, sizes, load)
    if flags.json:
        print(json.dumps(report))
        return
    for name, value in report.items():
        print(f"{name:40} {value}")


def _pair(text: str) -> tuple[int, int]:
    first, _, second = text.partition("x")
    return int(first), int(second)


def _measure(
    folder: Path, count: int, sizes: Sequence[tuple[int, int]], load: tuple[int, int] | None
) -> dict[str, Any]:
    coins = sum(size * rounds for size, rounds in sizes) + (load[0] * load[1] if load else 0)
    chain = _prepare(folder, coins)
    report: dict[str, Any] = {"nodes": count}
    with network(folder, count, _two_before) as nodes, lines(nodes) as opened:
        bench = Bench(nodes, opened, chain)
        wait_until(lambda: len({node.tip for node in nodes}) == 1, "one chain", RELAY_S_MAX)
        nodes[0].mine(1, SOMEBODY)  # a recent tip: no node considers itself behind
        wait_until(lambda: len({node.tip for node in nodes}) == 1, "one tip", RELAY_S_MAX)
        wait_until(lambda: _links(bench) >= LINKS_MIN, "links enough", RELAY_S_MAX)
        report["links_a_node"] = round(_links(bench), 1)
        for size, rounds in sizes:
            report |= _measure_blocks(bench, size, rounds)
        report |= _measure_load(bench, *load) if load else {}
        report["rss_peak_mb"] = round(max(memory_mb(node) for node in nodes))
        report["links_a_node_at_the_end"] = round(_links(bench), 1)
    return report


def _prepare(folder: Path, coins: int) -> Any:  # noqa: ANN401 - as runpy gives it
    """Give node 0 a chain with `coins` spendable coins, and return the chain."""
    chain = _MAKE_CHAIN["Chain"](1)
    fans = -(-coins // _MAKE_CHAIN["FAN_OUT"])
    blocks = [chain.empty() for _ in range(REGTEST.coinbase_maturity_blocks + fans)]
    blocks += [chain.spread(min(fans - done, 20)) for done in range(0, fans, 20)]
    file = folder / "chain.dat"
    with file.open("wb") as out:
        for block in blocks:
            write_frame(out, block.raw, REGTEST)
    command = [sys.executable, "-m", "chain", "import", str(file), "--network", "regtest"]
    command += ["--datadir", str(folder / "node0")]
    subprocess.run(command, check=True, env=CLEAN, stdout=subprocess.DEVNULL)
    return chain


def _two_before(number: int) -> list[int]:
    return sorted({number - 1, number // 2}) if number > 1 else [0] * number


def _links(bench: Bench) -> float:
    return statistics.mean(len(line.get("/api/v1/peers")) for line in bench.lines)


def _measure_blocks(bench: Bench, size: int, rounds: int) -> dict[str, Any]:
    """Return the times of blocks of `size` payments, each mined at another node."""
    spreads, relays = [], []
    for number in range(rounds):
        payments = bench.payments(size)
        began_s = time.monotonic()
        for at, payment in enumerate(payments):
            bench.lines[at % len(bench.lines)].send(payment)
        wait_until(lambda: bench.all_have(size), f"{size} transactions everywhere", RELAY_S_MAX)
        relays.append(time.monotonic() - began_s)
        with watching(bench.nodes) as watch:
            mined = bench.nodes[number % len(bench.nodes)].mine(1, SOMEBODY)[-1]
            arrivals = watch.arrivals(mined)
        spreads.append(1000 * (max(arrivals) - min(arrivals)))
        assert bench.all_have(0), "the block has all pending transactions"
    name = f"block_of_{size}"
    return {
        f"{name}_rounds": rounds,
        f"{name}_median_ms": round(statistics.median(spreads)),
        f"{name}_p95_ms": round(_p95(spreads)),
        f"{name}_max_ms": round(max(spreads)),
        f"{name}_relay_first_s": round(statistics.median(relays), 1),
    }


def _p95(values: Sequence[float]) -> float:
    """Return the smallest value that 95 % of them do not exceed."""
    ordered = sorted(values)
    return ordered[-(-95 * len(ordered) // 100) - 1]


def _measure_load(bench: Bench, rate: int, seconds: int) -> dict[str, Any]:
    """Offer `rate` transactions a second, and return whether all arrive, and when."""
    payments = bench.payments(rate * seconds)
    began_s = time.monotonic() + 0.5
    count = len(bench.lines)
    offering = [
        threading.Thread(
            target=_submit, args=(line, payments[at::count], began_s + at / rate, count / rate)
        )
        for at, line in enumerate(bench.lines)
    ]
    for thread in offering:
        thread.start()
    for thread in offering:
        thread.join()
    ended_s = time.monotonic()
    while not bench.all_have(len(payments)) and time.monotonic() < ended_s + GRACE_S:
        time.sleep(0.2)
    return {
        "load_offered": len(payments),
        "load_offered_s": round(ended_s - began_s, 1),
        "load_everywhere_s_after": round(time.monotonic() - ended_s, 1),
        "load_fewest_in_a_mempool": min(line.mempool_count() for line in bench.lines),
    }


def _submit(line: Line, payments: Sequence[bytes], began_s: float, interval_s: float) -> None:
    for number, payment in enumerate(payments):
        time.sleep(max(began_s + number * interval_s - time.monotonic(), 0))
        line.send(payment)


if __name__ == "__main__":
    main()
