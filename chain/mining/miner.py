"""Mining threads: they search the job they were given until it is solved, replaced or stopped."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from chain.mining.kernel import NONCES, Kernel
from chain.primitives.block import Block, Header

EXTRANONCES: Final = 1 << 64
SLICE_S: Final = 0.02  # aim for the duration of a slice; half to twice that in practice
SLICE_NONCES_MIN: Final = 1 << 8
SLICE_NONCES_MAX: Final = 1 << 26


class Job(Protocol):
    """A block to be solved, such as a template. Immutable: many threads read it."""

    @property
    def target(self) -> int:
        """The highest block id allowed, as a number."""

    @property
    def time_min(self) -> int:
        """The earliest time allowed in the header."""

    def header(self, extranonce: int, time: int) -> Header:
        """Return the header over the coinbase with this extranonce (64 bits), nonce 0."""

    def block(self, header: Header, extranonce: int) -> Block:
        """Return the block of a header from `header` with its nonce set."""


@dataclass(frozen=True, slots=True)
class _Task:
    """A job with one thread's extranonce."""

    job: Job
    number: int  # counts set_job calls, to detect a replaced job
    extranonce: int  # used by this thread only


class Miner:
    """Searches on its own threads. At most one block is found for each job."""

    def __init__(
        self,
        kernel: Kernel,
        threads: int,
        on_found: Callable[[Block], None],
        *,
        clock: Callable[[], int],
        first_extranonce: int,
    ) -> None:
        """Start the threads, idle.

        `on_found` is called on one of them; `clock` gives unix seconds for header times.
        `first_extranonce` should differ between machines that mine to the same script: otherwise
        they search the same headers.
        """
        self._kernel = kernel
        self._on_found = on_found
        self._clock = clock
        self._extranonce = first_extranonce % EXTRANONCES
        self._changed = threading.Condition()
        self._job: Job | None = None
        self._number = 0
        self._stopped = False
        self._hashes = [0] * threads  # each written by its own thread only
        self._threads = [
            threading.Thread(target=self._run, args=(index,), name=f"miner-{index}", daemon=True)
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def hashes(self) -> int:
        """The number of nonces tried since the start."""
        return sum(self._hashes)

    def set_job(self, job: Job | None) -> None:
        """Replace the current job; None: stop searching."""
        with self._changed:
            self._job = job
            self._number += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """End the threads, at the end of their slices of about SLICE_S, and wait for them.

        Must not be called from `on_found`.
        """
        with self._changed:
            self._stopped = True
            self._job = None
            self._number += 1
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self, index: int) -> None:
        slice_nonces = SLICE_NONCES_MIN
        while (task := self._next_task()) is not None:
            nonce = 0
            while nonce < NONCES and task.number == self._number:
                count = min(slice_nonces, NONCES - nonce)
                started = time.perf_counter()
                self._search(index, task, nonce, count)
                slice_nonces = _next_slice(slice_nonces, time.perf_counter() - started)
                nonce += count

    def _next_task(self) -> _Task | None:
        """Wait for a job; None if the miner was stopped."""
        with self._changed:
            while self._job is None and not self._stopped:
                self._changed.wait()
            if self._job is None:
                return None
            self._extranonce = (self._extranonce + 1) % EXTRANONCES
            return _Task(self._job, self._number, self._extranonce)

    def _search(self, index: int, task: _Task, start: int, count: int) -> None:
        """Search one slice with the current time in the header, and report a found block."""
        when = max(self._clock(), task.job.time_min)
        header = task.job.header(task.extranonce, when)
        nonce = self._kernel.search(header.encode(), task.job.target, start, count)
        self._hashes[index] += count if nonce is None else nonce - start + 1
        if nonce is not None and self._finish(task):
            solved = Header(
                header.version,
                header.previous,
                header.merkle_root,
                header.time,
                header.bits,
                nonce,
            )
            self._on_found(task.job.block(solved, task.extranonce))

    def _finish(self, task: _Task) -> bool:
        """Withdraw the solved job from all threads; False if it was already replaced."""
        with self._changed:
            if task.number != self._number:
                return False
            self._job = None
            self._number += 1
            return True


def _next_slice(nonces: int, took_s: float) -> int:
    """Return the number of nonces for about SLICE_S, from the time of the last slice."""
    if took_s > 2 * SLICE_S:
        return max(nonces // 2, SLICE_NONCES_MIN)
    if took_s < SLICE_S / 2:
        return min(nonces * 2, SLICE_NONCES_MAX)
    return nonces
