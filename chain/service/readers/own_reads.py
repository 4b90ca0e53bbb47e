"""What a node's own API reads: committed versions, followed in the node's database as others do.

The node's mempool changes in place while it is read, and what it has before a commit is lost if the
process is killed; peers and mining use it all the same. So the API has a follower of its own, which
shares headers and transactions with the node, and a change is answered once it can be read.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from chain.consensus.entry import BlockTreeEntry
from chain.ledger.db.node_state import Version
from chain.ledger.errors import LedgerError, UnavailableError
from chain.ledger.tree import HeaderTree
from chain.node.node import ChainStateUpdate
from chain.primitives.numbers import Hash32, id_text
from chain.service.api.context import ApiContext
from chain.service.api.events import LISTENERS_MAX
from chain.service.api.state.port import WAIT_S_MAX, SnapshotUnavailableError
from chain.service.api.state.version_header import note_version
from chain.service.readers.follower import Follower
from chain.service.readers.following import Following
from chain.service.readers.journal_events import JournalEvents

POLL_S: Final = 1.0  # in case that a commit is not announced
Commit = Callable[[], Awaitable[Version]]  # commits what is not committed; returns the version


class TreeHeaders:
    """The headers of the node in this process: a HeadersPort."""

    def __init__(self, tree: HeaderTree) -> None:
        self._tree = tree

    def get(self, _connection: Connection, block_id: Hash32) -> BlockTreeEntry | None:
        return self._tree.get(block_id)

    def tip(self, _connection: Connection, block_id: Hash32) -> BlockTreeEntry:
        """Return the tip of a snapshot. Raises UnavailableError: it was forgotten since."""
        entry = self._tree.get(block_id)
        if entry is None:
            raise UnavailableError(f"the block {id_text(block_id)} is not in the best chain now")
        return entry


class OwnReads:
    """The state that the API of a node in this process reads; for the event loop."""

    def __init__(self, context: ApiContext, commit: Commit) -> None:
        """Follow the node of `context`; `commit` is called before a change is answered."""
        live = context.live
        assert live is not None, "the node is in this process"
        self._context = context
        self._node = live.node
        self._commit = commit
        self.state = Follower(
            live.reader,
            context.params,
            headers=TreeHeaders(live.tree),
            known=lambda: live.node.view.pool,
        )
        self.following = Following(self.state, POLL_S)
        self.events = JournalEvents(self.state, LISTENERS_MAX)
        self.following.listeners.append(self.events.publish)
        self._loop = asyncio.get_running_loop()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Read the present version, and have the next ones read soon after each block."""
        await self._commit()
        await asyncio.to_thread(self.state.open)
        await asyncio.to_thread(self.events.publish)  # subscriptions begin here
        self._node.listeners.append(self._on_change)
        try:
            yield
        finally:
            self._node.listeners.remove(self._on_change)

    @property
    def context(self) -> ApiContext:
        """The context of an API that reads from here."""
        return replace(
            self._context,
            state=self.state,
            events=self.events,
            wait_for_version=self.following.wait_for,
            commit_changes=self.commit_changes,
        )

    def on_commit(self) -> None:
        """Have what was committed read at once, from any thread."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.following.look_soon)

    async def commit_changes(self) -> None:
        """Commit what was changed, read it and publish it, for WAIT_S_MAX at most.

        Clients that wait for versions cannot hold this up, as they have places of their own.
        Raises LedgerError: it could not be committed.
        """
        note_version(await self._commit())
        # It is committed, so the reply stands; `following` meets a lasting error, too.
        with suppress(LedgerError, SnapshotUnavailableError, TimeoutError):
            async with asyncio.timeout(WAIT_S_MAX):
                await asyncio.to_thread(self._read)

    def _read(self) -> None:
        with self.state.snapshot():
            pass
        self.events.publish()  # so that who subscribes after the reply begins after the change

    def _on_change(self, change: ChainStateUpdate) -> None:
        """Have new blocks and headers read at once; called on the ledger thread."""
        if not (change.added or change.removed) or change.connected or change.disconnected:
            self.on_commit()
