"""From a peer's announcement to the mempool: what is asked for, validated, kept as orphan."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chain.gossip.actions import ValidateTx
from chain.gossip.context import Context, Link
from chain.gossip.events import LinkId, Token, TxOutcome, TxVerdict
from chain.gossip.recent import Recent
from chain.gossip.transactions.orphans import MISSING_MAX, Orphan, Orphans
from chain.gossip.transactions.txrequest import TxRequests
from chain.gossip.wire.messages import WITNESS_TX, WTX, Inventory, NotFound
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction

EXTRA_MAX: Final = 100  # Bitcoin: blockreconstructionextratxn
REJECTS_MAX: Final = 120_000  # ids of transactions refused since the last block
SEEN_MAX: Final = 100_000  # ids of transactions that were in the pool lately
VALIDATING_MAX: Final = 1000  # with the mempool at a time
INVALID_TX_US: Final = 2000  # what an invalid one costs its sender besides


@dataclass(frozen=True, slots=True)
class _ValidatingTx:
    transaction: Transaction
    link: LinkId


class TxDownload:
    """Asks for what is new, has it validated, and tells what was accepted."""

    def __init__(
        self, context: Context, on_accepted: Callable[[Transaction, LinkId], None]
    ) -> None:
        """`on_accepted(transaction, link it came by)` is called when the pool has it."""
        self._context = context
        self._on_accepted = on_accepted
        self._requests = TxRequests(context, self._is_needed)
        self._orphans = Orphans()
        self._rejects = Recent(REJECTS_MAX)
        self._seen = Recent(SEEN_MAX)
        self._validating: dict[Token, _ValidatingTx] = {}
        self._validating_ids: dict[Hash32, None] = {}  # wtxids of `_validating`
        self._extra_transactions: deque[Transaction] = deque(maxlen=EXTRA_MAX)

    @property
    def extra_transactions(self) -> tuple[Transaction, ...]:
        """Transactions that were not taken, of late: a miner may have taken them all the same."""
        return tuple(self._extra_transactions)

    @property
    def requests(self) -> TxRequests:
        """What is asked of whom."""
        return self._requests

    @property
    def orphans(self) -> Orphans:
        """What waits for its parents."""
        return self._orphans

    def opened(self, link: Link) -> None:
        """Note a new link."""
        self._requests.opened(link)

    def closed(self, link: Link) -> None:
        """Forget a link and what only it vouched for."""
        self._requests.closed(link)
        self._orphans.drop_link(link.id)

    def expects(self, link: Link, transaction: Transaction) -> bool:
        """Tell whether this link was asked for this transaction."""
        return any(self._requests.is_requested(link, item) for item in _inventories(transaction))

    def announced(self, link: Link, items: tuple[Inventory, ...]) -> None:
        """Ask for what we lack of the transactions that a link has."""
        if not link.relays_transactions:
            return
        for item in items:
            if item.kind == WTX and self._is_needed(item):
                self._requests.announced(link, item)
        self._requests.flush()

    def not_found(self, link: Link, message: NotFound) -> None:
        """Ask the next link for what this one lacks."""
        for item in message.items:
            self._requests.item_received(link, item)
        self._requests.flush()

    def received(self, link: Link, transaction: Transaction) -> None:
        """Take a transaction; one that nobody asked for is dropped."""
        if not self.expects(link, transaction):
            return
        if self._is_needed(Inventory(WTX, transaction.wtxid)):
            self._validate(transaction, link.id)
        for item in _inventories(transaction):
            self._requests.forget(item)

    def verdict(self, verdict: TxVerdict) -> None:
        """Take what the mempool said of a transaction."""
        pending = self._validating.pop(verdict.token, None)
        if pending is None:
            return
        transaction, link = pending.transaction, self._context.links.get(pending.link)
        del self._validating_ids[transaction.wtxid]
        if verdict.outcome in (TxOutcome.REFUSED, TxOutcome.MISSING):
            self._extra_transactions.append(transaction)
        match verdict.outcome:
            case TxOutcome.ACCEPTED:
                self._accepted(transaction, pending.link)
            case TxOutcome.KNOWN:
                self._seen.add(transaction.wtxid)
            case TxOutcome.MISSING:
                self._keep_orphan(transaction, link, verdict.missing)
            case TxOutcome.REFUSED | TxOutcome.INVALID:
                self._rejects.add(transaction.wtxid)
        if verdict.outcome is TxOutcome.INVALID and link is not None:
            link.budget.charge_cpu(INVALID_TX_US, self._context.now.mono_us)

    def local_transaction(self, transaction: Transaction) -> None:
        """Note that a transaction came into the pool by another way."""
        self._seen.add(transaction.wtxid)
        self._revalidate_children(transaction)

    def tip_changed(self) -> None:
        """Forget what was refused: in the next block it may be good."""
        self._rejects.clear()

    def reorganised(self) -> None:
        """Forget what was seen: if it was confirmed, it may be wanted again."""
        self._seen.clear()

    def _is_needed(self, item: Inventory) -> bool:
        pool = self._context.pool
        if len(self._validating_ids) >= VALIDATING_MAX:
            return False
        if item.kind == WITNESS_TX:
            return pool.by_txid(item.id) is None
        if item.id in self._validating_ids or item.id in self._rejects or item.id in self._seen:
            return False
        return pool.by_wtxid(item.id) is None and not self._orphans.has(item.id)

    def _validate(self, transaction: Transaction, link: LinkId) -> None:
        token = self._context.token()
        self._validating[token] = _ValidatingTx(transaction, link)
        self._validating_ids[transaction.wtxid] = None
        self._context.emit(ValidateTx(token, transaction))

    def _accepted(self, transaction: Transaction, link: LinkId) -> None:
        self._seen.add(transaction.wtxid)
        sender = self._context.links.get(link)
        if sender is not None:
            sender.last_transaction_us = self._context.now.mono_us
        self._on_accepted(transaction, link)
        self._revalidate_children(transaction)

    def _revalidate_children(self, transaction: Transaction) -> None:
        for orphan in self._orphans.take_children(transaction.txid):
            if orphan.transaction.wtxid not in self._validating_ids:
                self._validate(orphan.transaction, orphan.link)

    def _keep_orphan(
        self, transaction: Transaction, link: Link | None, missing: tuple[Hash32, ...]
    ) -> None:
        """Keep an orphan, and ask whoever sent it for its parents."""
        if link is None or len(missing) > MISSING_MAX:
            return
        orphan = Orphan(transaction, link.id, missing, self._context.now.mono_us)
        if self._orphans.add(orphan):
            for txid in missing:
                item = Inventory(WITNESS_TX, txid)
                if self._is_needed(item):
                    self._requests.announced(link, item)
            self._requests.flush()


def _inventories(transaction: Transaction) -> tuple[Inventory, Inventory]:
    """Return the two names by which a transaction may have been asked for."""
    return Inventory(WTX, transaction.wtxid), Inventory(WITNESS_TX, transaction.txid)
