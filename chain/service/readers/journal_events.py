"""The changes of a followed node, from the journal in its database: an EventsPort.

Each version is one update, and every block that was connected or disconnected is in one. An update
has its version as its id, from which a client that was away goes on.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.ledger.db.engine import read_rows
from chain.ledger.db.node_state import Version, parse_version, read_version
from chain.ledger.db.pool_rows import JOURNAL_ALL, read_unbroken_journal
from chain.ledger.reader import LedgerSnapshot
from chain.node.journal import Added, Change, Connected, Disconnected, Removed, decode_changes
from chain.node.mempool import RemovalReason
from chain.primitives.block import HEADER_BYTES
from chain.primitives.encoding import DecodeError, read_compact_size
from chain.primitives.numbers import Hash32
from chain.service.api.events import (
    AddedTx,
    JoinedBlock,
    RemovedTx,
    Subscribers,
    Update,
)
from chain.service.api.state.port import HeaderLookup
from chain.service.api.threads import on_thread
from chain.service.readers.follower import Follower

_NO_VERSION: Final = Version(b"", -1)  # of no epoch
VERSIONS_AT_ONCE: Final = 200  # read from the journal for one client that was away
_TX_COUNT: Final = "SELECT substr(raw, ?, 9) FROM blocks WHERE id = ?"


class JournalEvents(Subscribers):
    """The subscribers of one process, and the version up to which they know."""

    def __init__(self, follower: Follower, listeners_max: int) -> None:
        super().__init__(listeners_max)
        self._follower = follower
        self._publishing = threading.Lock()
        self._published: Version | None = None
        self._resuming = asyncio.Lock()  # a full journal takes 4 s and 200 MB to decode

    def publish(self) -> None:
        """Publish what is new to the subscribers, from any thread but the event loop's.

        The first call, which must come before anybody subscribes, sets where subscriptions begin.
        """
        with self._publishing:
            self._publish()

    def _publish(self) -> None:
        view = self._follower.view
        if view.version == self._published:
            return
        if self._published is None:
            self._updated_to(view.tip)
        if self._published is None or self._skipped_to(view.tip):
            self._published = view.version
            return
        updates, self._published, tip = self._since(self._published, JOURNAL_ALL)
        for subscriber in self._updated_to(tip):
            for update in updates:
                subscriber.put(update)

    async def since(self, last_id: str) -> AsyncIterator[Update]:
        """Yield what came after the update with this id, up to now.

        One that is not in the journal any more, of another epoch, or malformed gives a single
        reset, from which the client may go on.
        """
        at = parse_version(last_id) or _NO_VERSION
        while True:
            async with self._resuming:  # one after the other, and the other threads read on
                updates, at, _ = await on_thread(partial(self._since, at, VERSIONS_AT_ONCE))
            for update in updates:
                yield update
            if len(updates) < VERSIONS_AT_ONCE:
                return

    def _since(self, before: Version, limit: int) -> tuple[list[Update], Version, BlockTreeEntry]:
        """Return the updates after a version, the version of the last, and the present tip."""
        with self._follower.snapshot() as at:
            version = at.ledger.query(read_version)
            if before == version:
                return [], version, at.view.tip
            rows = at.ledger.query(lambda c: read_unbroken_journal(c, before, version, limit))
            if rows is None:
                return [Update(id=version, is_reset=True)], version, at.view.tip
            updates: list[Update] = []
            for sequence, _, data in rows:
                try:
                    changes = decode_changes(data)
                except DecodeError:
                    updates.append(Update(id=version, is_reset=True))
                    return updates, version, at.view.tip
                one = Version(version.epoch, sequence)
                updates.append(journal_update(one, changes, at.ledger, at.headers))
            return updates, Version(version.epoch, rows[-1][0]), at.view.tip


def journal_update(
    version: Version, changes: Sequence[Change], ledger: LedgerSnapshot, headers: HeaderLookup
) -> Update:
    """Return the update of one version, without what came and went again in it."""
    last = {c.txid: c for c in changes if isinstance(c, Added | Removed)}.values()
    return Update(
        id=version,
        disconnected=tuple(c.block_id for c in changes if isinstance(c, Disconnected)),
        connected=tuple(
            _joined(c.block_id, ledger, headers) for c in changes if isinstance(c, Connected)
        ),
        added=tuple(AddedTx(c.txid, c.fee, c.vsize, c.value) for c in last if isinstance(c, Added)),
        removed=tuple(
            RemovedTx(c.txid, c.reason, c.by)
            for c in last
            if isinstance(c, Removed) and c.reason is not RemovalReason.CONFIRMED
        ),
    )


def _joined(block_id: Hash32, ledger: LedgerSnapshot, headers: HeaderLookup) -> JoinedBlock:
    """Return a block that joined the best chain; it may have left again, but it is stored."""
    entry = headers.get(block_id)
    if entry is None:  # it was found to be invalid since, and forgotten
        return JoinedBlock(block_id, None, 0, 0)
    values = (HEADER_BYTES + 1, block_id)
    for (start,) in ledger.query(lambda c: read_rows(c, _TX_COUNT, values, (bytes,))):
        try:
            count = read_compact_size(start, 0)[0]
        except DecodeError:
            count = 0  # a damaged block: reading it gives the error
        return JoinedBlock(block_id, entry.height, entry.header.time, count)
    return JoinedBlock(block_id, entry.height, entry.header.time, 0)
