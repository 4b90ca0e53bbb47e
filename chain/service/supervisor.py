"""The supervisor of the process's long-lived tasks and threads: every unexpected end is noticed."""

import asyncio
import errno
import logging
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any, Final

from chain.errors import ShownError
from chain.ledger.errors import LedgerError

log = logging.getLogger(__name__)

Job = Coroutine[Any, Any, None]
FATAL: Final = (LedgerError, AssertionError, MemoryError)  # the process must end
PAUSE_S_MIN: Final = 1.0  # before a task is restarted; doubled each time ...
PAUSE_S_MAX: Final = 60.0
LASTING_S: Final = 60.0  # ... until it has run this long
# Errors of accept(). The listeners stay below the process's limit, but the system has limits too.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class EndedError(ShownError):
    """A task that should run as long as the process has ended."""


class Supervisor:
    """The owner of the process's long-lived tasks; lives on its event loop."""

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        """Call `fail` on the loop, perhaps repeatedly, when the process must end."""
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._reported: list[BaseException] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Catch errors of loop callbacks, forgotten tasks and threads inside the block."""
        before = threading.excepthook
        threading.excepthook = self._on_thread_end
        self._loop.set_exception_handler(self._on_loop_error)
        try:
            yield
        finally:
            self._loop.set_exception_handler(None)
            threading.excepthook = before

    @asynccontextmanager
    async def required(self, name: str, job: Job) -> AsyncIterator[None]:
        """Run a job inside the block and cancel it at the end; its own end ends the process."""

        def on_end(task: asyncio.Task[None]) -> None:
            self.failed(name, _error_of(task) or EndedError(f"{name} ended"))

        task = asyncio.create_task(job, name=name)
        task.add_done_callback(on_end)
        try:
            yield
        finally:
            task.remove_done_callback(on_end)
            task.cancel()
            await asyncio.wait({task})
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self.failed(name, error)

    def restarting(self, name: str, run: Callable[[], Job]) -> AbstractAsyncContextManager[None]:
        """Run `restarted(name, run)` inside the block."""
        return self.required(name, restarted(name, run))

    def failed(self, name: str, error: BaseException) -> None:
        """Log what ended in one line, a bug with its traceback too, and end the process."""
        if error in self._reported:
            return
        self._reported.append(error)
        cause = _first(error)
        is_bug = not isinstance(cause, ShownError | OSError)
        if not isinstance(cause, LedgerError):  # reported once, as the process's last line
            where = error if is_bug else None
            log.critical("%s failed: %s", name, described(cause), exc_info=where)
        self._fail(cause)

    def _on_thread_end(self, args: threading.ExceptHookArgs) -> None:
        name = f"thread {args.thread.name if args.thread is not None else '?'}"
        error = args.exc_value or EndedError(f"{name} ended")
        if not isinstance(error, SystemExit):
            with suppress(RuntimeError):  # the loop is closed, so the process ends anyway
                self._loop.call_soon_threadsafe(self.failed, name, error)

    def _on_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error of a callback or of a task without a waiter."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _EXHAUSTED and "socket" in context:
            why, once = error.strerror, {"per_minute_max": 1}
            log.warning("cannot accept connections just now: %s", why, extra=once)
        elif isinstance(error, FATAL):
            self.failed("a callback", error)
        else:
            log.error("%s", context["message"], exc_info=error)


async def restarted(name: str, run: Callable[[], Job]) -> None:
    """Run a job that the process can miss for a while, and restart it when it ends.

    `run` makes the job. Each end is logged in one line, unless it repeats the last one, and the
    next start follows after a pause that doubles. Raises errors that are FATAL, and CancelledError.
    """
    loop = asyncio.get_running_loop()
    pause_s, logged = PAUSE_S_MIN, ""
    while True:
        started_s = loop.time()
        task = asyncio.create_task(run(), name=name)
        try:
            await asyncio.wait({task})
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        error = _error_of(task)
        if isinstance(error, FATAL):
            raise error
        if loop.time() - started_s > LASTING_S:
            pause_s, logged = PAUSE_S_MIN, ""
        why = f"failed: {described(error)}" if error is not None else "ended"
        if why != logged:
            log.warning("%s %s; it starts again within %d s", name, why, PAUSE_S_MAX)
        logged = why
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)


def described(error: BaseException) -> str:
    """Return one line about an error; for a bug, with its type and place."""
    lines = str(error).splitlines()
    text = lines[0] if lines else type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ShownError | OSError):
        return text
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}"


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    """Return why a task ended; None if it returned."""
    return EndedError("it was cancelled") if task.cancelled() else task.exception()


def _first(error: BaseException) -> BaseException:
    """Return the first error of a group, or the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
