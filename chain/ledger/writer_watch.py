"""Looks for another database that was made the ledger's while this one is being written."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Final

from chain.ledger.errors import FencedError

LOOK_S: Final = 5.0


class WriterWatch:
    """Asks every LOOK_S, on its own thread; its result is an error, or it was closed.

    A primary that comes back after a standby was promoted still holds its own epoch, so that its
    old node would go on. Only the other servers can tell.
    """

    def __init__(self, look: Callable[[], str | None]) -> None:
        """Start to ask `look`, which names the other database."""
        self._look = look
        self._stopped = Event()
        self._thread = ThreadPoolExecutor(1, "watch")
        self.result: Future[None] = self._thread.submit(self._run)

    @property
    def failure(self) -> Exception | None:
        """The error that was found, or None if there is none so far."""
        error = self.result.exception() if self.result.done() else None
        return error if isinstance(error, Exception) else None

    def close(self) -> None:
        """Stop, and wait until the thread has ended."""
        self._stopped.set()
        self._thread.shutdown()

    def _run(self) -> None:
        """Raise FencedError as soon as there is another database."""
        while not self._stopped.wait(LOOK_S):
            other = self._look()
            if other is not None:
                raise FencedError(f"the ledger was moved to another server: {other}")
