"""Signature verification on several threads; the work itself does not hold Python's lock."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from chain.consensus.spend import SignatureCheck, signature_failed
from chain.primitives.recent import Recent
from chain.primitives.signature_batch import batch

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


class Verification:
    """Pending signature checks."""

    def __init__(self, chunks: Sequence["Future[int | None]"], *, failed: bool = False) -> None:
        self._chunks = chunks
        self._failed = failed

    def wait(self) -> None:
        """Wait until every check has succeeded. Raises InvalidError: SCRIPT."""
        if not self.finish():
            raise signature_failed()

    def finish(self) -> bool:
        """Wait until the checks are done; return whether every one succeeded."""
        results = [chunk.result() for chunk in self._chunks]  # all: none may outlive its block
        return not self._failed and all(refused is None for refused in results)


class Verifier:
    """A pool of threads for signature checks; the result does not depend on their number."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._pool = (
            ThreadPoolExecutor(self.threads, "verify", initializer=lower_thread_priority)
            if threads > 1
            else None
        )

    def start(self, checks: Sequence[SignatureCheck]) -> Verification:
        """Start verifying; the caller may do other work until it calls `wait`."""
        triples = [(check.key, check.signature, check.digest) for check in checks]
        if self._pool is None or len(checks) <= _INLINE_MAX:
            return Verification((), failed=batch(triples)() is not None)
        size = min(-(-len(checks) // self.threads), _CHUNK_MAX)
        chunks = [triples[at : at + size] for at in range(0, len(checks), size)]
        return Verification([self._pool.submit(batch(chunk)) for chunk in chunks])

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def lower_thread_priority() -> None:
    """Let this thread run only when no other thread of the process can run.

    Blocks are connected on one thread, which gives up its processor whenever another thread wants
    Python's lock; without the lower priority it would then wait for the verification threads, which
    do not need that lock.
    """
    if sys.platform == "linux":  # on other systems it would affect the whole process
        os.nice(_NICENESS)
