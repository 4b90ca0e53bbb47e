"""The ledger thread, the only one that uses the ledger and the mempool."""

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from enum import IntEnum
from itertools import count
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")

QUEUED_CALLS_MAX: Final = 1024
BUSY_PAUSE_S: Final = 0.05  # between two attempts of `call_patiently`


class LedgerBusyError(Exception):
    """The ledger's queue is full; nothing was queued."""


class Caller(Protocol):
    """Runs a callable on the ledger thread; returns its result or raises its error."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]:
        """Queue the callable and wait for it."""


class _Priority(IntEnum):
    """Which of the queued calls is the next; those of one priority are made in order."""

    NORMAL = 0
    WHEN_IDLE = 1
    STOP = 2


class LedgerThread:
    """Runs callables one at a time on its own thread."""

    def __init__(self, on_error: Callable[[BaseException], None] | None = None) -> None:
        """Start the thread; `on_error` is called on it with whatever a call raises."""
        self._on_error = on_error
        # Priority, number and what to call; the numbers differ, so that no two are compared.
        self._queue: queue.PriorityQueue[
            tuple[_Priority, int, tuple[Callable[[], Any], Future[Any]] | None]
        ] = queue.PriorityQueue(QUEUED_CALLS_MAX)
        self._numbers = count()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    @property
    def queued_calls(self) -> int:
        """The number of queued calls."""
        return self._queue.qsize()

    def submit(
        self, function: Callable[[], T], priority: _Priority = _Priority.NORMAL
    ) -> "Future[T]":
        """Queue `function` and return the future of its result. Raises LedgerBusyError."""
        future: Future[T] = Future()
        try:
            self._queue.put_nowait((priority, next(self._numbers), (function, future)))
        except queue.Full:
            raise LedgerBusyError(f"{QUEUED_CALLS_MAX} calls wait for the ledger") from None
        return future

    async def call(self, function: Callable[[], T]) -> T:
        """Run `function` on the ledger thread and return what it returns, or raise what it raises.

        Cancelling the caller does not stop a call that has begun.
        """
        return await asyncio.wrap_future(self.submit(function))

    async def call_when_idle(self, function: Callable[[], T]) -> T:
        """Do as `call`, but only when no other call is queued: blocks come before what may wait."""
        return await asyncio.wrap_future(self.submit(function, _Priority.WHEN_IDLE))

    async def call_patiently(self, function: Callable[[], T]) -> T:
        """Do as `call`, but wait for a place in the queue; for calls that must not be lost."""
        while True:
            try:
                future = self.submit(function)
            except LedgerBusyError:
                await asyncio.sleep(BUSY_PAUSE_S)
            else:
                return await asyncio.wrap_future(future)

    def stop(self) -> None:
        """Finish the calls that are queued, then end the thread."""
        self._queue.put((_Priority.STOP, next(self._numbers), None))
        self._thread.join()

    def _run(self) -> None:
        while (job := self._queue.get()[-1]) is not None:
            function, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function()
            # Whatever it is, SystemExit too: it belongs to the caller, who would wait forever if
            # it ended this thread instead.
            except BaseException as error:  # noqa: BLE001 - nothing is swallowed
                future.set_exception(error)
                if self._on_error is not None:
                    self._on_error(error)
            else:
                future.set_result(result)
