"""Keeps the mempool in mempool.dat across restarts and power failures."""

import asyncio
import logging
import time
from pathlib import Path
from typing import Final, Self

from chain.ledger.errors import WrongNetworkError
from chain.node.node import ChainStateUpdate, Node
from chain.primitives.encoding import DecodeError
from chain.regular_file import TooLongError, read_regular_file
from chain.service.ledger_thread import LedgerThread
from chain.service.saver import Saver

log = logging.getLogger(__name__)

POOL_NAME: Final = "mempool.dat"
POOL_FILE_BYTES_MAX: Final = 400_000_000
SAVE_AFTER_S: Final = 1.0  # delay from a change to its save ...
SAVE_SHARE_MAX: Final = 0.05  # ... or longer: saving takes at most this share of the time


class PoolKeeper:
    """Loads the pool on entering and saves it on leaving; `run` saves it soon after each change."""

    def __init__(self, node: Node, thread: LedgerThread, folder: Path) -> None:
        self._node = node
        self._thread = thread
        self._path = folder / POOL_NAME
        self._saver = Saver(
            self._path, lambda: node.dump_pool, after_s=SAVE_AFTER_S, share_max=SAVE_SHARE_MAX
        )
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        await self._load()
        self._node.listeners.append(self._on_change)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._node.listeners.remove(self._on_change)
        await asyncio.to_thread(self._saver.save_now)

    async def run(self) -> None:
        """Save after changes until cancelled."""
        await self._saver.run()

    async def save(self) -> Path:
        """Save the pool as it is now, and return where. Raises OSError: the old file stays."""
        await asyncio.to_thread(self._saver.save_or_raise)
        return self._path.absolute()

    async def _load(self) -> None:
        try:
            data = await asyncio.to_thread(read_regular_file, self._path, POOL_FILE_BYTES_MAX)
            now = int(time.time())
            loaded = await self._thread.call(lambda: self._node.load_pool(data, now))
        except FileNotFoundError:
            return
        except TooLongError:
            log.warning("%s is too large; starting with an empty mempool", self._path)
            return
        except (DecodeError, WrongNetworkError) as error:
            log.warning("%s is not used: %s; starting with an empty mempool", self._path, error)
            return
        log.info("mempool: %d transactions kept, %d refused", loaded.added, loaded.refused)

    def _on_change(self, change: ChainStateUpdate) -> None:
        """Note that the pool has changed; called on the ledger thread."""
        if change.added or change.removed or change.disconnected or change.has_other_fees:
            self._loop.call_soon_threadsafe(self._saver.note_change)
