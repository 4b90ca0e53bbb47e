"""Signature verification on several threads; the work itself does not hold Python's lock."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Final

from chain.consensus.errors import InvalidError
from chain.consensus.p2wpkh_block import spend_records, verify_now
from chain.consensus.spend import SpendCheck, first_error
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
_GATHERED_MIN: Final = 16  # checks of small blocks that are verified together
_NICENESS: Final = 10  # higher than the process's own; 19 is the maximum
_CHUNK_MAX: Final = 512  # checks per call of a thread, about 15 ms


class _Group:
    """Checks, of one block or of several, that are verified in one call."""

    def __init__(self, checks: Sequence[SpendCheck]) -> None:
        self.checks = checks
        self._verified: Future[int | None] | None = None

    @property
    def is_started(self) -> bool:
        """Whether no check may be added any longer."""
        return self._verified is not None

    def start(self, pool: ThreadPoolExecutor | None) -> None:
        """Verify the checks on a thread of the pool; without one on this thread, now."""
        verify = batch(spend_records(self.checks))
        if pool is not None:
            self._verified = pool.submit(verify)
            return
        self._verified = Future()
        self._verified.set_result(verify())

    def first_refused(self) -> int | None:
        """Wait for the index of the first check that is refused, or None."""
        if self._verified is None:
            self.start(None)
        assert self._verified is not None, "it was started"
        return self._verified.result()


_Part = tuple[_Group, int, int]  # a group, and which of its checks: first and end


class Verification:
    """Pending signature checks."""

    def __init__(self, parts: Sequence[_Part], error: InvalidError | None = None) -> None:
        self._parts = parts
        self._error = error

    def wait(self) -> None:
        """Wait until every check has succeeded. Raises InvalidError: SCRIPT."""
        error = self.finish()
        if error is not None:
            raise error

    def finish(self) -> InvalidError | None:
        """Wait until the checks are done; return the error of the first spend that fails, or None.

        A refused check fails its spend only if that fails when it is run again; else the rest of
        the group, which was not looked at, is verified here.
        """
        for (group, start, end), first in zip(self._parts, self.refused(), strict=True):
            if first is not None and self._error is None:
                self._error = first_error(group.checks[max(first, start) : end])
        return self._error

    def refused(self) -> list[int | None]:
        """Wait until no check is running; return the first of each group that is refused, if any.

        Enough for a block that is dropped anyway: nothing is verified again.
        """
        return [group.first_refused() for group, _, _ in self._parts]


class Verifier:
    """A pool of threads for signature checks; the result does not depend on their number."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._pool = (
            ThreadPoolExecutor(self.threads, "verify", initializer=lower_thread_priority)
            if threads > 1
            else None
        )
        self._gathered = _Group([])

    def start(self, checks: Sequence[SpendCheck]) -> Verification:
        """Start verifying; the caller may do other work until it calls `wait`."""
        if self._pool is None or len(checks) <= _INLINE_MAX:
            return Verification((), verify_now(checks))
        size = min(-(-len(checks) // self.threads), _CHUNK_MAX)
        groups = [_Group(checks[at : at + size]) for at in range(0, len(checks), size)]
        for group in groups:
            group.start(self._pool)
        return Verification([(group, 0, len(group.checks)) for group in groups])

    def gather(self, checks: Sequence[SpendCheck]) -> Verification:
        """Verify few checks later, together with those of other blocks; many at once.

        They are verified once there are enough of them, on `start_gathered`, or when one of their
        verifications is waited for.
        """
        if len(checks) >= _GATHERED_MIN:
            return self.start(checks)
        if not checks:
            return Verification(())
        if self._gathered.is_started:
            self._gathered = _Group([])
        group, start = self._gathered, len(self._gathered.checks)
        group.checks = [*group.checks, *checks]
        end = len(group.checks)
        if end >= _GATHERED_MIN:
            group.start(self._pool)
        return Verification([(group, start, end)])

    def start_run(self, checks: Sequence[SpendCheck], ends: Sequence[int]) -> list[Verification]:
        """Start verifying the checks of several blocks, which end at `ends`, one for each."""
        starts = range(0, len(checks), _CHUNK_MAX)
        groups = [(start, _Group(checks[start : start + _CHUNK_MAX])) for start in starts]
        for _, group in groups:
            group.start(self._pool if len(checks) > _INLINE_MAX else None)
        return [Verification(_parts(groups, *bounds)) for bounds in pairwise((0, *ends))]

    def start_gathered(self) -> None:
        """Start what was gathered: only then may another thread wait for it."""
        if not self._gathered.is_started:
            self._gathered.start(self._pool)

    def run_beside(self, work: Callable[[], None]) -> None:
        """Do other work on one of the threads, if there are any."""
        if self._pool is not None:
            self._pool.submit(work)

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _parts(groups: Sequence[tuple[int, _Group]], start: int, end: int) -> list[_Part]:
    """Return where the checks from `start` up to `end` are; each group has its own start."""
    parts = []
    for first, group in groups if start < end else ():
        own_start, own_end = max(start - first, 0), min(end - first, len(group.checks))
        if own_start < own_end:
            parts.append((group, own_start, own_end))
    return parts


def lower_thread_priority() -> None:
    """Let this thread run only when no other thread of the process can run.

    Blocks are connected on one thread, which gives up its processor whenever another thread wants
    Python's lock; without the lower priority it would then wait for the verification threads, which
    do not need that lock.
    """
    if sys.platform == "linux":  # on other systems it would affect the whole process
        os.nice(_NICENESS)
