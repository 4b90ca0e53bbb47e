"""Time how long blocks and payments take along three real nodes A-B-C, where C only dials out.

`scripts/bench_relay [--rounds N] [--json]`: regtest nodes on 127.0.0.1, each a process; the time is
from the reply of the node that mined, or accepted the payment, to its arrival at the other end.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.end_to_end

from tests.end_to_end.processes import NodeProcess, WalletCommand, wait_until


def main() -> None:
    """Run the rounds and print medians and maxima in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="groat-relay-") as folder:
        figures = _measure(Path(folder), given.rounds)
    if given.json:
        print(json.dumps(figures))
    else:
        for name, milliseconds in figures.items():
            print(f"{name.replace('_', ' '):28} {milliseconds:8.1f}")


def _measure(folder: Path, rounds: int) -> dict[str, float]:
    a = NodeProcess(folder / "a").start()
    b = NodeProcess(folder / "b", ["--peer", a.p2p]).start()
    c = NodeProcess(folder / "c", ["--peer", b.p2p]).start()
    wallet = WalletCommand(folder / "wallet", c)
    address = str(wallet.json("create", "--no-password")["address"])
    times: dict[str, list[float]] = {"block_a_to_c": [], "block_c_to_a": [], "payment_c_to_a": []}
    try:
        c.mine(101 + rounds, address)
        wait_until(lambda: a.tip == c.tip, "one chain", 60)
        for _ in range(rounds):
            times["block_a_to_c"].append(_until(a.mine(1, address)[-1], lambda: c.tip))
            times["block_c_to_a"].append(_until(c.mine(1, address)[-1], lambda: a.tip))
        for _ in range(max(rounds // 4, 1)):
            sent = wallet.json("send", address, "0.5", "--fee-rate", "2", "--yes")["txid"]
            times["payment_c_to_a"].append(
                wait_until(lambda txid=sent: txid in a.mempool(), "the payment is at A")
            )
            c.mine(1, address)
            wait_until(lambda: a.tip == c.tip, "one chain")
    finally:
        for node in (a, b, c):
            node.stop()
    figures = {}
    for name, seconds in times.items():
        figures[f"{name}_median_ms"] = 1000 * statistics.median(seconds)
        figures[f"{name}_max_ms"] = 1000 * max(seconds)
    return figures


def _until(tip: str, read: Callable[[], str]) -> float:
    return wait_until(lambda: read() == tip, f"the tip is {tip}")


if __name__ == "__main__":
    main()
