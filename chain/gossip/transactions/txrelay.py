"""Announcing transactions: by wtxid, after a random while, to those who do not have them.

The wait hides where a transaction came from: outbound links have one timer each, all inbound links
share one, so that many links to us tell no more than one does.
"""

from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from chain.gossip.actions import Priority
from chain.gossip.context import Context, Link
from chain.gossip.events import LinkId
from chain.gossip.recent import Recent
from chain.gossip.views import PoolItem
from chain.gossip.wire.messages import (
    INVENTORY_MAX,
    WITNESS_TX,
    WTX,
    GetData,
    Inv,
    Inventory,
    NotFound,
    TxMessage,
)
from chain.primitives.numbers import Hash32, outpoint_txid
from chain.primitives.transaction import Transaction

KNOWN_PER_LINK_MAX: Final = 5000
QUEUE_PER_LINK_MAX: Final = 5000  # waiting to be announced; of more the oldest are dropped
BACKLOG_PER_TRICKLE: Final = 1000  # five more are announced for each so many that wait
UNBROADCAST_MAX: Final = 1000  # transactions of this node's users that are announced again
REBROADCAST_S: Final = 3600.0
FEE_FILTER_MAX: Final = 100_000_000  # grains for 1000 vbytes; more is no filter but nonsense


@dataclass(slots=True)
class _Announcements:
    """What one link has been told, and is to be."""

    announced: Recent  # what it may ask for
    known: Recent = field(default_factory=lambda: Recent(KNOWN_PER_LINK_MAX))
    queue: dict[Hash32, None] = field(default_factory=dict)
    repeated: dict[Hash32, None] = field(default_factory=dict)  # of the queue, though known
    fee_floor: int = 0  # grains for 1000 vbytes
    is_due: bool = False  # whether its own timer is set


class TxRelay:
    """Announces what the pool holds, and sends what was announced."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._announcements: dict[LinkId, _Announcements] = {}
        self._is_inbound_due = False
        self._unbroadcast: dict[Hash32, None] = {}
        self._is_rebroadcast_due = False

    def opened(self, link: Link) -> None:
        """Announce to a new link what the pool holds already."""
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

    def announced(self, link: Link, items: tuple[Inventory, ...]) -> None:
        """Note that a link has these: it need not be told."""
        announcements = self._announcements.get(link.id)
        if announcements is not None:
            for item in items:
                if item.kind == WTX:
                    announcements.known.add(item.id)
                    announcements.queue.pop(item.id, None)

    def fee_filter(self, link: Link, grains_per_kvb: int) -> None:
        """Announce nothing below this fee rate to a link from now on."""
        announcements = self._announcements.get(link.id)
        if announcements is not None and grains_per_kvb <= FEE_FILTER_MAX:
            announcements.fee_floor = grains_per_kvb

    def fee_floor(self, link: Link) -> int:
        """Return the grains for 1000 vbytes below which a link is told of nothing."""
        announcements = self._announcements.get(link.id)
        return 0 if announcements is None else announcements.fee_floor

    def announce_local(self, transaction: Transaction) -> None:
        """Announce a transaction of this node's user now, and every hour until it is confirmed.

        Peers may have lost it from their pools; at random, so that the times tell nobody whose it
        is.
        """
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
        """Announce a transaction of the pool to all but the link that it came by."""
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
        """Send what a link asks for, if we told it that we have it; else nobody can probe us."""
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
        """Set the timer of a link, or that of all inbound ones, if it is not set."""
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
        """Announce the oldest of what waits: so parents go before their children."""
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
        """Tell whether a transaction is still in the pool and pays enough; note that it is told."""
        item = self._context.pool.by_wtxid(wtxid)
        if item is None or item.fee * 1000 < announcements.fee_floor * item.transaction.vsize:
            return False
        announcements.known.add(wtxid)
        announcements.announced.add(wtxid)
        for txin in item.transaction.inputs:  # who hears of a child may ask for its parents
            parent = self._context.pool.by_txid(outpoint_txid(txin.outpoint))
            if parent is not None:
                announcements.announced.add(parent.transaction.wtxid)
        return True
