"""Bitcoin Core's kernel in a process of its own, since it aborts where it is used wrongly.

As a program: reads cases, pickled in batches, and answers each with a byte, 1 for valid.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Case:
    """One spend: a transaction, the coins of its inputs as (value, script), and which input."""

    raw: bytes
    coins: tuple[tuple[int, bytes], ...]
    index: int


class Kernel:
    """The kernel's verdict on spends, under all seven consensus flags."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.script.kernel_process"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, cases: Sequence[Case]) -> list[bool]:
        data = pickle.dumps([(case.raw, case.coins, case.index) for case in cases])
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(len(data).to_bytes(4, "little") + data)
        stdin.flush()
        answer = stdout.read(len(cases))
        assert len(answer) == len(cases), "the kernel ended"
        return [bool(byte) for byte in answer]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes the pipes, and waits
            pass


def _answer(raw: bytes, coins: tuple[tuple[int, bytes], ...], index: int) -> int:
    from pbk import script, transaction  # noqa: PLC0415 - the parent can do without

    tx = transaction.Transaction(raw)
    locks = [script.ScriptPubkey(code) for _, code in coins]
    values = [value for value, _ in coins]
    spent = [transaction.TransactionOutput(*pair) for pair in zip(locks, values, strict=True)]
    shared = script.PrecomputedTransactionData(tx, spent)
    flags = script.ScriptVerificationFlags.ALL
    return int(locks[index].verify(values[index], tx, shared, index, flags))


def serve(stdin: BinaryIO, stdout: BinaryIO) -> None:
    while size := stdin.read(4):
        batch = pickle.loads(stdin.read(int.from_bytes(size, "little")))
        stdout.write(bytes(_answer(*case) for case in batch))
        stdout.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
