"""Announcements of transactions by wtxid, after a random delay, to links that do not have them.

The delay hides where a transaction came from: each outbound link has its own timer, and all inbound
links share one, so that an observer with many links learns no more than one with a single link.
"""

from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from chain.gossip.actions import Priority
from chain.gossip.context import Context, Link
from chain.gossip.dispatch import Handler, Part, on_event, on_message
from chain.gossip.events import LinkId, LocalTx
from chain.gossip.views import PoolItem
from chain.gossip.wire.messages import (
    INVENTORY_MAX,
    WITNESS_TX,
    WTX,
    FeeFilter,
    GetData,
    Inv,
    Inventory,
    NotFound,
    TxMessage,
)
from chain.primitives.numbers import Hash32, outpoint_txid
from chain.primitives.recent import Recent
from chain.primitives.transaction import Transaction

KNOWN_PER_LINK_MAX: Final = 5000
QUEUE_PER_LINK_MAX: Final = 5000  # queued announcements; the oldest are dropped over this
BACKLOG_PER_TRICKLE: Final = 1000  # five more are announced for each so many queued
UNBROADCAST_MAX: Final = 1000  # transactions of this node's users that are rebroadcast
REBROADCAST_S: Final = 3600.0
FEE_FILTER_MAX: Final = 100_000_000  # grains per 1000 vbytes; higher rates are ignored


@dataclass(slots=True)
class _Announcements:
    """What was announced to one link, and what is queued for it."""

    announced: Recent  # what the link may request
    known: Recent = field(default_factory=lambda: Recent(KNOWN_PER_LINK_MAX))
    queue: dict[Hash32, None] = field(default_factory=dict)
    repeated: dict[Hash32, None] = field(default_factory=dict)  # queued, but known to the link
    fee_floor: int = 0  # grains per 1000 vbytes
    is_due: bool = False  # whether its own timer is set


class TxRelay(Part):
    """Announces the transactions in the pool, and serves the announced ones."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._announcements: dict[LinkId, _Announcements] = {}
        self._is_inbound_due = False
        self._unbroadcast: dict[Hash32, None] = {}
        self._is_rebroadcast_due = False

    def handlers(self) -> tuple[Handler, ...]:
        """Handle announcements, requests and fee filters of links, and local transactions."""
        return (
            on_message(Inv, self.announced),
            on_message(GetData, self.serve),
            on_message(FeeFilter, self.fee_filter),
            on_event(LocalTx, self.announce_local),
        )

    def opened(self, link: Link) -> None:
        """Queue the transactions in the pool for a new link."""
        if link.relays_transactions:
            announcements = _Announcements(Recent(self._context.config.announced_per_link))
            self._announcements[link.id] = announcements
            for wtxid in islice(self._context.pool.wtxids(), QUEUE_PER_LINK_MAX):
                announcements.queue[wtxid] = None
            if announcements.queue:
                self._schedule(link, announcements)

    def closed(self, link: Link) -> None:
        """Forget a link."""
        self._announcements.pop(link.id, None)

    def announced(self, link: Link, message: Inv) -> None:
        """Record that a link has these transactions, so that they are not announced to it."""
        announcements = self._announcements.get(link.id)
        if announcements is not None:
            for item in message.items:
                if item.kind == WTX:
                    announcements.known.add(item.id)
                    announcements.queue.pop(item.id, None)

    def fee_filter(self, link: Link, message: FeeFilter) -> None:
        """Set the fee rate below which nothing is announced to a link."""
        announcements = self._announcements.get(link.id)
        if announcements is not None and message.grains_per_kvb <= FEE_FILTER_MAX:
            announcements.fee_floor = message.grains_per_kvb

    def fee_floor(self, link: Link) -> int:
        """Return the grains per 1000 vbytes below which nothing is announced to a link."""
        announcements = self._announcements.get(link.id)
        return 0 if announcements is None else announcements.fee_floor

    def announce_local(self, event: LocalTx) -> None:
        """Announce a local user's transaction now, and about every hour until it is confirmed.

        Peers may have dropped it from their pools. The times are random, so that they do not reveal
        whose transaction it is.
        """
        transaction = event.transaction
        self._unbroadcast[transaction.wtxid] = None
        if len(self._unbroadcast) > UNBROADCAST_MAX:
            del self._unbroadcast[next(iter(self._unbroadcast))]
        self.announce(transaction, None)
        self._schedule_rebroadcast()

    def _schedule_rebroadcast(self) -> None:
        if self._unbroadcast and not self._is_rebroadcast_due:
            self._is_rebroadcast_due = True
            wait_s = REBROADCAST_S * self._context.rng.uniform(0.5, 1.5)
            self._context.call_later(wait_s, self._rebroadcast)

    def _rebroadcast(self) -> None:
        self._is_rebroadcast_due = False
        pool, links = self._context.pool, self._context.links
        self._unbroadcast = {
            wtxid: None for wtxid in self._unbroadcast if pool.by_wtxid(wtxid) is not None
        }
        for link_id, announcements in self._announcements.items():
            if link_id in links and self._unbroadcast:
                announcements.repeated.update(self._unbroadcast)
                announcements.queue.update(self._unbroadcast)
                self._schedule(links[link_id], announcements)
        self._schedule_rebroadcast()

    def announce(self, transaction: Transaction, source: LinkId | None) -> None:
        """Announce a transaction in the pool to all links except the one it came from."""
        wtxid = transaction.wtxid
        for link_id, announcements in self._announcements.items():
            link = self._context.links.get(link_id)
            if link_id == source:
                announcements.known.add(wtxid)
            elif link is not None and wtxid not in announcements.known:
                announcements.queue[wtxid] = None
                if len(announcements.queue) > QUEUE_PER_LINK_MAX:
                    del announcements.queue[next(iter(announcements.queue))]
                self._schedule(link, announcements)

    def serve(self, link: Link, message: GetData) -> None:
        """Send those requested transactions that were announced, so that nobody can probe."""
        missing = []
        for item in message.items:
            if item.kind in (WTX, WITNESS_TX):
                found = self._find(link, item)
                if found is None:
                    missing.append(item)
                else:
                    self._context.send(link, TxMessage(found.transaction), Priority.TRANSACTION)
        if missing:
            self._context.send(link, NotFound(tuple(missing)), Priority.CONTROL)

    def _find(self, link: Link, item: Inventory) -> PoolItem | None:
        announcements = self._announcements.get(link.id)
        pool = self._context.pool
        found = pool.by_wtxid(item.id) if item.kind == WTX else pool.by_txid(item.id)
        if (
            announcements is None
            or found is None
            or found.transaction.wtxid not in announcements.announced
        ):
            return None
        return found

    def _schedule(self, link: Link, announcements: _Announcements) -> None:
        """Set the timer of a link, or the shared timer of all inbound links, if it is not set."""
        context = self._context
        if link.is_outbound:
            if announcements.is_due:
                return
            announcements.is_due = True
            wait_s = context.rng.expovariate(1 / context.config.trickle_outbound_s)
            context.call_later(wait_s, lambda: self._trickle(link))
        elif not self._is_inbound_due:
            self._is_inbound_due = True
            wait_s = context.rng.expovariate(1 / context.config.trickle_inbound_s)
            context.call_later(wait_s, self._trickle_inbound)

    def _trickle_inbound(self) -> None:
        self._is_inbound_due = False
        for link in list(self._context.links.values()):
            if not link.is_outbound:
                self._trickle(link)

    def _trickle(self, link: Link) -> None:
        """Announce the oldest queued transactions first, so that parents precede their children."""
        announcements = self._announcements.get(link.id)
        if announcements is None:
            return
        announcements.is_due = False
        backlog = len(announcements.queue)
        count = self._context.config.announced_per_trickle + 5 * (backlog // BACKLOG_PER_TRICKLE)
        items: list[Inventory] = []
        for wtxid in list(islice(announcements.queue, backlog)):
            if len(items) >= min(count, INVENTORY_MAX):
                break
            del announcements.queue[wtxid]
            is_unknown = wtxid not in announcements.known
            is_repeated = wtxid in announcements.repeated
            announcements.repeated.pop(wtxid, None)
            if (is_unknown or is_repeated) and self._passes(announcements, wtxid):
                items.append(Inventory(WTX, wtxid))
        if items:
            self._context.send(link, Inv(tuple(items)), Priority.TRANSACTION)
        if announcements.queue:
            self._schedule(link, announcements)

    def _passes(self, announcements: _Announcements, wtxid: Hash32) -> bool:
        """Return whether a transaction is in the pool and pays enough; if so, record it."""
        item = self._context.pool.by_wtxid(wtxid)
        if item is None or item.fee * 1000 < announcements.fee_floor * item.vsize:
            return False
        announcements.known.add(wtxid)
        announcements.announced.add(wtxid)
        for txin in item.transaction.inputs:  # a link that knows a child may request its parents
            parent = self._context.pool.by_txid(outpoint_txid(txin.outpoint))
            if parent is not None:
                announcements.announced.add(parent.transaction.wtxid)
        return True
