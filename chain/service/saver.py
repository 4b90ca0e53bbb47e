"""Keeps a file in step with what it is made of, through disks that are full for a while."""

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

RETRY_S_MIN: Final = 1.0  # before a save that failed is tried again; doubled each time
RETRY_S_MAX: Final = 60.0


class Saver:
    """Saves one file after each change, and again and again until that has succeeded.

    A failure is logged once, and once more when the file could be saved after all.
    """

    def __init__(
        self,
        path: Path,
        prepare: Callable[[], Callable[[], bytes]],
        *,
        after_s: float = 0.0,
        share_max: float = 1.0,
    ) -> None:
        """Save what `prepare` gives: called on the event loop, what it returns on another thread.

        A change is saved `after_s` later, and saving takes at most this share of the time.
        """
        self._path = path
        self._prepare = prepare
        self._after_s = after_s
        self._share_max = share_max
        self._changed = asyncio.Event()
        self._saving = threading.Lock()
        self._is_failing = False

    def note_change(self) -> None:
        """Have the file saved; called on the event loop."""
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
        """Save once more, for the last time, on this thread."""
        self._save(self._prepare())

    def _save(self, content: Callable[[], bytes]) -> bool:
        """Tell whether it could be saved."""
        with self._saving:  # a save that `run` began may go on after that was cancelled
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
    """Replace a file, so that a crash leaves the old one or the new one; nobody else may read it.

    Raises OSError: the old one is as it was, and nothing is left of the new one.
    """
    temporary = path.with_name(f"{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    try:
        with open(os.open(temporary, flags, 0o600), "wb") as file:  # noqa: PTH123
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()  # what it holds may be the space that is missing
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name last; not every system can sync a folder, and then nothing is lost."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
