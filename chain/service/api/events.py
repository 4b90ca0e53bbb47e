"""The node's changes, passed from the ledger thread to subscribers on the event loop.

The number of subscribers and each one's backlog are limited; a slower subscriber is dropped.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from chain.node.node import ChainStateUpdate, Node

LISTENERS_MAX: Final = 256
BEHIND_MAX: Final = 64  # unread changes of one subscriber


class TooManySubscribersError(Exception):
    """The limit on subscribers is reached."""


class EventSubscriber:
    """One subscribed client: yields changes in order, then None once at the end."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[ChainStateUpdate | None] = asyncio.Queue()
        self._ended = False

    async def next(self, timeout_s: float) -> ChainStateUpdate | None:
        """Return the next change, or None at the end. Raises TimeoutError."""
        return await asyncio.wait_for(self._queue.get(), timeout_s)

    def put(self, change: ChainStateUpdate | None) -> None:
        """Queue a change, from any thread; None ends the subscription."""
        with suppress(RuntimeError):  # the loop is closed, with its subscribers
            self._loop.call_soon_threadsafe(self._put, change)

    def _put(self, change: ChainStateUpdate | None) -> None:
        if self._ended:
            return
        if change is None or self._queue.qsize() >= BEHIND_MAX:
            self._ended = True
            change = None
        self._queue.put_nowait(change)


class Events:
    """The subscribers of one node."""

    def __init__(self, node: Node) -> None:
        self._lock = threading.Lock()
        self._listeners: set[EventSubscriber] = set()
        self._closed = False
        node.listeners.append(self._publish)

    @property
    def count(self) -> int:
        """The number of subscribers."""
        return len(self._listeners)

    @property
    def is_closed(self) -> bool:
        """Whether the node is stopping: there are no more changes."""
        return self._closed

    @property
    def is_full(self) -> bool:
        """Whether the limit on subscribers is reached."""
        return self._closed or len(self._listeners) >= LISTENERS_MAX

    @contextmanager
    def subscribe(self) -> Iterator[EventSubscriber]:
        """Subscribe, on the event loop, until the block ends. Raises TooManySubscribersError."""
        listener = EventSubscriber()
        with self._lock:
            if self.is_full:
                raise TooManySubscribersError
            self._listeners.add(listener)
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners.discard(listener)

    def close(self) -> None:
        """End every subscription, so that the connections end before the server does."""
        with self._lock:
            self._closed = True
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener.put(None)

    def _publish(self, change: ChainStateUpdate) -> None:
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener.put(change)
