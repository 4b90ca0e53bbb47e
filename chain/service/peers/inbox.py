"""The queue before the gossip core: one message of each link in turn, and only so much of any."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from chain.gossip.events import Event, Frames, LinkId
from chain.gossip.messages import Message
from chain.service.peers.tally import Tally

LINK_BYTES_MAX: Final = 1024 * 1024  # what may wait of one link before its reader waits too
EVENT_BYTES_MIN: Final = 256  # what even an empty message takes in memory
SLICE_BYTES: Final = 16 * 1024


class _Waiting:
    """What waits of one link."""

    def __init__(self) -> None:
        self.events: deque[tuple[Event, int]] = deque()
        self.size = 0
        self.room = asyncio.Event()
        self.room.set()


class Inbox:
    """Events for one consumer on the same loop; the node's own go before those of links."""

    def __init__(self) -> None:
        self.tally = Tally()  # what links bring is counted here, what they take by others
        self._own: deque[Event] = deque()
        self._links: dict[LinkId, _Waiting] = {}
        self._turns: deque[LinkId] = deque()  # links of which something waits, each once
        self._some = asyncio.Event()

    def post(self, event: Event) -> None:
        """Queue an event of the node itself: an answer the core waits for, never a peer's whim."""
        self._own.append(event)
        self._some.set()

    def open(self, link: LinkId) -> None:
        """Begin to take events of a link."""
        self._links[link] = _Waiting()

    def drop(self, link: LinkId) -> None:
        """Forget what waits of a link, and take nothing more of it."""
        waiting = self._links.pop(link, None)
        if waiting is not None:
            waiting.events.clear()
            waiting.room.set()

    async def deliver(self, link: LinkId, event: Event, size: int) -> None:
        """Queue an event that cost the link `size` bytes, once there is room; nothing if closed."""
        while (waiting := self._links.get(link)) is not None:
            if waiting.size < LINK_BYTES_MAX:
                self._append(link, event, size)
                return
            waiting.room.clear()
            await waiting.room.wait()

    def end(self, link: LinkId, event: Event) -> None:
        """Queue the last event of a link behind all others of it."""
        self._append(link, event, 0)

    def _append(self, link: LinkId, event: Event, size: int) -> None:
        waiting = self._links.get(link)
        if waiting is None:
            return
        if not waiting.events:
            self._turns.append(link)
        cost = max(size, EVENT_BYTES_MIN)
        waiting.events.append((event, cost))
        waiting.size += cost
        self.tally.received_bytes += size
        self._some.set()

    async def wait(self) -> None:
        """Wait until `take` has something."""
        await self._some.wait()

    def take(self) -> Event | None:
        """Return the next event, or None."""
        if self._own:
            return self._own.popleft()
        while self._turns:
            link = self._turns.popleft()
            waiting = self._links.get(link)
            if waiting is None or not waiting.events:
                continue
            event, cost = waiting.events.popleft()
            waiting.size -= cost
            if waiting.size < LINK_BYTES_MAX:
                waiting.room.set()
            if waiting.events:
                self._turns.append(link)
            return event
        self._some.clear()
        return None


def split_frames(link: LinkId, messages: Sequence[Message], size: int) -> list[Frames]:
    """Return one event for each message, so that links take turns; their sizes sum up to `size`."""
    if not messages:
        return [Frames(link, (), 0)]  # a sign of life; its bytes count once the frame is whole
    share = size // len(messages)
    events = [Frames(link, (message,), share) for message in messages[1:]]
    return [Frames(link, (messages[0],), size - share * len(events)), *events]


def slices(data: bytes) -> Iterator[bytes]:
    """Yield `data` in pieces that are decoded in a few milliseconds, whatever they hold."""
    for start in range(0, len(data), SLICE_BYTES):
        yield data[start : start + SLICE_BYTES]
