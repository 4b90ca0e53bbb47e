"""Whom to ask for a transaction that several peers say they have.

As Bitcoin's TxRequestTracker: one request in flight for each, never the same peer twice, a random
choice among the preferred peers, and after a timeout or a notfound the next one. A peer that
announces first and never delivers delays a transaction by one timeout and cannot hide it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Final

from chain.gossip.actions import Lane
from chain.gossip.context import SECOND_US, Context, Link
from chain.gossip.events import LinkId
from chain.gossip.messages import INVENTORY_MAX, GetData, Inventory

IN_FLIGHT_PER_LINK_MAX: Final = 100  # more: the peer is overloaded and asked with a delay
REQUEST_TIMEOUT_S: Final = 20.0
PROMISES_MIN: Final = 20  # asked within PROMISE_S; of fewer nobody is judged
PROMISE_S: Final = 600
IGNORED_S: Final = 600  # who broke more than half of its promises


@dataclass(slots=True)
class _Promises:
    """How a link kept its word of late: an announcement is a promise to deliver."""

    since_us: int
    asked: int = 0
    broken: int = 0
    ignored_until_us: int = 0


class _State(Enum):
    CANDIDATE = auto()
    REQUESTED = auto()
    COMPLETED = auto()  # asked in vain; not again


@dataclass(slots=True)
class _Offer:
    """That one link announced one transaction."""

    link: Link
    from_us: int  # not asked before
    state: _State = _State.CANDIDATE


@dataclass(slots=True)
class _Wanted:
    """One transaction, and who offered it."""

    offers: dict[LinkId, _Offer] = field(default_factory=dict)


class TxRequests:
    """Keeps who announced what, and asks one at a time."""

    def __init__(self, context: Context, is_needed: Callable[[Inventory], bool]) -> None:
        """`is_needed` tells whether an item is still wanted, right before it is asked for."""
        self._context = context
        self._is_needed = is_needed
        self._wanted: dict[Inventory, _Wanted] = {}
        self._by_link: dict[LinkId, dict[Inventory, None]] = {}
        self._promises: dict[LinkId, _Promises] = {}
        self._in_flight: dict[LinkId, int] = {}
        self._to_send: dict[LinkId, list[tuple[_Offer, Inventory]]] = {}
        self._delayed: dict[float, list[Inventory]] = {}  # by how long, seconds

    def opened(self, link: Link) -> None:
        """Note a new link."""
        self._by_link[link.id] = {}
        self._in_flight[link.id] = 0
        self._promises[link.id] = _Promises(self._context.now.mono_us)

    def closed(self, link: Link) -> None:
        """Forget a link; what it was asked for is asked of others."""
        items = self._by_link.pop(link.id, {})
        self._in_flight.pop(link.id, None)
        self._promises.pop(link.id, None)
        for item in items:
            self._wanted[item].offers.pop(link.id)
            self._ask_next(item)
        self.flush()

    def offered(self, link: Link, item: Inventory) -> None:
        """Note that a link announced `item`, which we lack; call `flush` after a batch."""
        if self._promises[link.id].ignored_until_us > self._context.now.mono_us:
            return
        announced = self._by_link[link.id]
        if item in announced or len(announced) >= self._context.config.tracked_per_link:
            return
        delay_s = self._delay_s(link)
        from_us = self._context.now.mono_us + int(delay_s * SECOND_US)
        announced[item] = None
        wanted = self._wanted.setdefault(item, _Wanted())
        wanted.offers[link.id] = _Offer(link, from_us)
        if delay_s:
            self._delayed.setdefault(delay_s, []).append(item)
        self._ask_next(item)

    def is_requested(self, link: Link, item: Inventory) -> bool:
        """Tell whether this link was asked for `item` and has not answered."""
        wanted = self._wanted.get(item)
        offer = None if wanted is None else wanted.offers.get(link.id)
        return offer is not None and offer.state is _State.REQUESTED

    def answered(self, link: Link, item: Inventory) -> None:
        """Note that a link sent `item`, or lacks it; call `flush` after a batch."""
        if self.is_requested(link, item):
            self._complete(self._wanted[item].offers[link.id])
            self._ask_next(item)

    def forget(self, item: Inventory) -> None:
        """Nobody need be asked for `item` any more."""
        wanted = self._wanted.pop(item, None)
        if wanted is None:
            return
        for offer in wanted.offers.values():
            self._complete(offer)
            del self._by_link[offer.link.id][item]

    def flush(self) -> None:
        """Send the requests that were decided on: few messages, each with one timer."""
        to_send, self._to_send = self._to_send, {}
        for link_id, asked in to_send.items():
            link = self._context.links.get(link_id)
            if link is not None:
                for start in range(0, len(asked), INVENTORY_MAX):
                    self._send(link, asked[start : start + INVENTORY_MAX])
        delayed, self._delayed = self._delayed, {}
        for delay_s, waiting in delayed.items():
            self._context.later(delay_s, partial(self._due, waiting))

    def in_flight(self, item: Inventory) -> int:
        """Return how many links are asked for `item` now: never more than one."""
        wanted = self._wanted.get(item)
        offers = [] if wanted is None else list(wanted.offers.values())
        return sum(offer.state is _State.REQUESTED for offer in offers)

    def __len__(self) -> int:
        return len(self._wanted)

    def _delay_s(self, link: Link) -> float:
        """Return how long to wait for a better peer before this one is asked."""
        delay_s = 0.0 if link.is_outbound else self._context.config.request_delay_s
        if self._in_flight[link.id] >= IN_FLIGHT_PER_LINK_MAX:
            delay_s += self._context.config.request_delay_s
        return delay_s

    def _due(self, items: list[Inventory]) -> None:
        for item in items:
            self._ask_next(item)
        self.flush()

    def _ask_next(self, item: Inventory) -> None:
        """If nobody is asked for `item`, ask one of those who may be, by chance."""
        wanted = self._wanted.get(item)
        if wanted is None or self.in_flight(item):
            return
        if not self._is_needed(item) or all(
            offer.state is _State.COMPLETED for offer in wanted.offers.values()
        ):
            self.forget(item)
            return
        ready = [
            offer
            for offer in wanted.offers.values()
            if offer.state is _State.CANDIDATE and offer.from_us <= self._context.now.mono_us
        ]
        preferred = [offer for offer in ready if offer.link.is_outbound] or ready
        if preferred:
            self._request(self._context.chance.choice(preferred), item)

    def _request(self, offer: _Offer, item: Inventory) -> None:
        offer.state = _State.REQUESTED
        self._in_flight[offer.link.id] += 1
        self._to_send.setdefault(offer.link.id, []).append((offer, item))

    def _send(self, link: Link, asked: list[tuple[_Offer, Inventory]]) -> None:
        items = tuple(item for _, item in asked)
        promises, now_us = self._promises[link.id], self._context.now.mono_us
        if now_us - promises.since_us > PROMISE_S * SECOND_US:
            promises = self._promises[link.id] = _Promises(now_us)
        promises.asked += len(items)
        self._context.send(link, GetData(items), Lane.CONTROL)
        self._context.later(REQUEST_TIMEOUT_S, partial(self._expire, asked))

    def _expire(self, asked: list[tuple[_Offer, Inventory]]) -> None:
        for offer, item in asked:
            if offer.state is _State.REQUESTED and offer.link.id in self._in_flight:
                self._complete(offer)
                self._broken(offer.link)
                self._ask_next(item)
        self.flush()

    def _broken(self, link: Link) -> None:
        """Note that a link did not give what it announced; believe it nothing if it often does."""
        promises = self._promises[link.id]
        promises.broken += 1
        if promises.asked >= PROMISES_MIN and 2 * promises.broken > promises.asked:
            self._context.trace("announcer ignored", link=link.id)
            until_us = self._context.now.mono_us + IGNORED_S * SECOND_US
            self._promises[link.id] = _Promises(
                self._context.now.mono_us, ignored_until_us=until_us
            )

    def _complete(self, offer: _Offer) -> None:
        if offer.state is _State.REQUESTED and offer.link.id in self._in_flight:
            self._in_flight[offer.link.id] -= 1
        offer.state = _State.COMPLETED
