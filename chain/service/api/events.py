"""The node's changes, passed from the thread that learns of them to subscribers on the event loop.

The number of subscribers and each one's backlog are limited; a slower subscriber is dropped.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Protocol

from chain.consensus.entry import BlockTreeEntry
from chain.ledger.db.node_state import Version
from chain.node.mempool import RemovalReason
from chain.node.node import ChainStateUpdate, Node
from chain.primitives.numbers import Hash32

LISTENERS_MAX: Final = 256
BEHIND_MAX: Final = 64  # unread changes of one subscriber


class TooManySubscribersError(Exception):
    """The limit on subscribers is reached."""


@dataclass(frozen=True, slots=True)
class JoinedBlock:
    """A block that joined the best chain."""

    id: Hash32
    height: int | None  # None: the block was forgotten since
    time: int  # unix seconds
    tx_count: int


@dataclass(frozen=True, slots=True)
class AddedTx:
    """A transaction that joined the mempool."""

    txid: Hash32
    fee: int  # grains
    vsize: int
    value: int  # of all outputs, grains


@dataclass(frozen=True, slots=True)
class RemovedTx:
    """A transaction that left the mempool and is in no block of the best chain."""

    txid: Hash32
    reason: RemovalReason  # never CONFIRMED
    by: Hash32 | None  # its replacement, or what conflicts with it in a block, if that is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What changed from one version or view to the next, without what came and went again."""

    id: Version | None = None  # from which a client may go on later; None: it cannot
    is_reset: bool = False  # what was missed is not known any more
    disconnected: tuple[Hash32, ...] = ()  # tip first
    connected: tuple[JoinedBlock, ...] = ()  # in chain order
    added: tuple[AddedTx, ...] = ()  # in the mempool now
    removed: tuple[RemovedTx, ...] = ()


def update_of(change: ChainStateUpdate) -> Update:
    """Return a change of the node in this process, on the thread that publishes it."""
    pool = change.view.pool
    first = change.view.tip.height - len(change.connected) + 1
    return Update(
        disconnected=tuple(block.id for block in change.disconnected),
        connected=tuple(
            JoinedBlock(block.id, height, block.time, block.tx_count)
            for height, block in enumerate(change.connected, first)
        ),
        added=tuple(
            AddedTx(entry.txid, entry.fee, entry.vsize, entry.transaction.output_value)
            for entry in change.added
            if pool.get(entry.txid) is not None
        ),
        removed=tuple(
            RemovedTx(removal.entry.txid, removal.reason, removal.by)
            for removal in change.removed
            if removal.reason is not RemovalReason.CONFIRMED
            and pool.get(removal.entry.txid) is None
        )
        + tuple(RemovedTx(txid, RemovalReason.REORGANISED, None) for txid in change.dropped),
    )


class EventSubscriber:
    """One subscribed client: yields changes in order, then None once at the end."""

    def __init__(self, tip: BlockTreeEntry) -> None:
        self.tip = tip  # when it subscribed: what led there is not among its changes
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Update | None] = asyncio.Queue()
        self._ended = False

    async def next(self, timeout_s: float) -> Update | None:
        """Return the next change, or None at the end. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            return await self._queue.get()

    def put(self, change: Update | None) -> None:
        """Queue a change, from any thread; None ends the subscription."""
        with suppress(RuntimeError):  # the loop is closed, with its subscribers
            self._loop.call_soon_threadsafe(self._put, change)

    def _put(self, change: Update | None) -> None:
        if self._ended:
            return
        if change is None or self._queue.qsize() >= BEHIND_MAX:
            self._ended = True
            change = None
        self._queue.put_nowait(change)


class EventsPort(Protocol):
    """The changes of chain and mempool, for subscribers on the event loop."""

    @property
    def count(self) -> int:
        """The number of subscribers."""

    @property
    def is_closed(self) -> bool:
        """Whether the process is stopping: there are no more changes."""

    @property
    def is_full(self) -> bool:
        """Whether the limit on subscribers is reached."""

    def subscribe(self) -> AbstractContextManager[EventSubscriber]:
        """Subscribe until the block ends. Raises TooManySubscribersError."""

    def since(self, last_id: str, /) -> AsyncIterator[Update]:
        """Yield what came after the update with this id, up to now."""

    def close(self) -> None:
        """End every subscription."""


class Subscribers:
    """The subscribers of one process, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._subscribers: set[EventSubscriber] = set()
        self._tip: BlockTreeEntry | None = None  # after the last update; set before any subscriber
        self._closed = False

    @property
    def count(self) -> int:
        """The number of subscribers."""
        return len(self._subscribers)

    @property
    def is_closed(self) -> bool:
        """Whether the process is stopping: there are no more changes."""
        return self._closed

    @property
    def is_full(self) -> bool:
        """Whether the limit on subscribers is reached."""
        return len(self._subscribers) >= self._limit

    @contextmanager
    def subscribe(self) -> Iterator[EventSubscriber]:
        """Subscribe, on the event loop, until the block ends. Raises TooManySubscribersError.

        While the process is stopping, the subscription has ended already.
        """
        with self._lock:
            assert self._tip is not None, "subscriptions begin after the first look at the chain"
            subscriber = EventSubscriber(self._tip)
            if self._closed:
                subscriber.put(None)
            elif self.is_full:
                raise TooManySubscribersError
            self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            with self._lock:
                self._subscribers.discard(subscriber)

    def close(self) -> None:
        """End every subscription, so that the connections end before the server does."""
        with self._lock:
            self._closed = True
        for subscriber in self._present():
            subscriber.put(None)

    def _skipped_to(self, tip: BlockTreeEntry) -> bool:
        """Note the tip after an update, if nobody is subscribed; return whether that is so."""
        with self._lock:
            if self._subscribers:
                return False
            self._tip = tip
            return True

    def _updated_to(self, tip: BlockTreeEntry) -> tuple[EventSubscriber, ...]:
        """Note the tip after an update; return those who have to get it, now or never."""
        with self._lock:
            self._tip = tip
            return tuple(self._subscribers)

    def _present(self) -> tuple[EventSubscriber, ...]:
        """Return those who are subscribed now; from any thread."""
        with self._lock:
            return tuple(self._subscribers)


class Events(Subscribers):
    """The subscribers of one node."""

    def __init__(self, node: Node) -> None:
        super().__init__(LISTENERS_MAX)
        self._tip = node.view.tip
        node.listeners.append(self._publish)

    async def since(self, _last_id: str, /) -> AsyncIterator[Update]:
        """Yield a reset: these updates have no ids, so it is one of another process."""
        yield Update(is_reset=True)

    def _publish(self, change: ChainStateUpdate) -> None:
        tip = change.view.tip
        if self._skipped_to(tip):
            return
        update = update_of(change)
        for subscriber in self._updated_to(tip):
            subscriber.put(update)
