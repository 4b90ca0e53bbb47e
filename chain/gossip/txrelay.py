"""Announcing transactions: by wtxid, after a random while, to those who do not have them.

The wait hides where a transaction came from: outbound links have one timer each, all inbound links
share one, so that many links to us tell no more than one does.
"""

from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from chain.gossip.actions import Lane
from chain.gossip.context import Context, Link
from chain.gossip.events import LinkId
from chain.gossip.messages import (
    INVENTORY_MAX,
    WITNESS_TX,
    WTX,
    GetData,
    Inv,
    Inventory,
    NotFound,
    TxMessage,
)
from chain.gossip.recent import Recent
from chain.gossip.views import PoolItem
from chain.primitives.numbers import Hash32, outpoint_txid
from chain.primitives.transaction import Transaction

KNOWN_PER_LINK_MAX: Final = 5000
QUEUE_PER_LINK_MAX: Final = 5000  # waiting to be announced; of more the oldest are dropped
BACKLOG_PER_TRICKLE: Final = 1000  # five more are announced for each so many that wait
OWN_MAX: Final = 1000  # transactions of this node's users that are announced again
OWN_AGAIN_S: Final = 3600.0
FEE_FILTER_MAX: Final = 100_000_000  # grains for 1000 vbytes; more is no filter but nonsense


@dataclass(slots=True)
class _Telling:
    """What one link has been told, and is to be."""

    told: Recent  # what it may ask for
    known: Recent = field(default_factory=lambda: Recent(KNOWN_PER_LINK_MAX))
    queue: dict[Hash32, None] = field(default_factory=dict)
    again: dict[Hash32, None] = field(default_factory=dict)  # of the queue, though known
    fee_floor: int = 0  # grains for 1000 vbytes
    is_due: bool = False  # whether its own timer is set


class TxRelay:
    """Announces what the pool holds, and sends what was announced."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tellings: dict[LinkId, _Telling] = {}
        self._is_inbound_due = False
        self._own: dict[Hash32, None] = {}
        self._is_own_due = False

    def opened(self, link: Link) -> None:
        """Announce to a new link what the pool holds already."""
        if link.relays_transactions:
            telling = _Telling(Recent(self._context.config.told_per_link))
            self._tellings[link.id] = telling
            for wtxid in islice(self._context.pool.wtxids(), QUEUE_PER_LINK_MAX):
                telling.queue[wtxid] = None
            if telling.queue:
                self._arm(link, telling)

    def closed(self, link: Link) -> None:
        """Forget a link."""
        self._tellings.pop(link.id, None)

    def announced(self, link: Link, items: tuple[Inventory, ...]) -> None:
        """Note that a link has these: it need not be told."""
        telling = self._tellings.get(link.id)
        if telling is not None:
            for item in items:
                if item.kind == WTX:
                    telling.known.add(item.id)
                    telling.queue.pop(item.id, None)

    def fee_filter(self, link: Link, grains_per_kvb: int) -> None:
        """Announce nothing below this fee rate to a link from now on."""
        telling = self._tellings.get(link.id)
        if telling is not None and grains_per_kvb <= FEE_FILTER_MAX:
            telling.fee_floor = grains_per_kvb

    def fee_floor(self, link: Link) -> int:
        """Return the grains for 1000 vbytes below which a link is told of nothing."""
        telling = self._tellings.get(link.id)
        return 0 if telling is None else telling.fee_floor

    def tell_own(self, transaction: Transaction) -> None:
        """Announce a transaction of this node's user now, and every hour until it is confirmed.

        Peers may have lost it from their pools; at random, so that the times tell nobody whose it
        is.
        """
        self._own[transaction.wtxid] = None
        if len(self._own) > OWN_MAX:
            del self._own[next(iter(self._own))]
        self.tell(transaction, None)
        self._arm_own()

    def _arm_own(self) -> None:
        if self._own and not self._is_own_due:
            self._is_own_due = True
            wait_s = OWN_AGAIN_S * self._context.chance.uniform(0.5, 1.5)
            self._context.later(wait_s, self._tell_own_again)

    def _tell_own_again(self) -> None:
        self._is_own_due = False
        pool, links = self._context.pool, self._context.links
        self._own = {wtxid: None for wtxid in self._own if pool.by_wtxid(wtxid) is not None}
        for link_id, telling in self._tellings.items():
            if link_id in links and self._own:
                telling.again.update(self._own)
                telling.queue.update(self._own)
                self._arm(links[link_id], telling)
        self._arm_own()

    def tell(self, transaction: Transaction, source: LinkId | None) -> None:
        """Announce a transaction of the pool to all but the link that it came by."""
        wtxid = transaction.wtxid
        for link_id, telling in self._tellings.items():
            link = self._context.links.get(link_id)
            if link_id == source:
                telling.known.add(wtxid)
            elif link is not None and wtxid not in telling.known:
                telling.queue[wtxid] = None
                if len(telling.queue) > QUEUE_PER_LINK_MAX:
                    del telling.queue[next(iter(telling.queue))]
                self._arm(link, telling)

    def wanted(self, link: Link, message: GetData) -> None:
        """Send what a link asks for, if we told it that we have it; else nobody can probe us."""
        missing = []
        for item in message.items:
            if item.kind in (WTX, WITNESS_TX):
                found = self._find(link, item)
                if found is None:
                    missing.append(item)
                else:
                    self._context.send(link, TxMessage(found.transaction), Lane.TRANSACTION)
        if missing:
            self._context.send(link, NotFound(tuple(missing)), Lane.CONTROL)

    def _find(self, link: Link, item: Inventory) -> PoolItem | None:
        telling = self._tellings.get(link.id)
        pool = self._context.pool
        found = pool.by_wtxid(item.id) if item.kind == WTX else pool.by_txid(item.id)
        if telling is None or found is None or found.transaction.wtxid not in telling.told:
            return None
        return found

    def _arm(self, link: Link, telling: _Telling) -> None:
        """Set the timer of a link, or that of all inbound ones, if it is not set."""
        context = self._context
        if link.is_outbound:
            if telling.is_due:
                return
            telling.is_due = True
            wait_s = context.chance.expovariate(1 / context.config.trickle_outbound_s)
            context.later(wait_s, lambda: self._trickle(link))
        elif not self._is_inbound_due:
            self._is_inbound_due = True
            wait_s = context.chance.expovariate(1 / context.config.trickle_inbound_s)
            context.later(wait_s, self._trickle_inbound)

    def _trickle_inbound(self) -> None:
        self._is_inbound_due = False
        for link in list(self._context.links.values()):
            if not link.is_outbound:
                self._trickle(link)

    def _trickle(self, link: Link) -> None:
        """Announce the oldest of what waits: so parents go before their children."""
        telling = self._tellings.get(link.id)
        if telling is None:
            return
        telling.is_due = False
        backlog = len(telling.queue)
        count = self._context.config.announced_per_trickle + 5 * (backlog // BACKLOG_PER_TRICKLE)
        items: list[Inventory] = []
        for wtxid in list(islice(telling.queue, backlog)):
            if len(items) >= min(count, INVENTORY_MAX):
                break
            del telling.queue[wtxid]
            is_news = wtxid not in telling.known
            is_again = wtxid in telling.again
            telling.again.pop(wtxid, None)
            if (is_news or is_again) and self._passes(telling, wtxid):
                items.append(Inventory(WTX, wtxid))
        if items:
            self._context.send(link, Inv(tuple(items)), Lane.TRANSACTION)
        if telling.queue:
            self._arm(link, telling)

    def _passes(self, telling: _Telling, wtxid: Hash32) -> bool:
        """Tell whether a transaction is still in the pool and pays enough; note that it is told."""
        item = self._context.pool.by_wtxid(wtxid)
        if item is None or item.fee * 1000 < telling.fee_floor * item.transaction.vsize:
            return False
        telling.known.add(wtxid)
        telling.told.add(wtxid)
        for txin in item.transaction.inputs:  # who hears of a child may ask for its parents
            parent = self._context.pool.by_txid(outpoint_txid(txin.outpoint))
            if parent is not None:
                telling.told.add(parent.transaction.wtxid)
        return True
