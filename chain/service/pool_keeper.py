"""Keeps the mempool across restarts, and across a power switch, in mempool.dat."""

import asyncio
import logging
import os
import threading
import time
from pathlib import Path
from typing import Final, Self

from chain.ledger.errors import WrongNetworkError
from chain.node.node import Change, Node
from chain.primitives.encoding import DecodeError
from chain.service.ledger_thread import LedgerThread

log = logging.getLogger(__name__)

POOL_NAME: Final = "mempool.dat"
POOL_FILE_BYTES_MAX: Final = 400_000_000
SAVE_AFTER_S: Final = 1.0  # a change is on disk about so much later ...
SAVE_SHARE_MAX: Final = 0.05  # ... or later still: saving takes at most this share of the time


class PoolKeeper:
    """Loads the pool on entering, saves it soon after each change and on leaving."""

    def __init__(self, node: Node, thread: LedgerThread, folder: Path) -> None:
        self._node = node
        self._thread = thread
        self._path = folder / POOL_NAME
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._one_at_a_time = threading.Lock()  # or two would write one file
        self._saving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._load()
        self._node.listeners.append(self._on_change)
        self._saving = asyncio.create_task(self._save_after_changes())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._node.listeners.remove(self._on_change)
        assert self._saving is not None, "entered before"
        self._saving.cancel()
        await asyncio.wait({self._saving})
        await asyncio.to_thread(self._save)

    async def save(self) -> Path:
        """Save the pool as it is now, and return where. Raises OSError: the old file stays."""
        await asyncio.to_thread(self._save)
        return self._path.absolute()

    async def _load(self) -> None:
        try:
            if self._path.stat().st_size > POOL_FILE_BYTES_MAX:
                log.warning("%s is too large; starting with an empty mempool", self._path)
                return
            data = self._path.read_bytes()
            now = int(time.time())
            loaded = await self._thread.call(lambda: self._node.load_pool(data, now))
        except FileNotFoundError:
            return
        except (DecodeError, WrongNetworkError) as error:
            log.warning("%s is not used: %s; starting with an empty mempool", self._path, error)
            return
        log.info("mempool: %d transactions kept, %d refused", loaded.added, loaded.refused)

    async def _save_after_changes(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(SAVE_AFTER_S)
            self._changed.clear()
            started = time.monotonic()
            await asyncio.to_thread(self._save)
            await asyncio.sleep((time.monotonic() - started) / SAVE_SHARE_MAX)

    def _save(self) -> None:
        """Replace the file, so that a crash leaves the old one or the new one."""
        temporary = self._path.with_suffix(".new")
        with self._one_at_a_time:
            with temporary.open("wb") as file:
                file.write(self._node.dump_pool())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)

    def _on_change(self, change: Change) -> None:
        """Note that the pool is another; called on the ledger thread."""
        if change.added or change.removed or change.disconnected or change.has_other_fees:
            self._loop.call_soon_threadsafe(self._changed.set)
