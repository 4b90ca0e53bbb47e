"""Time ledger updates at the tip, and the growth of cost and memory with the coin set.

`scripts/bench_ledger [--coins 100000,1000000,3000000]`: a block of 2,000 payments that were all in
the mempool, the same block in a node with a mempool of 20,000, a reorganisation of 100 blocks of
200 payments, and the cost of a block's transaction for each size of the coin set. The last takes a
minute for a million coins.
"""

import argparse
import gc
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import chain as concatenated
from pathlib import Path
from runpy import run_path
from typing import Any, Final

from chain.consensus.params import REGTEST
from chain.ledger.db.engine import insert_values, read_rows
from chain.ledger.db.loading import sum_coins
from chain.ledger.ledger import Ledger
from chain.node.node import Node
from chain.node.policy import Policy
from chain.primitives.block import Block, decode_block
from chain.primitives.transaction import Transaction, decode_transaction
from chain.service.process import GARBAGE_THRESHOLDS

TIP_TRANSACTIONS: Final = 2_000
TIP_BLOCKS: Final = 15
POOL_TRANSACTIONS: Final = 20_000
POOL_BLOCKS: Final = 8
REORG_BLOCKS: Final = 100
REORG_TRANSACTIONS: Final = 200
GROWTH_BLOCKS: Final = 12
GROWTH_TRANSACTIONS: Final = 1_000
COLD_STARTS: Final = 5
VERIFY_THREADS: Final = 2
FANS_MAX: Final = 10  # in a block
_NOW: Final = 1 << 31
_FILLER_ROWS: Final = 50_000  # coins per INSERT
_MAKE_CHAIN: Final = run_path(str(Path(__file__).with_name("make_chain.py")))
_Chain: Final = _MAKE_CHAIN["Chain"]


def main() -> None:
    """Read the flags, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coins", default="100000,1000000,3000000", help="sizes, or nothing")
    parser.add_argument("--json", action="store_true", help="machine output")
    flags = parser.parse_args()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    report: dict[str, Any] = {**measure_tip(), **measure_pool(), **measure_reorganisation()}
    sizes = [int(size) for size in flags.coins.split(",") if size]
    report |= measure_growth(sizes) if sizes else {}
    report["rss_peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if flags.json:
        sys.stdout.write(json.dumps(report) + "\n")
        return
    for name, value in report.items():
        print(f"{name:36} {value}")


@contextmanager
def _new_ledger() -> Iterator[Ledger]:
    with (
        tempfile.TemporaryDirectory(prefix="groat-bench-") as folder,
        _opened(Path(folder) / "ledger.sqlite") as ledger,
    ):
        yield ledger


@contextmanager
def _opened(file: Path) -> Iterator[Ledger]:
    with closing(Ledger(file, REGTEST, verify_threads=VERIFY_THREADS)) as ledger:
        yield ledger


def _start(transactions: int, factor: int = 1) -> tuple[Any, list[Block]]:
    """Return a chain with coins for `factor` blocks of `transactions` payments, and its blocks."""
    chain = _Chain(1)
    fans = -(-transactions * factor // _MAKE_CHAIN["FAN_OUT"])
    blocks = [chain.empty() for _ in range(REGTEST.coinbase_maturity_blocks + fans)]
    blocks += [chain.spread(min(FANS_MAX, fans - at)) for at in range(0, fans, FANS_MAX)]
    return chain, blocks


def _feed(ledger: Ledger, blocks: Sequence[Block]) -> None:
    for verdict in ledger.add_blocks(blocks, _NOW):
        verdict.result()


def measure_tip(
    new_ledger: Callable[[], AbstractContextManager[Ledger]] = _new_ledger,
) -> dict[str, Any]:
    """Return milliseconds for a block that arrives when all its transactions are known."""
    chain, blocks = _start(TIP_TRANSACTIONS)
    with new_ledger() as ledger:
        _feed(ledger, blocks)
        wall, cpu = [], []
        for _ in range(TIP_BLOCKS):
            block = decode_block(chain.full(TIP_TRANSACTIONS).raw)
            for transaction in block.transactions:
                ledger.verified.add(transaction.wtxid)  # as on entry to the mempool
            raw = block.raw
            started, cpu_started = time.perf_counter(), time.process_time()
            ledger.add_block(decode_block(raw), _NOW)
            wall.append(time.perf_counter() - started)
            cpu.append(time.process_time() - cpu_started)
    return {
        "tip_block_transactions": TIP_TRANSACTIONS,
        "tip_block_ms": round(statistics.median(wall) * 1000, 1),
        "tip_block_cpu_ms": round(statistics.median(cpu) * 1000, 1),
    }


def measure_pool() -> dict[str, Any]:
    """Return milliseconds for a block whose transactions are some of a mempool's, in a node.

    That is until the new tip and mempool are published, the rows of both committed.
    """
    chain, blocks = _start(POOL_TRANSACTIONS + POOL_BLOCKS * TIP_TRANSACTIONS)
    with _new_ledger() as ledger:
        _feed(ledger, blocks)
        node = Node(ledger, Policy(pool_bytes_max=1_000_000_000))
        confirmed = list(chain.coins)
        unconfirmed: deque[Transaction] = deque()
        wall, cpu = [], []
        for _ in range(POOL_BLOCKS):
            while len(unconfirmed) < POOL_TRANSACTIONS:
                payment = chain._pay(confirmed.pop(), 2)
                node.submit_transaction(decode_transaction(payment.raw), _NOW)
                unconfirmed.append(payment)
            node.save_pool(_NOW, is_durable=False)
            raw = chain._add([unconfirmed.popleft() for _ in range(TIP_TRANSACTIONS)]).raw
            started, cpu_started = time.perf_counter(), time.process_time()
            node.submit_block(decode_block(raw), _NOW)
            wall.append(time.perf_counter() - started)
            cpu.append(time.process_time() - cpu_started)
    return {
        "pool_transactions": POOL_TRANSACTIONS,
        "pool_block_ms": round(statistics.median(wall) * 1000, 1),
        "pool_block_cpu_ms": round(statistics.median(cpu) * 1000, 1),
        "pool_block_least_ms": round(min(wall) * 1000, 1),
    }


def measure_reorganisation() -> dict[str, Any]:
    """Return the seconds of a reorganisation to a longer branch."""
    chain, blocks = _start(REORG_TRANSACTIONS)
    fork, coins, coinbases = chain.tip, list(chain.coins), list(chain._coinbases)
    old = [chain.full(REORG_TRANSACTIONS) for _ in range(REORG_BLOCKS)]
    chain.tip, chain.coins, chain._coinbases = fork, coins, coinbases
    new = [chain.full(REORG_TRANSACTIONS) for _ in range(REORG_BLOCKS + 1)]
    with _new_ledger() as ledger:
        _feed(ledger, [*blocks, *old])
        for block in new[:-1]:
            ledger.add_block(block, _NOW)
        started, cpu_started = time.perf_counter(), time.process_time()
        added = ledger.add_block(new[-1], _NOW)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        if len(added.disconnected) != REORG_BLOCKS:
            sys.exit("the reorganisation did not happen")
    return {
        "reorganisation": f"{REORG_BLOCKS} blocks of {REORG_TRANSACTIONS}",
        "reorganisation_seconds": round(seconds, 2),
        "reorganisation_cpu_seconds": round(cpu_seconds, 2),
    }


def measure_growth(sizes: Sequence[int]) -> dict[str, Any]:
    """Return microseconds a transaction of a block, by the number of coins.

    Processor time, with the database file in memory; finally the wall time of the first block after
    a start, with an empty page cache.
    """
    chain, blocks = _start(GROWTH_TRANSACTIONS)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="groat-bench-") as folder:
        file = Path(folder) / "ledger.sqlite"
        with _opened(file) as ledger:
            _feed(ledger, blocks)
            for size in sizes:
                _fill(ledger, size)
                costs = [_block_cost(ledger, chain)[1] for _ in range(GROWTH_BLOCKS)]
                report[f"block_cpu_us_a_transaction_at_{size}"] = round(statistics.median(costs), 1)
        cold = []
        for _ in range(COLD_STARTS):
            with _opened(file) as ledger:
                _forget(file)
                cold.append(_block_cost(ledger, chain)[0])
        report["cold_block_us_a_transaction"] = round(statistics.median(cold), 1)
    return report


def _block_cost(ledger: Ledger, chain: Any) -> tuple[float, float]:  # noqa: ANN401
    """Return wall and processor microseconds for each transaction of one more block."""
    raw = chain.full(GROWTH_TRANSACTIONS).raw
    started, cpu_started = time.perf_counter(), time.process_time()
    ledger.add_block(decode_block(raw), _NOW)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    return wall / GROWTH_TRANSACTIONS * 1e6, cpu / GROWTH_TRANSACTIONS * 1e6


def _forget(file: Path) -> None:
    """Make the system drop a file from the page cache."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _fill(ledger: Ledger, size: int) -> None:
    """Fill the table with unspendable coins up to `size`, with random keys as usual."""
    source = _MAKE_CHAIN["Random"](size)
    connection = ledger._connection
    with connection.begin():
        ((count,),) = read_rows(connection, "SELECT count(*) FROM coins")
    while count < size:
        script = bytes(22)
        new = min(_FILLER_ROWS, size - count)
        rows = sorted((source.randbytes(36), 1, script, 1, 0) for _ in range(new))
        with connection.begin():
            insert_values(
                connection,
                "INSERT INTO coins (point, value, script, height, from_coinbase)",
                5,
                [list(concatenated.from_iterable(rows))],
            )
        count += new
    with connection.begin():
        ledger._chain.coins.revert(sum_coins(connection))  # the next block stores it


if __name__ == "__main__":
    main()
