"""Saves a file after changes, and retries for as long as the disk is full."""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

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

        A change is saved `after_s` later; saving takes at most `share_max` of the time.
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

    def save_or_raise(self) -> None:
        """Save on this thread. Raises OSError: the old file is unchanged."""
        content = self._prepare()()
        with self._saving:
            replace_file(self._path, content)

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


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file atomically and durably, with mode 0600.

    Raises OSError: the old file is unchanged, and no temporary file is left.
    """
    temporary = path.with_name(f"{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    flags |= getattr(os, "O_NONBLOCK", 0)  # a pipe there is an error, not a wait
    try:
        with open(os.open(temporary, flags, 0o600), "wb") as file:  # noqa: PTH123
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()  # it takes up space on a disk that may be full
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename durable; skipped on systems that cannot sync a folder."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
