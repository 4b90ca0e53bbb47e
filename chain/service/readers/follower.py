"""Chain and mempool of a database that a node in another process writes: a StatePort.

Tip, chain and mempool of a snapshot are read in one SQL transaction. The decoded mempool and the
headers are kept from one version to the next and brought up to date by the journal; another epoch
or a gap has everything read again.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from sqlalchemy import Connection

from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.genesis import genesis_block
from chain.consensus.params import Params
from chain.ledger.db.coins import COIN_TYPES, SELECT_COINS, coin_of_row
from chain.ledger.db.connections import Changes
from chain.ledger.db.engine import read_keys, read_rows
from chain.ledger.db.exclusion import read_excluded
from chain.ledger.db.meta import read_meta
from chain.ledger.db.node_state import Version, read_state, read_version, version_in
from chain.ledger.db.pool_rows import (
    SavedRows,
    read_pool_rows,
    read_saved_rows,
    read_unbroken_journal,
)
from chain.ledger.db.schema import HeaderStatus
from chain.ledger.errors import UnavailableError
from chain.ledger.followed_headers import FollowedHeaders
from chain.ledger.migrate import check_schema, is_migrated
from chain.ledger.reader import LedgerSnapshot, Reader
from chain.node.eviction import RollingFeerate
from chain.node.followed_pool import FollowedPool, follow_pool, load_pool
from chain.node.journal import Change, decode_changes
from chain.node.policy import Policy
from chain.node.pool import Pool
from chain.node.saved_state import SavedState, decode_policy, decode_state
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32, OutPoint
from chain.service.api.state.port import (
    ON_THREAD,
    WAIT_S_MAX,
    ChainView,
    CurrentView,
    Instant,
    NotReadYetError,
    ReadLimits,
    SnapshotUnavailableError,
    StaleTip,
)
from chain.service.api.threads import on_thread
from chain.service.heartbeat import HEARTBEAT_NAME, Heartbeat, decode_heartbeat

_STALE: Final = (
    "SELECT h.id, h.status FROM headers h LEFT JOIN chain c ON c.id = h.id"
    " WHERE h.number > (SELECT max(number) FROM headers) - ? AND c.id IS NULL"
    " ORDER BY h.number DESC"
)
EXCLUDED_DEPTH_MAX: Final = 10_000  # blocks between a stale tip and an excluded block below it
_EXISTS: Final = "SELECT height FROM headers WHERE id = ?"
_STATUSES: Final = {
    HeaderStatus.HEADER: "headers-only",
    HeaderStatus.STORED: "valid-fork",
    HeaderStatus.INVALID: "invalid",
}


class HeadersPort(Protocol):
    """The headers of a database, by the connection of a snapshot."""

    def get(self, connection: Connection, block_id: Hash32) -> BlockTreeEntry | None:
        """Return a header, None if it is unknown. Raises LedgerError."""

    def tip(self, connection: Connection, block_id: Hash32) -> BlockTreeEntry:
        """Return the header of the snapshot's tip. Raises LedgerError."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A header of which only the height is known: during a first sync it is far ahead."""

    height: int


@dataclass(frozen=True, slots=True)
class FollowedView:
    """Tip and mempool of one version; never changed."""

    version: Version
    tip: BlockTreeEntry
    best_header: _Known
    followed: FollowedPool
    saved: SavedState
    policy: Policy
    has_pool: bool  # False: an import moved the tip, and the pool's rows are of another one

    @property
    def pool(self) -> Pool:
        """The mempool."""
        return self.followed.pool

    @property
    def sequence(self) -> int:
        """The version's sequence."""
        return self.version.sequence

    @property
    def block_feerates(self) -> tuple[int, ...]:
        return self.saved.block_feerates


@dataclass(frozen=True, slots=True)
class _Noted:
    """What is present as long as nobody commits."""

    changes: Changes  # before it was read
    current: CurrentView


class Follower:
    """The state of a node in another process; any thread may use it."""

    def __init__(
        self,
        reader: Reader,
        params: Params,
        clock: Callable[[], float] = time.monotonic,
        *,
        headers: HeadersPort | None = None,
        known: Callable[[], Pool] = Pool,
    ) -> None:
        """Read through `reader`; `clock` tells how old the last heartbeat is, in seconds.

        `headers` are those of the node, if it is in this process, and `known` returns its mempool:
        transactions in it are not decoded again.
        """
        self._reader = reader
        self._params = params
        self._clock = clock
        self._lock = threading.Lock()
        self._headers = headers or FollowedHeaders(
            BlockTreeEntry(genesis_block(params).header, None)
        )
        self._known = known
        self._view: FollowedView | None = None
        self._noted: _Noted | None = None
        self._heartbeat = b""
        self._said = Heartbeat()  # decoded once: each request looks at it
        self._heard_s = clock()  # when it was found to have changed

    def open(self) -> None:
        """Check that the database is of this network, and read what there is.

        Raises LedgerError: WrongNetworkError, and what Reader.snapshot raises.
        """
        with self._reader.snapshot() as snapshot:
            snapshot.query(lambda connection: read_meta(connection, self._params))
        with self.snapshot():
            pass

    @property
    def view(self) -> FollowedView:
        """The latest view that was read. Raises SnapshotUnavailableError: none yet."""
        view = self._view
        if view is None:
            raise SnapshotUnavailableError("the ledger was not read yet")
        return view

    @property
    def version(self) -> Version | None:
        """The version of the latest view."""
        return None if self._view is None else self._view.version

    @property
    def heartbeat(self) -> Heartbeat:
        """The node's last heartbeat."""
        return self._said

    @property
    def age_s(self) -> float:
        """The seconds since the node was last heard of, or since this process began to listen."""
        return self._clock() - self._heard_s

    @contextmanager
    def snapshot(self, limits: ReadLimits = ON_THREAD, /) -> Iterator[Instant]:
        """Open a snapshot of the present version.

        Raises SnapshotUnavailableError, of which NotReadYetError without waiting; LedgerError.
        """
        if self._reader.is_on_server and not limits.waits:
            raise SnapshotUnavailableError("reading from a server takes a worker thread")
        deadline = time.monotonic() + WAIT_S_MAX
        while True:
            with self._reader.snapshot(
                limits.read_s, limits.bytes_max, waits=limits.waits
            ) as snapshot:
                view = self._view_at(snapshot, may_read=limits.waits)
                if view is not None:
                    headers = _SnapshotHeaders(self._headers, snapshot, view)
                    yield Instant(view, snapshot, headers, view.version)
                    return
                version = snapshot.query(read_version)
            if not limits.waits:
                raise NotReadYetError(version)
            if time.monotonic() >= deadline:
                raise SnapshotUnavailableError("the chain is changing too fast to be read")

    def current_view(self, limits: ReadLimits, /) -> CurrentView:
        """Return the view of the present version, without a snapshot if nobody has committed."""
        changes = self._reader.changes()
        noted = self._noted  # a thread that reads a later version clears it
        if noted is not None and noted.changes == changes:
            return noted.current
        with self.snapshot(limits) as at:
            current = CurrentView(at.view, at.version)
        self._noted = None if changes is None else _Noted(changes, current)
        return current

    def listen(self) -> None:
        """Read the present version and the node's heartbeat. Raises what `snapshot` raises."""
        self._reader.check_file()
        with self._reader.snapshot() as snapshot:
            state = snapshot.query(read_state)
            self._view_at(snapshot)
        heartbeat = state.get(HEARTBEAT_NAME, b"")
        if heartbeat != self._heartbeat:
            # What was there before this process began may be of a node that is dead.
            self._heard_s = self._clock() if self._heartbeat else self._heard_s
            self._heartbeat, self._said = heartbeat, decode_heartbeat(heartbeat)

    def feerate_min(self, view: ChainView, now: int, /) -> int:
        assert isinstance(view, FollowedView), "it is one of ours"
        rolling = RollingFeerate(view.policy.incremental_feerate, view.policy.pool_bytes_max)
        rolling.restore(view.saved.rolling_rate, view.saved.rolling_since)
        return max(rolling.at(now, view.pool.usage_bytes), view.policy.relay_feerate_min)

    def policy(self, view: ChainView, /) -> Policy:
        assert isinstance(view, FollowedView), "it is one of ours"
        return view.policy

    def deltas(self, view: ChainView, /) -> Mapping[Hash32, int]:
        assert isinstance(view, FollowedView), "it is one of ours"
        return view.followed.deltas

    async def stale_tips(self, searched: int, /) -> Sequence[StaleTip]:
        return await on_thread(partial(self._stale_tips, searched))

    def _stale_tips(self, searched: int) -> list[StaleTip]:
        with self._reader.snapshot() as snapshot:
            excluded = set(snapshot.query(read_excluded))
            rows = snapshot.query(lambda c: read_rows(c, _STALE, (searched,), (bytes, int)))
            found: list[tuple[BlockTreeEntry, int]] = []
            for block_id, status in rows:
                try:
                    entry = snapshot.query(partial(self._headers.get, block_id=Hash32(block_id)))
                except UnavailableError:  # a header of a first sync, far ahead of the blocks
                    continue
                if entry is not None:
                    found.append((entry, status))
        inner = {entry.parent for entry, _ in found}
        return [
            StaleTip(
                entry, "invalid" if _is_below(entry, excluded) else _STATUSES[HeaderStatus(status)]
            )
            for entry, status in found
            if entry not in inner
        ]

    def _view_at(self, snapshot: LedgerSnapshot, *, may_read: bool = True) -> FollowedView | None:
        """Return the view of a snapshot; None if a later one was read already.

        Without `may_read` it is None as well if the view must be read first, which takes long.
        """
        snapshot.query(_check_schema)
        version = snapshot.query(read_version)
        view = self._view
        if view is not None and view.version == version:
            return view
        if not may_read:
            return None
        with self._lock:
            view = self._view
            if view is not None and view.version == version:
                return view
            if view is not None and version.is_before(view.version):
                return None
            self._view = self._next(view, snapshot)
            self._noted = None  # or else an old mempool is kept until somebody asks for it
            return self._view

    def _next(self, before: FollowedView | None, snapshot: LedgerSnapshot) -> FollowedView:
        state = snapshot.query(read_state)
        version = version_in(state)
        tip = snapshot.query(partial(self._headers.tip, block_id=snapshot.tip_id))
        has_pool = state.get("pool_tip") == tip.id
        return FollowedView(
            version=version,
            tip=tip,
            best_header=self._best_header(state, tip, snapshot),
            followed=self._pool(before, version, snapshot) if has_pool else FollowedPool(),
            saved=decode_state(state),
            policy=decode_policy(state),
            has_pool=has_pool,
        )

    def _best_header(
        self, state: Mapping[str, bytes], tip: BlockTreeEntry, snapshot: LedgerSnapshot
    ) -> _Known:
        block_id = state.get("best_header", b"")
        for (height,) in snapshot.query(lambda c: read_rows(c, _EXISTS, (block_id,), (int,))):
            return _Known(max(height, tip.height))
        return _Known(tip.height)

    def _pool(
        self, before: FollowedView | None, version: Version, snapshot: LedgerSnapshot
    ) -> FollowedPool:
        rows = _Rows(snapshot)
        if before is None:
            return load_pool(rows, self._known())
        changes = changes_between(before.version, version, snapshot) if before.has_pool else None
        if changes is None:
            return load_pool(rows, before.pool)
        return follow_pool(before.followed, changes, rows, self._known())


def changes_between(
    before: Version, version: Version, snapshot: LedgerSnapshot
) -> list[Change] | None:
    """Return what changed up to the snapshot's `version`; None if the journal does not say."""
    rows = snapshot.query(lambda c: read_unbroken_journal(c, before, version))
    if rows is None:
        return None
    try:
        return [change for _, _, changes in rows for change in decode_changes(changes)]
    except DecodeError:
        return None


class _Rows:
    """A snapshot as PoolRows."""

    def __init__(self, snapshot: LedgerSnapshot) -> None:
        self._snapshot = snapshot

    def all(self) -> SavedRows:
        return self._snapshot.query(read_saved_rows)

    def some(self, numbers: Sequence[int], /) -> list[tuple[Any, ...]]:
        return self._snapshot.query(lambda connection: read_pool_rows(connection, numbers))

    def coins(self, points: Sequence[OutPoint], /) -> dict[OutPoint, Coin]:
        read = self._snapshot.query(lambda c: read_keys(c, SELECT_COINS, points, COIN_TYPES))
        return dict(map(coin_of_row, read))


class _SnapshotHeaders:
    """The headers that a snapshot has: a HeaderLookup."""

    def __init__(self, headers: HeadersPort, snapshot: LedgerSnapshot, view: FollowedView) -> None:
        self._headers = headers
        self._snapshot = snapshot
        self._tip = view.tip

    def get(self, block_id: Hash32, /) -> BlockTreeEntry | None:
        """Return a header, valid or not; None if it is unknown, or forgotten."""
        entry = self._snapshot.query(partial(self._headers.get, block_id=block_id))
        if entry is None or entry.is_ancestor_of(self._tip):
            return entry
        rows = self._snapshot.query(lambda c: read_rows(c, _EXISTS, (block_id,), (int,)))
        return entry if rows else None


def _check_schema(connection: Connection) -> None:
    """Raise LedgerError unless the schema is this groat's, as of the open transaction."""
    if not is_migrated(connection):
        check_schema(connection)


def _is_below(entry: BlockTreeEntry, excluded: set[Hash32]) -> bool:
    """Return whether a header is excluded, or a descendant of one that is."""
    at: BlockTreeEntry | None = entry
    for _ in range(1 + EXCLUDED_DEPTH_MAX if excluded else 0):
        if at is None:
            return False
        if at.id in excluded:
            return True
        at = at.parent
    return False
