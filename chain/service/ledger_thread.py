"""The ledger thread, the only one that uses the ledger and the mempool."""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Final, Protocol, TypeAlias, TypeVar

T = TypeVar("T")

_Call: TypeAlias = tuple[Callable[[], Any], Future[Any]]

QUEUED_CALLS_MAX: Final = 1024
IDLE_CALLS_MAX: Final = 512  # of them, so that blocks find a place whatever clients send
OVERTAKING_MAX: Final = 64  # calls made before one that waits for idleness: none waits for ever
BUSY_PAUSE_S: Final = 0.05  # between two attempts of `call_patiently`


class LedgerBusyError(Exception):
    """The ledger's queue is full; nothing was queued."""


class Caller(Protocol):
    """Runs a callable on the ledger thread; returns its result or raises its error."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]:
        """Queue the callable and wait for it."""


class LedgerThread:
    """Runs callables one at a time on its own thread."""

    def __init__(self, on_error: Callable[[BaseException], None] | None = None) -> None:
        """Start the thread; `on_error` is called on it with whatever a call raises."""
        self._on_error = on_error
        self._changed = threading.Condition()  # guards what follows
        self._calls: deque[_Call] = deque()
        self._idle_calls: deque[_Call] = deque()  # made when `_calls` is empty
        self._overtaking = 0  # calls made since the first of `_idle_calls` could have been
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    @property
    def queued_calls(self) -> int:
        """The number of queued calls."""
        return len(self._calls) + len(self._idle_calls)

    def submit(self, function: Callable[[], T], *, when_idle: bool = False) -> "Future[T]":
        """Queue `function` and return the future of its result. Raises LedgerBusyError."""
        future: Future[T] = Future()
        with self._changed:
            if self.queued_calls >= QUEUED_CALLS_MAX:
                raise LedgerBusyError(f"{QUEUED_CALLS_MAX} calls wait for the ledger")
            if when_idle and len(self._idle_calls) >= IDLE_CALLS_MAX:
                raise LedgerBusyError(f"{IDLE_CALLS_MAX} calls wait for the ledger to be idle")
            (self._idle_calls if when_idle else self._calls).append((function, future))
            self._changed.notify()
        return future

    async def call(self, function: Callable[[], T]) -> T:
        """Run `function` on the ledger thread and return what it returns, or raise what it raises.

        Cancelling the caller does not stop a call that has begun.
        """
        return await asyncio.wrap_future(self.submit(function))

    async def call_when_idle(self, function: Callable[[], T]) -> T:
        """Do as `call`, but when no other call is queued: blocks come before what may wait.

        It is made after OVERTAKING_MAX others at the latest, so that peers cannot keep it waiting.
        """
        return await asyncio.wrap_future(self.submit(function, when_idle=True))

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
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (job := self._next()) is not None:
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

    def _next(self) -> _Call | None:
        """Wait for the next call; None after the last one."""
        with self._changed:
            self._changed.wait_for(lambda: self.queued_calls or self._is_stopping)
            if self._idle_calls and (not self._calls or self._overtaking >= OVERTAKING_MAX):
                self._overtaking = 0
                return self._idle_calls.popleft()
            if not self._calls:
                return None
            self._overtaking = self._overtaking + 1 if self._idle_calls else 0
            return self._calls.popleft()
