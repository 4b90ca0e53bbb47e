"""Choice of the peer from which to request an announced transaction.

As Bitcoin's TxRequestTracker: one request in flight per transaction, never the same peer twice, a
random choice among the preferred peers, and the next peer after a timeout or a notfound. A peer
that announces first and never delivers delays a transaction by one timeout and cannot hide it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Final

from chain.gossip.actions import Priority
from chain.gossip.context import Context, Link
from chain.gossip.events import LinkId
from chain.gossip.wire.messages import INVENTORY_MAX, GetData, Inventory
from chain.primitives.numbers import SECOND_US

IN_FLIGHT_PER_LINK_MAX: Final = 100  # with more, requests to the peer are delayed
REQUEST_TIMEOUT_S: Final = 20.0
REQUESTS_MIN: Final = 20  # requests within DELIVERY_WINDOW_S; a link with fewer is not judged
DELIVERY_WINDOW_S: Final = 600
IGNORED_S: Final = 600  # for a link that broke more than half of its promises


@dataclass(slots=True)
class _DeliveryRecord:
    """How reliably a link delivered recently; an announcement is a promise to deliver."""

    since_us: int
    requested: int = 0
    failed: int = 0
    ignored_until_us: int = 0


class _State(Enum):
    CANDIDATE = auto()
    REQUESTED = auto()
    COMPLETED = auto()  # requested without success; not requested again


@dataclass(slots=True)
class _Announcement:
    """The announcement of one transaction by one link."""

    link: Link
    from_us: int  # earliest request time
    state: _State = _State.CANDIDATE


@dataclass(slots=True)
class _TrackedItem:
    """One transaction, and the links that announced it."""

    announcements: dict[LinkId, _Announcement] = field(default_factory=dict)


class TxRequests:
    """Tracks announcements, and requests each transaction from one link at a time."""

    def __init__(self, context: Context, is_needed: Callable[[Inventory], bool]) -> None:
        """`is_needed` is called right before a request: whether the item is still needed."""
        self._context = context
        self._is_needed = is_needed
        self._tracked: dict[Inventory, _TrackedItem] = {}
        self._by_link: dict[LinkId, dict[Inventory, None]] = {}
        self._delivery: dict[LinkId, _DeliveryRecord] = {}
        self._in_flight: dict[LinkId, int] = {}
        self._to_send: dict[LinkId, list[tuple[_Announcement, Inventory]]] = {}
        self._delayed: dict[float, list[Inventory]] = {}  # length of the delay, in seconds

    def opened(self, link: Link) -> None:
        """Note a new link."""
        self._by_link[link.id] = {}
        self._in_flight[link.id] = 0
        self._delivery[link.id] = _DeliveryRecord(self._context.now.mono_us)

    def closed(self, link: Link) -> None:
        """Forget a link, and request its outstanding transactions from other links."""
        items = self._by_link.pop(link.id, {})
        self._in_flight.pop(link.id, None)
        self._delivery.pop(link.id, None)
        for item in items:
            self._tracked[item].announcements.pop(link.id)
            self._request_next(item)
        self.flush()

    def announced(self, link: Link, item: Inventory) -> None:
        """Record that a link announced `item`, which we lack; call `flush` after a batch."""
        if self._delivery[link.id].ignored_until_us > self._context.now.mono_us:
            return
        announced = self._by_link[link.id]
        if item in announced or len(announced) >= self._context.config.tracked_per_link:
            return
        delay_s = self._delay_s(link)
        from_us = self._context.now.mono_us + int(delay_s * SECOND_US)
        announced[item] = None
        tracked = self._tracked.setdefault(item, _TrackedItem())
        tracked.announcements[link.id] = _Announcement(link, from_us)
        if delay_s:
            self._delayed.setdefault(delay_s, []).append(item)
        self._request_next(item)

    def is_requested(self, link: Link, item: Inventory) -> bool:
        """Return whether this link has an open request for `item`."""
        tracked = self._tracked.get(item)
        announcement = None if tracked is None else tracked.announcements.get(link.id)
        return announcement is not None and announcement.state is _State.REQUESTED

    def item_received(self, link: Link, item: Inventory) -> None:
        """Record that a link sent `item`, or does not have it; call `flush` after a batch."""
        if self.is_requested(link, item):
            self._complete(self._tracked[item].announcements[link.id])
            self._request_next(item)

    def forget(self, item: Inventory) -> None:
        """Forget `item`: it need not be requested any more."""
        tracked = self._tracked.pop(item, None)
        if tracked is None:
            return
        for announcement in tracked.announcements.values():
            self._complete(announcement)
            del self._by_link[announcement.link.id][item]

    def flush(self) -> None:
        """Send the requests that were decided on: few messages, with one timer each."""
        to_send, self._to_send = self._to_send, {}
        for link_id, requested in to_send.items():
            link = self._context.links.get(link_id)
            if link is not None:
                for start in range(0, len(requested), INVENTORY_MAX):
                    self._send(link, requested[start : start + INVENTORY_MAX])
        delayed, self._delayed = self._delayed, {}
        for delay_s, due in delayed.items():
            self._context.call_later(delay_s, partial(self._due, due))

    def in_flight(self, item: Inventory) -> int:
        """Return how many links have an open request for `item`: 0 or 1."""
        tracked = self._tracked.get(item)
        announcements = [] if tracked is None else list(tracked.announcements.values())
        return sum(announcement.state is _State.REQUESTED for announcement in announcements)

    def __len__(self) -> int:
        return len(self._tracked)

    def _delay_s(self, link: Link) -> float:
        """Return how long to wait for a better peer before requesting from this one."""
        delay_s = 0.0 if link.is_outbound else self._context.config.request_delay_s
        if self._in_flight[link.id] >= IN_FLIGHT_PER_LINK_MAX:
            delay_s += self._context.config.request_delay_s
        return delay_s

    def _due(self, items: list[Inventory]) -> None:
        for item in items:
            self._request_next(item)
        self.flush()

    def _request_next(self, item: Inventory) -> None:
        """If no request for `item` is open, request it from a random eligible link."""
        tracked = self._tracked.get(item)
        if tracked is None or self.in_flight(item):
            return
        if not self._is_needed(item) or all(
            announcement.state is _State.COMPLETED
            for announcement in tracked.announcements.values()
        ):
            self.forget(item)
            return
        ready = [
            announcement
            for announcement in tracked.announcements.values()
            if announcement.state is _State.CANDIDATE
            and announcement.from_us <= self._context.now.mono_us
        ]
        preferred = [
            announcement for announcement in ready if announcement.link.is_outbound
        ] or ready
        if preferred:
            self._request(self._context.rng.choice(preferred), item)

    def _request(self, announcement: _Announcement, item: Inventory) -> None:
        announcement.state = _State.REQUESTED
        self._in_flight[announcement.link.id] += 1
        self._to_send.setdefault(announcement.link.id, []).append((announcement, item))

    def _send(self, link: Link, requested: list[tuple[_Announcement, Inventory]]) -> None:
        items = tuple(item for _, item in requested)
        delivery, now_us = self._delivery[link.id], self._context.now.mono_us
        if now_us - delivery.since_us > DELIVERY_WINDOW_S * SECOND_US:
            delivery = self._delivery[link.id] = _DeliveryRecord(now_us)
        delivery.requested += len(items)
        self._context.send(link, GetData(items), Priority.CONTROL)
        self._context.call_later(REQUEST_TIMEOUT_S, partial(self._expire, requested))

    def _expire(self, requested: list[tuple[_Announcement, Inventory]]) -> None:
        for announcement, item in requested:
            if announcement.state is _State.REQUESTED and announcement.link.id in self._in_flight:
                self._complete(announcement)
                self._note_failure(announcement.link)
                self._request_next(item)
        self.flush()

    def _note_failure(self, link: Link) -> None:
        """Record a broken promise; ignore the link's announcements if it breaks too many."""
        delivery = self._delivery[link.id]
        delivery.failed += 1
        if delivery.requested >= REQUESTS_MIN and 2 * delivery.failed > delivery.requested:
            self._context.trace("announcer ignored", link=link.id)
            until_us = self._context.now.mono_us + IGNORED_S * SECOND_US
            self._delivery[link.id] = _DeliveryRecord(
                self._context.now.mono_us, ignored_until_us=until_us
            )

    def _complete(self, announcement: _Announcement) -> None:
        if announcement.state is _State.REQUESTED and announcement.link.id in self._in_flight:
            self._in_flight[announcement.link.id] -= 1
        announcement.state = _State.COMPLETED
