"""The queue before the gossip core: links take turns by message, each with bounded space."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeGuard

from chain.gossip.events import Event, Frames, LinkId
from chain.gossip.wire.messages import BlockMessage, Message

_TYPE_AT: Final = 4  # of a frame's bytes, behind its length
_NS_PER_US: Final = 1000


@dataclass(slots=True)
class TrafficTotals:
    """Bytes of frames over all links, ended ones included; without HTTP's own bytes."""

    sent_bytes: int = 0
    received_bytes: int = 0


@dataclass(slots=True)
class LinkTally:
    """Bytes of frames over one link, by the frames' type."""

    sent: Counter[int] = field(default_factory=Counter)
    received: Counter[int] = field(default_factory=Counter)
    last_sent_us: int = -1  # monotonic; -1: never

    def wrote(self, frames: Iterable[bytes]) -> int:
        """Count frames that were written now; return their bytes."""
        size = 0
        for frame in frames:
            self.sent[frame[_TYPE_AT]] += len(frame)
            size += len(frame)
        self.last_sent_us = time.monotonic_ns() // _NS_PER_US
        return size


LINK_BYTES_MAX: Final = 1024 * 1024  # a link's limit, at which its reader waits
EVENT_BYTES_MIN: Final = 256  # memory of an empty message
SLICE_BYTES: Final = 16 * 1024
RUN_BYTES_MAX: Final = 128 * 1024  # of blocks that are one event, though they came in more


class _LinkQueue:
    """The queued events of one link."""

    def __init__(self) -> None:
        self.events: deque[tuple[Event, int]] = deque()
        self.size = 0
        self.has_room = asyncio.Event()
        self.has_room.set()


class Inbox:
    """Events for one consumer on the same loop; the node's own precede those of links."""

    def __init__(self) -> None:
        self.totals = TrafficTotals()  # received bytes are counted here, sent bytes by the senders
        self._node_events: deque[Event] = deque()
        self._links: dict[LinkId, _LinkQueue] = {}
        self._turns: deque[LinkId] = deque()  # links with queued events, each once
        self._has_events = asyncio.Event()

    def post(self, event: Event) -> None:
        """Queue an event of the node itself; unbounded, as peers cannot cause these at will."""
        self._node_events.append(event)
        self._has_events.set()

    def open(self, link: LinkId) -> None:
        """Start accepting events of a link."""
        self._links[link] = _LinkQueue()

    def drop(self, link: LinkId) -> None:
        """Drop the queued events of a link, and accept no more of them."""
        queue = self._links.pop(link, None)
        if queue is not None:
            queue.events.clear()
            queue.has_room.set()

    async def deliver(self, link: LinkId, event: Event, size: int) -> None:
        """Queue an event that cost the link `size` bytes, once there is room; nothing if closed."""
        while (queue := self._links.get(link)) is not None:
            if queue.size < LINK_BYTES_MAX:
                self._append(link, event, size)
                return
            queue.has_room.clear()
            await queue.has_room.wait()

    def end(self, link: LinkId, event: Event) -> None:
        """Queue an event behind all others of a link: the last of the link, or of a request."""
        self._append(link, event, 0)

    def _append(self, link: LinkId, event: Event, size: int) -> None:
        queue = self._links.get(link)
        if queue is None:
            return
        if not queue.events:
            self._turns.append(link)
        messages = max(len(event.messages), 1) if isinstance(event, Frames) else 1
        cost = max(size, EVENT_BYTES_MIN * messages)
        queue.size += cost
        if queue.events and (run := _one_run(queue.events[-1][0], event)) is not None:
            _, before = queue.events.pop()
            event, cost = run, before + cost
        queue.events.append((event, cost))
        self.totals.received_bytes += size
        self._has_events.set()

    async def wait(self) -> None:
        """Wait until `take` has an event."""
        await self._has_events.wait()

    def take(self) -> Event | None:
        """Return the next event, or None."""
        if self._node_events:
            return self._node_events.popleft()
        while self._turns:
            link = self._turns.popleft()
            queue = self._links.get(link)
            if queue is None or not queue.events:
                continue
            event, cost = queue.events.popleft()
            queue.size -= cost
            if queue.size < LINK_BYTES_MAX:
                queue.has_room.set()
            if queue.events:
                self._turns.append(link)
            return event
        self._has_events.clear()
        return None


def _one_run(before: Event, event: Event) -> Frames | None:
    """Return blocks as one event with the blocks before them, as long as these are few bytes."""
    if not (_has_blocks(before) and _has_blocks(event)):
        return None
    if before.size + event.size > RUN_BYTES_MAX:
        return None
    return Frames(event.link, before.messages + event.messages, before.size + event.size)


def _has_blocks(event: Event) -> TypeGuard[Frames]:
    return isinstance(event, Frames) and isinstance(next(iter(event.messages), None), BlockMessage)


def split_frames(link: LinkId, messages: Sequence[Message], size: int) -> list[Frames]:
    """Return one event per message, so that links take turns; the sizes add up to `size`.

    Blocks in a row are one event: few of them are in a slice, and what they cost comes later.
    """
    if not messages:
        return [Frames(link, (), 0)]  # the link is alive; bytes count with the whole frame
    share = size // len(messages)
    runs: list[list[Message]] = []
    for message in messages:
        if runs and isinstance(message, BlockMessage) and isinstance(runs[-1][0], BlockMessage):
            runs[-1].append(message)
        else:
            runs.append([message])
    first, *rest = runs
    events = [Frames(link, tuple(run), share * len(run)) for run in rest]
    return [Frames(link, tuple(first), size - sum(event.size for event in events)), *events]


def slices(data: bytes) -> Iterator[bytes]:
    """Yield `data` in pieces that are decoded in a few milliseconds, whatever they hold."""
    for start in range(0, len(data), SLICE_BYTES):
        yield data[start : start + SLICE_BYTES]
