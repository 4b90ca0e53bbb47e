"""Keeps the mempool in the database: loads it at the start, and commits batches between blocks."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from chain.durable_file import replace_file, sync_folder
from chain.ledger.errors import LedgerError
from chain.node.deltas import DeltasFullError
from chain.node.node import ChainStateUpdate, Node, PoolLoaded
from chain.node.pool_file import FILE_BYTES_MAX, WrongPoolNetworkError, pool_checksum
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import counted
from chain.regular_file import TooLongError, read_regular_file
from chain.service.ledger_thread import LedgerThread

log = logging.getLogger(__name__)

POOL_NAME: Final = "mempool.dat"  # of earlier releases; and what savemempool writes
BATCH_S: Final = 0.1  # from a change to the batch that has it ...
BATCH_CHANGES_MAX: Final = 500  # ... or less: a block waits for a batch under way, 4 ms for this
BATCH_BYTES_MAX: Final = 500_000  # or these, and at most one transaction more


class PoolKeeper:
    """Loads the pool on entering and saves it on leaving; `run` saves it soon after each change.

    A batch does not wait for the disk: a kill loses what came in the last BATCH_S, a power cut
    what came since the last block. Each commit of a block has everything before it.
    """

    def __init__(
        self,
        node: Node,
        thread: LedgerThread,
        folder: Path,
        clock: Callable[[], int],
        is_syncing: Callable[[], bool],
    ) -> None:
        """Keep the pool of `node`; while it `is_syncing`, changes wait for the next block."""
        self._node = node
        self._thread = thread
        self._path = folder / POOL_NAME
        self._clock = clock
        self._is_syncing = is_syncing
        self.batch_listeners: list[Callable[[], None]] = []  # after each, on the ledger thread
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        await self._load()
        self._node.listeners.append(self._on_change)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._node.listeners.remove(self._on_change)
        with suppress(LedgerError):  # the thread has reported it: the node ends with it
            await self._thread.call_patiently(self._save_durably)

    async def run(self) -> None:
        """Save after changes until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(BATCH_S)
            self._changed.clear()
            if self._node.unsaved and not self._is_syncing():
                await self._thread.call_patiently(self._save_batch)

    async def save(self) -> Path:
        """Write the pool as it is now to a file, and return where.

        The next start does not load it. Raises OSError: the old file stays.
        """
        async with self._writing:
            data = await asyncio.to_thread(self._node.dump_pool)
            await self._thread.call(lambda: self._note_copy(pool_checksum(data)))
            await asyncio.to_thread(replace_file, self._path, data)
        return self._path.absolute()

    async def _load(self) -> None:
        loaded = await self._thread.call(lambda: self._node.restore_pool(self._clock()))
        kept = counted(loaded.added, "transaction")
        log.info("mempool: %s kept, %d refused", kept, loaded.refused)
        from_file = await self._load_file()
        await self._thread.call(self._save_durably)
        if from_file is not None:  # its transactions are in the database
            read = counted(from_file.added, "transaction")
            log.info("%s: %s read, %d refused", self._path, read, from_file.refused)
            await asyncio.to_thread(self._remove_file)

    async def _load_file(self) -> PoolLoaded | None:
        """Load the file of an earlier release, if there is one."""
        try:
            data = await asyncio.to_thread(read_regular_file, self._path, FILE_BYTES_MAX)
            if pool_checksum(data) == self._node.pool_copy:
                return None
            return await self._thread.call(lambda: self._node.load_pool(data, self._clock()))
        except FileNotFoundError:
            return None
        except TooLongError:
            log.warning("%s is not used: it is too large", self._path)
            return None
        except (DecodeError, WrongPoolNetworkError, DeltasFullError) as error:
            log.warning("%s is not used: %s", self._path, error)
            return None

    def _remove_file(self) -> None:
        try:
            self._path.unlink()
            sync_folder(self._path.parent)
        except OSError as error:
            log.warning("cannot remove %s: %s", self._path, error.strerror)

    def _note_copy(self, checksum: bytes) -> None:
        self._node.pool_copy = checksum
        self._save_durably()

    def _save_durably(self) -> None:
        self._node.save_pool(self._clock(), is_durable=True)

    def _save_batch(self) -> None:
        if self._node.unsaved:
            self._node.save_pool(self._clock(), is_durable=False)
            for listener in self.batch_listeners:
                listener()

    def _on_change(self, _change: ChainStateUpdate) -> None:
        """Note that the pool has changed, or save it at once; called on the ledger thread."""
        node = self._node
        if node.unsaved >= BATCH_CHANGES_MAX or node.unsaved_bytes >= BATCH_BYTES_MAX:
            self._save_batch()
        elif node.unsaved:
            self._loop.call_soon_threadsafe(self._changed.set)
