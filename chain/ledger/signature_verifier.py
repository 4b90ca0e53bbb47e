"""Signature verification on several threads; the work itself does not hold Python's lock."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from chain.consensus.errors import InvalidError
from chain.consensus.spend import SpendCheck, first_error
from chain.primitives.recent import Recent
from chain.primitives.signature_batch import Batch, batch

VERIFIED_MAX: Final = 262_144  # about 100 bytes each; the newest half is certain to be there


class VerifiedSpends(Recent):
    """Wtxids of transactions with verified signatures. Only one thread may add to them.

    A wtxid commits to the whole transaction, its witnesses included, and through the txids in its
    outpoints to the coins that it spends, so the validity of its signatures depends on nothing else
    (Bitcoin: the script execution cache).
    """

    def __init__(self) -> None:
        super().__init__(VERIFIED_MAX)


_INLINE_MAX: Final = 8  # fewer are verified faster than another thread wakes up
_NICENESS: Final = 10  # higher than the process's own; 19 is the maximum
_CHUNK_MAX: Final = 512  # checks per call of a thread, about 15 ms


_Chunk = tuple[Sequence[SpendCheck], "Future[int | None]"]  # its first check that is refused


class Verification:
    """Pending signature checks."""

    def __init__(self, chunks: Sequence[_Chunk], error: InvalidError | None = None) -> None:
        self._chunks = chunks
        self._error = error

    def wait(self) -> None:
        """Wait until every check has succeeded. Raises InvalidError: SCRIPT."""
        error = self.finish()
        if error is not None:
            raise error

    def finish(self) -> InvalidError | None:
        """Wait until the checks are done; return the error of the first spend that fails, or None.

        A refused check fails its spend only if that fails when it is run again; else the rest of
        the chunk, which was not looked at, is verified here.
        """
        refused = [(checks, chunk.result()) for checks, chunk in self._chunks]  # all are awaited
        for checks, first in refused:
            if first is not None and self._error is None:
                self._error = first_error(checks[first:])
        return self._error


class Verifier:
    """A pool of threads for signature checks; the result does not depend on their number."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._pool = (
            ThreadPoolExecutor(self.threads, "verify", initializer=lower_thread_priority)
            if threads > 1
            else None
        )

    def start(self, checks: Sequence[SpendCheck]) -> Verification:
        """Start verifying; the caller may do other work until it calls `wait`."""
        if self._pool is None or len(checks) <= _INLINE_MAX:
            return Verification((), verify_now(checks))
        size = min(-(-len(checks) // self.threads), _CHUNK_MAX)
        chunks = [checks[at : at + size] for at in range(0, len(checks), size)]
        return Verification([(chunk, self._pool.submit(_batch_of(chunk))) for chunk in chunks])

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def verify_now(checks: Sequence[SpendCheck]) -> InvalidError | None:
    """Return the error of the first spend that fails, or None, on this thread."""
    first = _batch_of(checks)()
    return None if first is None else first_error(checks[first:])


def _batch_of(checks: Sequence[SpendCheck]) -> Batch:
    return batch([(check.key, check.signature, check.digest, check.is_schnorr) for check in checks])


def lower_thread_priority() -> None:
    """Let this thread run only when no other thread of the process can run.

    Blocks are connected on one thread, which gives up its processor whenever another thread wants
    Python's lock; without the lower priority it would then wait for the verification threads, which
    do not need that lock.
    """
    if sys.platform == "linux":  # on other systems it would affect the whole process
        os.nice(_NICENESS)
