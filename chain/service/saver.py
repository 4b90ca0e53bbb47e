"""Saves a file after changes, and retries for as long as the disk is full."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chain.durable_file import replace_file

log = logging.getLogger(__name__)

RETRY_S_MIN: Final = 1.0  # before a failed save is retried; doubled each time
RETRY_S_MAX: Final = 60.0


class Saver:
    """Saves one file after each change, with retries until a save succeeds.

    The first failure is logged, and so is the first success after it.
    """

    def __init__(
        self,
        path: Path,
        prepare: Callable[[], Callable[[], bytes]],
        *,
        after_s: float = 0.0,
        share_max: float = 1.0,
    ) -> None:
        """Save the bytes of `prepare()()`: the outer call on the event loop, the inner on a thread.

        A change is saved `after_s` later; saves take at most `share_max` of the time.
        """
        self._path = path
        self._prepare = prepare
        self._after_s = after_s
        self._share_max = share_max
        self._changed = asyncio.Event()
        self._saving = threading.Lock()
        self._is_failing = False

    def note_change(self) -> None:
        """Schedule a save; called on the event loop."""
        self._changed.set()

    async def run(self) -> None:
        """Save after changes until cancelled."""
        retry_s = RETRY_S_MIN
        while True:
            await self._changed.wait()
            await asyncio.sleep(self._after_s)
            self._changed.clear()
            started_s = time.monotonic()
            if await asyncio.to_thread(self._save, self._prepare()):
                retry_s = RETRY_S_MIN
                took_s = time.monotonic() - started_s
                await asyncio.sleep(took_s / self._share_max - took_s)
            else:
                self._changed.set()
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, RETRY_S_MAX)

    def save_now(self) -> None:
        """Save on this thread."""
        self._save(self._prepare())

    def _save(self, content: Callable[[], bytes]) -> bool:
        """Return whether the file was saved."""
        with self._saving:  # a thread of `run` outlives its cancellation
            try:
                replace_file(self._path, content())
            except OSError as error:
                if not self._is_failing:
                    log.warning("cannot save %s: %s", self._path, error.strerror or error)
                self._is_failing = True
                return False
            if self._is_failing:
                log.info("%s is saved again", self._path)
            self._is_failing = False
            return True
