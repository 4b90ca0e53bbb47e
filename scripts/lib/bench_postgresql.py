"""Compare a ledger on PostgreSQL with one on SQLite, and time a streaming standby.

`scripts/bench_postgresql [--blocks 60] [--runs 3] [--seconds 60]`: an import in turns, a block of
2,000 payments that were all known in turns, and, with 200 transactions a second at a node, how much
later a standby shows them. A server of its own is started in a temporary folder, with fsync; it is
the one of the tests (GROAT_TEST_POSTGRESQL names another).
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from runpy import run_path
from typing import Any, Final

import psycopg

from chain.consensus.params import REGTEST
from chain.ledger.ledger import Ledger
from chain.node.node import Node
from chain.node.policy import Policy
from chain.primitives.block import decode_block
from chain.primitives.transaction import decode_transaction
from chain.service.pool_keeper import BATCH_S
from tests.postgresql_server import (
    Server,
    find_programs,
    new_database,
    new_server,
    server_folder,
)

RATE: Final = 200  # transactions a second
BLOCK_EVERY_S: Final = 5.0
BLOCK_TRANSACTIONS_MAX: Final = 2_000
TIP_ROUNDS: Final = 3
_POLL_S: Final = 0.002
_NOW: Final = 1 << 31
_HERE: Final = Path(__file__).parent
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_SETTINGS: Final = {  # of a server for a ledger that is small, on a machine with other work
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
}
_SEQUENCE: Final = "SELECT value FROM node_state WHERE name = 'sequence'"


def main() -> None:
    """Read the flags, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=60, help="of 1,000 payments, to import")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=60, help="of transactions with a standby")
    parser.add_argument("--json", action="store_true", help="machine output")
    flags = parser.parse_args()
    report: dict[str, Any] = {}
    with _server() as server:
        report["server"] = server.execute("SHOW server_version")[0][0]
        if flags.blocks:
            report |= measure_import(server, flags.blocks, flags.runs)
        report |= measure_tip(server)
        if flags.seconds:
            report |= measure_lag(server, flags.seconds)
    if flags.json:
        sys.stdout.write(json.dumps(report) + "\n")
        return
    for name, value in report.items():
        print(f"{name:44} {value}")


@contextmanager
def _server() -> Iterator[Server]:
    with server_folder() as folder:
        programs = find_programs(folder)
        server = new_server(programs, programs.own(folder / "s"), 1, **_SETTINGS)
        try:
            yield server
        finally:
            server.stop()


def measure_import(server: Server, blocks: int, runs: int) -> dict[str, Any]:
    """Return the seconds of `groat import` of one file, SQLite and PostgreSQL in turns."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="groat-bench-") as folder:
        file = Path(folder) / "chain.dat"
        size = ["--blocks", str(blocks), "--transactions", "1000", "--out", str(file)]
        subprocess.run([sys.executable, _HERE / "make_chain.py", *size], check=True, stdout=-3)
        for run in range(runs):
            for kind in ("sqlite", "postgresql"):
                place = Path(folder) / f"{kind}{run}"
                url = () if kind == "sqlite" else ("--database", server.url(new_database(server)))
                before = _server_cpu_s(server)
                result = _imported(file, place, url)
                found.setdefault(f"import_{kind}_seconds", []).append(result["seconds"])
                found.setdefault(f"import_{kind}_cpu_seconds", []).append(result["cpu_seconds"])
                if kind == "postgresql":
                    used = _server_cpu_s(server) - before
                    found.setdefault("import_server_cpu_seconds", []).append(used)
    report: dict[str, Any] = {"import_transactions": result["transactions"]}
    report |= {name: round(statistics.median(values), 2) for name, values in found.items()}
    pairs = zip(found["import_sqlite_seconds"], found["import_postgresql_seconds"], strict=True)
    report["import_speed_of_sqlite"] = round(statistics.median(a / b for a, b in pairs), 3)
    return report


def _imported(file: Path, folder: Path, url: tuple[str, ...]) -> dict[str, Any]:
    command = [sys.executable, "-m", "chain", "import", "--network", "regtest", "--json"]
    command += ["--datadir", str(folder), *url, str(file)]
    before = os.times()
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    after = os.times()
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    result["seconds"] = time.perf_counter() - started
    result["cpu_seconds"] = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    return result


def _server_cpu_s(server: Server) -> float:
    """Return the processor time of a server and its processes, those that ended included."""
    assert server.process is not None, "it runs"
    postmaster = server.process.pid
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    ticks = 0
    for pid in (str(postmaster), *children):
        try:
            values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue  # it has just ended, and is counted by its parent
        ticks += sum(map(int, values[11:15] if pid == str(postmaster) else values[11:13]))
    return ticks / _TICKS


def measure_tip(server: Server) -> dict[str, Any]:
    """Return milliseconds for a block of known transactions, SQLite and PostgreSQL in turns."""
    bench = run_path(str(_HERE / "bench_ledger.py"))

    @contextmanager
    def on_server() -> Iterator[Ledger]:
        ledger = Ledger(server.url(new_database(server)), REGTEST, verify_threads=2)
        try:
            yield ledger
        finally:
            ledger.close()

    found: dict[str, list[float]] = {"sqlite": [], "postgresql": []}
    for _ in range(TIP_ROUNDS):
        found["sqlite"].append(bench["measure_tip"]()["tip_block_ms"])
        found["postgresql"].append(bench["measure_tip"](on_server)["tip_block_ms"])
    report: dict[str, Any] = {"tip_block_transactions": bench["TIP_TRANSACTIONS"]}
    report |= {f"tip_block_{kind}_ms": statistics.median(ms) for kind, ms in found.items()}
    times = [b / a for a, b in zip(found["sqlite"], found["postgresql"], strict=True)]
    report["tip_block_times_of_sqlite"] = round(statistics.median(times), 2)
    return report


def measure_lag(server: Server, seconds: int) -> dict[str, Any]:
    """Return how much later a standby shows transactions, by the setting wal_writer_delay."""
    standby = server.standby(2, "one")
    report: dict[str, Any] = {"lag_transactions_per_second": RATE}
    try:
        for delay_ms in (200, 10):
            server.execute(f"ALTER SYSTEM SET wal_writer_delay = '{delay_ms}ms'")
            server.execute("SELECT pg_reload_conf()")
            for name, value in _lag(server, standby, seconds).items():
                report[f"{name}_wal_writer_delay_{delay_ms}"] = value
    finally:
        standby.stop()
    return report


def _lag(server: Server, standby: Server, seconds: int) -> dict[str, Any]:
    chain, blocks = run_path(str(_HERE / "bench_ledger.py"))["_start"](RATE * seconds)
    database = new_database(server)
    ledger = Ledger(server.url(database), REGTEST, verify_threads=2)
    try:
        for verdict in ledger.add_blocks(blocks, _NOW):
            verdict.result()
        with _watched(standby, database, ledger.version.sequence) as seen_at:
            load = _Load(ledger, chain, seconds)
            load.run()
            seen = seen_at(ledger.version.sequence)
    finally:
        ledger.close()
    return load.figures(seen)


class _Load:
    """Transactions at a steady rate, batches of the mempool as a node makes them, and blocks."""

    def __init__(self, ledger: Ledger, chain: Any, seconds: int) -> None:  # noqa: ANN401
        self._ledger = ledger
        self._node = Node(ledger, Policy(pool_bytes_max=1_000_000_000))
        self._chain = chain
        coins = list(chain.coins)
        self._payments = [chain._pay(coins.pop(), 2) for _ in range(RATE * seconds)]
        self._unconfirmed: list[Any] = []
        self._open: list[float] = []  # when those were accepted that no commit has
        self._committed: list[tuple[int, float, list[float]]] = []  # sequence, time, accepted

    def run(self) -> None:
        """Submit all."""
        started = time.monotonic()
        batch_s, block_s = started + BATCH_S, started + BLOCK_EVERY_S
        for number, payment in enumerate(self._payments):
            while (now := time.monotonic()) < started + number / RATE:
                if self._open and now >= batch_s:
                    batch_s = now + BATCH_S
                    self._commit(lambda: self._node.save_pool(_NOW, is_durable=False))
                elif now >= block_s:
                    block_s = now + BLOCK_EVERY_S
                    taken = self._unconfirmed[:BLOCK_TRANSACTIONS_MAX]
                    del self._unconfirmed[: len(taken)]
                    block = decode_block(self._chain._add(taken).raw)
                    self._commit(lambda block=block: self._node.submit_block(block, _NOW))
                else:
                    time.sleep(min(max(started + number / RATE - now, 0), 0.001))
            self._node.submit_transaction(decode_transaction(payment.raw), _NOW)
            self._unconfirmed.append(payment)
            self._open.append(time.monotonic())
        self._commit(lambda: self._node.save_pool(_NOW, is_durable=False))

    def _commit(self, commit: Callable[[], object]) -> None:
        accepted, self._open = self._open, []
        commit()
        sequence = self._ledger.version.sequence
        self._committed.append((sequence, time.monotonic(), accepted))

    def figures(self, seen: list[tuple[int, float]]) -> dict[str, Any]:
        """Return the lag in milliseconds; `seen` are sequences and when they were first seen."""
        after_commit, after_accepted = [], []
        for sequence, committed_s, accepted in self._committed:
            shown_s = next(at for number, at in seen if number >= sequence)
            after_commit += [max(shown_s - committed_s, 0)] * len(accepted)
            after_accepted += [shown_s - at for at in accepted]
        report = {"lag_transactions": len(after_commit)}
        for name, lags in (("commit", after_commit), ("acceptance", after_accepted)):
            report[f"lag_ms_after_{name}_median"] = round(statistics.median(lags) * 1000)
            report[f"lag_ms_after_{name}_99"] = round(statistics.quantiles(lags, n=100)[98] * 1000)
        return report


@contextmanager
def _watched(
    standby: Server, database: str, sequence: int
) -> Iterator[Callable[[int], list[tuple[int, float]]]]:
    """Look at a standby in a process of its own; yield what ends that at a sequence."""
    mine, theirs = multiprocessing.Pipe()
    options = {"host": str(standby.folder), "port": standby.port, "user": "groat"}
    process = multiprocessing.get_context("spawn").Process(
        target=_watch, args=(theirs, {**options, "dbname": database}, sequence), daemon=True
    )
    process.start()
    assert mine.recv() == "ready"

    def seen_at(last: int) -> list[tuple[int, float]]:
        mine.send(last)
        found: list[tuple[int, float]] = mine.recv()
        return found

    try:
        yield seen_at
    finally:
        process.kill()
        process.join()


def _watch(parent: Connection, options: dict[str, Any], first: int) -> None:
    """Send the sequences of a standby's ledger, and when each was first seen (CLOCK_MONOTONIC)."""
    seen: list[tuple[int, float]] = []
    last = None
    with psycopg.connect(**options, autocommit=True) as connection:
        while not seen or seen[-1][0] < first:
            seen = _look(connection, seen)
            time.sleep(_POLL_S)
        parent.send("ready")
        while last is None or seen[-1][0] < last:
            seen = _look(connection, seen)
            if last is None and parent.poll(_POLL_S):
                last = parent.recv()
    parent.send(seen)


def _look(connection: Any, seen: list[tuple[int, float]]) -> list[tuple[int, float]]:  # noqa: ANN401
    for (value,) in connection.execute(_SEQUENCE):
        sequence = int.from_bytes(value, "big")
        if not seen or seen[-1][0] != sequence:
            seen.append((sequence, time.monotonic()))
    return seen


if __name__ == "__main__":
    main()
