"""Verify signatures on several threads; the work itself holds no lock of Python's."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from chain.consensus.spend import SignatureCheck, signature_failed
from chain.primitives.numbers import Hash32
from chain.primitives.signature_batch import batch

VERIFIED_MAX: Final = 131_072  # ids in each of two generations, about 100 bytes each


class VerifiedSpends:
    """Ids of such transactions, as a container; the oldest are forgotten.

    A wtxid stands for the whole transaction, its witnesses included, and by the txids in its
    outpoints for the coins that it spends, so whether its signatures are right depends on nothing
    else (Bitcoin: the script execution cache).
    """

    def __init__(self) -> None:
        self._young: set[Hash32] = set()
        self._old: set[Hash32] = set()

    def add(self, wtxid: Hash32) -> None:
        """Remember a transaction. One thread calls this."""
        self._young.add(wtxid)
        if len(self._young) >= VERIFIED_MAX:
            self._old, self._young = self._young, set()

    def clear(self) -> None:
        """Forget all: at another height, another rule might hold."""
        self._young, self._old = set(), set()

    def __contains__(self, wtxid: object) -> bool:
        return wtxid in self._young or wtxid in self._old


_INLINE_MAX: Final = 8  # fewer are done before another thread would have woken up
_NICENESS: Final = 10  # more than the process has; 19 is the greatest
_CHUNK_MAX: Final = 512  # checks that one thread does in one call, about 15 ms


class Verification:
    """Signature checks under way."""

    def __init__(self, chunks: Sequence["Future[int | None]"], *, failed: bool = False) -> None:
        self._chunks = chunks
        self._failed = failed

    def wait(self) -> None:
        """Return when every check has verified. Raises InvalidError: SCRIPT."""
        if not self.finish():
            raise signature_failed()

    def finish(self) -> bool:
        """Return when the checks are done: whether every one verified."""
        results = [chunk.result() for chunk in self._chunks]  # all: none may outlive its block
        return not self._failed and all(refused is None for refused in results)


class Verifier:
    """A pool of threads for signature checks; the outcome does not depend on their number."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._pool = (
            ThreadPoolExecutor(self.threads, "verify", initializer=lower_thread_priority)
            if threads > 1
            else None
        )

    def start(self, checks: Sequence[SignatureCheck]) -> Verification:
        """Begin to verify; the caller has other work until it calls `wait`."""
        triples = [(check.key, check.signature, check.digest) for check in checks]
        if self._pool is None or len(checks) <= _INLINE_MAX:
            return Verification((), failed=batch(triples)() is not None)
        size = min(-(-len(checks) // self.threads), _CHUNK_MAX)
        chunks = [triples[at : at + size] for at in range(0, len(checks), size)]
        return Verification([self._pool.submit(batch(chunk)) for chunk in chunks])

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def lower_thread_priority() -> None:
    """Let this thread run only where no other of the process would.

    Blocks are connected on one thread, which gives up its processor each time that another wants
    Python's lock; it would then wait for these threads, which need no lock, to have had their turn.
    """
    if sys.platform == "linux":  # elsewhere it would be the whole process
        os.nice(_NICENESS)
