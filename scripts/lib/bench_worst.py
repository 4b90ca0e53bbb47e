"""Validate blocks that are as costly as the rules allow, with groat and with Bitcoin Core's kernel.

`scripts/bench_worst [--share 0.01] [--http] [CASE...]`. Each case is a valid block on a chain that
funds it; each side is a process of its own, and only that block is timed. `--share` makes the cases
smaller whose cost grows with each signature check, for what takes any node half an hour. While
groat validates, another thread of the process wakes up every two milliseconds; by how much it is
late is what a request to the node's API waits for Python's lock. With `--http` a node gets the
block by `submitblock` instead, and is asked for its tip and a transaction, in turn, until it has
it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
from btclib_secp256k1 import xonly
from make_chain import Chain
from spending import public, signed

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.end_to_end

from chain.consensus.params import REGTEST
from chain.ledger.ledger import Ledger
from chain.ledger.offline.blockfile import read_frames, write_frame
from chain.primitives.block import Block, decode_block
from chain.primitives.hashes import hash160, sha256
from chain.primitives.numbers import Amount, id_text, outpoint
from chain.primitives.script import push
from chain.primitives.sighash import SIGHASH_ALL
from chain.primitives.transaction import Transaction, TxIn, TxOut
from chain.script.hashes import InputHashes, TransactionHashes
from chain.script.taproot import TAPSCRIPT_LEAF, leaf_hash, tweak
from tests.end_to_end.processes import CLEAN, PLAIN, NodeProcess

KERNEL_THREADS: Final = 2
TICK_S: Final = 0.002
SETTLE_S: Final = 3.0  # for what a node checks after its start
_RUN_S_MAX: Final = 3_600
_VALUE: Final = Amount(10_000)
_SIGNATURE_INPUTS: Final = 800  # of 100 signature operations each
_HASHING_INPUTS: Final = 400  # of 50, which cost four times as much
_BARE_INPUTS: Final = 6_000
_SMALL_TRANSACTIONS: Final = 4_000
_BIG_BYTES: Final = 990_000
_TAPSCRIPT_BYTES: Final = 3_990_000
_CHECK: Final = b"\x6e\xab\xac\x75"  # 2DUP CODESEPARATOR CHECKSIG DROP: a new hash each time
_KEY: Final = public(0)
_WRONG: Final = signed(0, bytes(32))  # well-formed, and right for nothing here


@dataclass(frozen=True)
class Case:
    """Scripts of coins, and what makes the transactions that spend them."""

    scripts: Sequence[bytes]
    spend: Callable[[Sequence[TxIn], Sequence[TxOut]], Iterable[Transaction]]


def tapscript(_share: float) -> Case:
    """Run one tapscript of 4 MB of opcodes."""
    script = b"\x51\x75" * (_TAPSCRIPT_BYTES // 2) + b"\x51"
    internal = _KEY[1:]
    output, parity = xonly.tweak_add(internal, tweak(internal, leaf_hash(TAPSCRIPT_LEAF, script)))
    control = bytes([TAPSCRIPT_LEAF | parity]) + internal

    def spend(inputs: Sequence[TxIn], _: Sequence[TxOut]) -> Iterable[Transaction]:
        yield _paying([replace(inputs[0], witness=(script, control))])

    return Case([b"\x51\x20" + output], spend)


def sigops(share: float) -> Case:
    """Verify 80,000 signatures in P2WSH."""
    script = (b"\x76" + push(_KEY) + b"\xad") * 99 + push(_KEY) + b"\xac"

    def spend(inputs: Sequence[TxIn], coins: Sequence[TxOut]) -> Iterable[Transaction]:
        hashes = TransactionHashes(_paying(inputs), coins)
        digests = [
            InputHashes(hashes, at).witness_v0(script, SIGHASH_ALL) for at in range(len(inputs))
        ]
        yield _paying(
            [
                replace(txin, witness=(signed(0, digest), script))
                for txin, digest in zip(inputs, digests, strict=True)
            ]
        )

    return Case([b"\x00\x20" + sha256(script)] * _part(_SIGNATURE_INPUTS, share), spend)


def p2sh(share: float) -> Case:
    """Hash a transaction of 1 MB for each of 20,000 checks in P2SH."""
    redeem = _CHECK * 50 + b"\x6d\x51"
    shown = push(_WRONG) + push(_KEY) + push(redeem)
    script = b"\xa9\x14" + hash160(redeem) + b"\x87"
    return Case([script] * _part(_HASHING_INPUTS, share), _one_big(shown))


def bare(share: float) -> Case:
    """Do the same from bare scripts of 10,000 bytes, whose checks no limit counts."""
    return Case([_long_script()] * _part(_BARE_INPUTS, share), _one_big(push(_WRONG) + push(_KEY)))


def long_scripts(share: float) -> Case:
    """Run bare scripts of 10,000 operations in many small transactions."""

    def spend(inputs: Sequence[TxIn], _: Sequence[TxOut]) -> Iterable[Transaction]:
        return (_paying([replace(txin, script_sig=push(_WRONG) + push(_KEY))]) for txin in inputs)

    return Case([_long_script()] * _part(_SMALL_TRANSACTIONS, share), spend)


CASES: Final = {case.__name__: case for case in (tapscript, sigops, p2sh, bare, long_scripts)}


def _part(count: int, share: float) -> int:
    return max(1, round(count * share))


def _long_script() -> bytes:
    """Return 49 checks, and behind them a branch that is not taken: part of what each signs."""
    checks = _CHECK * 49 + b"\x6d\x51"
    return checks + b"\x00\x63" + b"\x00" * (9_990 - len(checks)) + b"\x68"


def _one_big(
    script_sig: bytes,
) -> Callable[[Sequence[TxIn], Sequence[TxOut]], Iterable[Transaction]]:
    def spend(inputs: Sequence[TxIn], _: Sequence[TxOut]) -> Iterable[Transaction]:
        shown = [replace(txin, script_sig=script_sig) for txin in inputs]
        room = _BIG_BYTES - len(inputs) * (44 + len(script_sig))
        yield Transaction(2, shown, [TxOut(Amount(0), b"\x6a" + bytes(max(room, 0)))])

    return spend


def _paying(inputs: Sequence[TxIn]) -> Transaction:
    return Transaction(2, inputs, [TxOut(Amount(0), b"\x6a")])


class _WorstChain(Chain):
    """A chain whose last block is a case's."""

    def blocks(self, case: Case) -> Iterable[Block]:
        """Yield them."""
        batches = [case.scripts[at : at + 80] for at in range(0, len(case.scripts), 80)]
        for _ in range(REGTEST.coinbase_maturity_blocks + len(batches)):
            yield self.empty()
        made = [self._fund(scripts) for scripts in batches]
        for transaction in made:
            yield self._add([transaction])
        points = [outpoint(tx.txid, at) for tx in made for at in range(len(tx.outputs))]
        coins = [out for tx in made for out in tx.outputs]
        yield self._add(list(case.spend([TxIn(point) for point in points], coins)))

    def _fund(self, scripts: Sequence[bytes]) -> Transaction:
        return self._signed(self._coinbases.pop(0), [TxOut(_VALUE, script) for script in scripts])


class Ticker(threading.Thread):
    """A thread that sleeps, and notes by how many seconds it wakes up late."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.late_s: list[float] = []
        self.is_done = False

    def run(self) -> None:
        """Tick until done."""
        while not self.is_done:
            started = time.perf_counter()
            time.sleep(TICK_S)
            self.late_s.append(time.perf_counter() - started - TICK_S)


def run_groat(blocks: Sequence[Block], folder: Path) -> dict[str, float]:
    """Return the times for the last block, and how late the other thread was."""
    with closing(Ledger(folder / "ledger.sqlite", REGTEST, verify_threads=2)) as ledger:
        for block in blocks[:-1]:
            ledger.add_block(block, block.header.time)
        ticker = Ticker()
        ticker.start()
        times = _timed(lambda: ledger.add_block(blocks[-1], blocks[-1].header.time))
        ticker.is_done = True
        ticker.join()
        height = int(ledger.tip.height)
    late = sorted(ticker.late_s)
    return times | {
        "height": height,
        "late_99_ms": late[len(late) * 99 // 100] * 1e3,
        "late_most_ms": late[-1] * 1e3,
    }


def run_kernel(blocks: Sequence[Block], folder: Path) -> dict[str, float]:
    """Return the times for the last block."""
    import pbk  # noqa: PLC0415 - groat's processes must not load it

    context = pbk.make_context(pbk.ChainType.REGTEST)
    options = pbk.ChainstateManagerOptions(context, str(folder), str(folder / "blocks"))
    options.set_worker_threads_num(KERNEL_THREADS)
    manager = pbk.ChainstateManager(options)
    for block in blocks[:-1]:
        manager.process_block(pbk.Block(block.raw))
    last = pbk.Block(blocks[-1].raw)
    times = _timed(lambda: manager.process_block(last))
    return times | {"height": int(manager.get_active_chain().height)}


def run_node(blocks: Sequence[Block], folder: Path) -> dict[str, float]:
    """Return how long a node's replies take while it validates the last block."""
    head = folder / "head.dat"
    with head.open("wb") as stream:
        for block in blocks[:-1]:
            write_frame(stream, block.raw, REGTEST)
    command = [sys.executable, "-m", "chain", "import", "--network", "regtest"]
    command += ["--datadir", str(folder), str(head)]
    subprocess.run(command, env=CLEAN, check=True, stdout=subprocess.DEVNULL)
    node = NodeProcess(folder).start()
    paths = ["/api/blocks/tip/height", f"/api/tx/{id_text(blocks[0].transactions[0].txid)}"]
    took_ms: list[float] = []
    try:
        time.sleep(SETTLE_S)
        raw = blocks[-1].raw.hex()
        submitting = threading.Thread(target=lambda: node.rpc("submitblock", raw), daemon=True)
        started = time.perf_counter()
        submitting.start()
        with httpx.Client(base_url=node.api, timeout=_RUN_S_MAX, **PLAIN) as client:
            while submitting.is_alive():
                asked = time.perf_counter()
                client.get(paths[len(took_ms) % 2]).raise_for_status()
                took_ms.append(1e3 * (time.perf_counter() - asked))
                time.sleep(TICK_S)
        seconds = time.perf_counter() - started
        height = node.height
    finally:
        node.stop()
    took_ms.sort()
    return {
        "height": height,
        "seconds": seconds,
        "replies": len(took_ms),
        "reply_median_ms": took_ms[len(took_ms) // 2],
        "reply_99_ms": took_ms[len(took_ms) * 99 // 100],
        "reply_most_ms": took_ms[-1],
    }


SIDES: Final = {"groat": run_groat, "kernel": run_kernel, "node": run_node}


def _timed(work: Callable[[], object]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def measure(side: str, file: Path, height: int) -> dict[str, float]:
    """Run one side in a fresh process."""
    command = [sys.executable, __file__, "--only", side, "--file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_RUN_S_MAX, check=False)
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if result.pop("height") != height:
        sys.exit(f"{side} refused the block")
    return result


def compare(name: str, share: float, sides: Sequence[str]) -> dict[str, Any]:
    """Measure some sides of a case."""
    with tempfile.TemporaryDirectory(prefix="groat-worst-") as folder:
        file, height = Path(folder) / "blocks.dat", 0
        with file.open("wb") as stream:
            for block in _WorstChain(seed=1).blocks(CASES[name](share)):
                write_frame(stream, block.raw, REGTEST)
                height += 1
        report: dict[str, Any] = {"case": name, "share": share}
        for side in sides:
            for key, value in measure(side, file, height).items():
                report[f"{side}_{key}"] = round(value, 2)
    return report


def main() -> None:
    """Read the flags, measure, and print a line of JSON for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], help="default: all")
    parser.add_argument("--share", type=float, default=1.0, help="of the full case, such as 0.01")
    parser.add_argument("--http", action="store_true", help="time a node's replies meanwhile")
    parser.add_argument("--only", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.only:
        with flags.file.open("rb") as stream:
            blocks = [decode_block(raw) for raw in read_frames(stream, REGTEST)]
        with tempfile.TemporaryDirectory(prefix="groat-worst-") as folder:
            print(json.dumps(SIDES[flags.only](blocks, Path(folder))))
        return
    sides = ["node"] if flags.http else ["groat", "kernel"]
    for name in flags.cases or CASES:
        print(json.dumps(compare(name, flags.share, sides)), flush=True)


if __name__ == "__main__":
    main()
