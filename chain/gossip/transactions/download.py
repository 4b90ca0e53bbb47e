"""Transaction download: requests, validation, and orphans, from announcement to mempool."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chain.gossip.actions import ValidateTx
from chain.gossip.context import Context, Link
from chain.gossip.dispatch import Handler, Part, on_event, on_message
from chain.gossip.events import LinkId, LocalTx, Token, TxOutcome, TxVerdict
from chain.gossip.transactions.orphans import MISSING_MAX, Orphan, Orphans
from chain.gossip.transactions.txrequest import TxRequests
from chain.gossip.wire.messages import WITNESS_TX, WTX, Inv, Inventory, NotFound, TxMessage
from chain.primitives.numbers import Hash32
from chain.primitives.recent import Recent
from chain.primitives.transaction import Transaction

EXTRA_MAX: Final = 100  # Bitcoin: blockreconstructionextratxn
REJECTS_MAX: Final = 120_000  # ids of transactions refused since the last block
SEEN_MAX: Final = 100_000  # ids of transactions that were in the pool recently
VALIDATING_MAX: Final = 1000  # in validation by the mempool at the same time
INVALID_TX_US: Final = 2000  # extra cost to the sender of an invalid one


@dataclass(frozen=True, slots=True)
class _ValidatingTx:
    transaction: Transaction
    link: LinkId


class TxDownload(Part):
    """Requests new transactions, has them validated, and reports those that were accepted."""

    def __init__(
        self, context: Context, on_accepted: Callable[[Transaction, LinkId], None]
    ) -> None:
        """`on_accepted(transaction, link it came from)` is called once the pool has it."""
        self._context = context
        self._on_accepted = on_accepted
        self._requests = TxRequests(context, self._is_needed)
        self._orphans = Orphans()
        self._rejects = Recent(REJECTS_MAX)
        self._seen = Recent(SEEN_MAX)
        self._validating: dict[Token, _ValidatingTx] = {}
        self._validating_ids: dict[Hash32, None] = {}  # wtxids of `_validating`
        self._extra_transactions: deque[Transaction] = deque(maxlen=EXTRA_MAX)

    def handlers(self) -> tuple[Handler, ...]:
        """Handle announcements, transactions and the mempool's verdicts on them."""
        return (
            on_message(Inv, self.announced),
            on_message(NotFound, self.not_found),
            on_message(TxMessage, self.received, expects=self.expects),
            on_event(TxVerdict, self.verdict),
            on_event(LocalTx, self.local_transaction),
        )

    def extra_transactions(self) -> tuple[Transaction, ...]:
        """Return recently refused transactions, which a miner may have included nevertheless."""
        return tuple(self._extra_transactions)

    @property
    def requests(self) -> TxRequests:
        """The request tracker."""
        return self._requests

    @property
    def orphans(self) -> Orphans:
        """The transactions that wait for their parents."""
        return self._orphans

    def opened(self, link: Link) -> None:
        """Note a new link."""
        self._requests.opened(link)

    def closed(self, link: Link) -> None:
        """Forget a link and what only that link announced."""
        self._requests.closed(link)
        self._orphans.drop_link(link.id)

    def expects(self, link: Link, message: TxMessage) -> bool:
        """Return whether this link has an open request for this transaction."""
        items = _inventories(message.transaction)
        return any(self._requests.is_requested(link, item) for item in items)

    def announced(self, link: Link, message: Inv) -> None:
        """Request those announced transactions that we lack."""
        if not link.relays_transactions:
            return
        for item in message.items:
            if item.kind == WTX and self._is_needed(item):
                self._requests.announced(link, item)
        self._requests.flush()

    def not_found(self, link: Link, message: NotFound) -> None:
        """Request from the next link what this one does not have."""
        for item in message.items:
            self._requests.item_received(link, item)
        self._requests.flush()

    def received(self, link: Link, message: TxMessage) -> None:
        """Handle a received transaction; one that was not requested is dropped."""
        if not self.expects(link, message):
            return
        transaction = message.transaction
        if self._is_needed(Inventory(WTX, transaction.wtxid)):
            self._validate(transaction, link.id)
        for item in _inventories(transaction):
            self._requests.forget(item)

    def verdict(self, verdict: TxVerdict) -> None:
        """Handle the mempool's verdict on a transaction."""
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
        if link is not None:
            self._charge(link, transaction, verdict)

    def _charge(self, link: Link, transaction: Transaction, verdict: TxVerdict) -> None:
        """Charge the sender what was not known when the transaction arrived."""
        now_us = self._context.now.mono_us
        if verdict.failed_input is not None:
            link.budget.charge_input(transaction, verdict.failed_input, now_us)
        if verdict.outcome is TxOutcome.INVALID:
            link.budget.charge_cpu(INVALID_TX_US, now_us)

    def local_transaction(self, event: LocalTx) -> None:
        """Record a transaction that reached the pool by another way."""
        self._seen.add(event.transaction.wtxid)
        self._revalidate_children(event.transaction)

    def tip_changed(self) -> None:
        """Forget the refused transactions: in the next block they may be valid."""
        self._rejects.clear()

    def reorganised(self) -> None:
        """Forget the seen transactions: one that was confirmed may be needed again."""
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
        """Keep an orphan, and request its parents from the link that sent it."""
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
    """Return the two inventory items by which a transaction may have been requested."""
    return Inventory(WTX, transaction.wtxid), Inventory(WITNESS_TX, transaction.txid)
