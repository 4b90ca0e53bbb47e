"""The account's book: its coins, balance and history, computed from its transactions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from chain.consensus.params import Params
from chain.primitives.numbers import Amount, Hash32, Height, OutPoint, outpoint
from chain.primitives.transaction import Transaction, TxOut
from wallet.esplora_shapes import SeenTransaction
from wallet.keys.account import Keychain

KeyIndex = tuple[Keychain, int]  # an address of the account
_UNCONFIRMED: Final = 1 << 32  # above all heights: unconfirmed comes first in the history


class CoinStatus(StrEnum):
    """Whether and why a coin can be spent now."""

    CONFIRMED = "confirmed"
    TRUSTED = "trusted"  # unconfirmed, from a payment that only this wallet could have made
    UNTRUSTED = "untrusted"  # unconfirmed, from others, who may replace it
    IMMATURE = "immature"  # an immature coinbase


@dataclass(frozen=True, slots=True)
class WalletCoin:
    """An unspent output that pays to the account."""

    point: OutPoint
    value: Amount
    script: bytes
    key_index: KeyIndex
    height: Height | None
    status: CoinStatus

    @property
    def is_spendable(self) -> bool:
        """Whether a payment may use it: confirmed, or own change."""
        if self.status is CoinStatus.TRUSTED:
            return self.key_index[0] is Keychain.CHANGE
        return self.status is CoinStatus.CONFIRMED


@dataclass(frozen=True, slots=True)
class Balance:
    """The sums of all coins by status (Bitcoin: getbalances)."""

    trusted: Amount  # confirmed, and unconfirmed from this wallet itself
    untrusted_pending: Amount
    immature: Amount

    @property
    def total(self) -> Amount:
        """The sum of all of them."""
        return Amount(self.trusted + self.untrusted_pending + self.immature)


@dataclass(frozen=True, slots=True)
class AddressUse:
    """What was paid to an address."""

    payments: int  # outputs, spent ones included
    balance: Amount  # unspent


UNUSED: Final = AddressUse(0, Amount(0))


class Kind(StrEnum):
    """What a transaction is to the account (Bitcoin: the categories of listtransactions)."""

    RECEIVED = "received"
    SENT = "sent"
    MINED = "mined"  # a coinbase, mature or dropped
    IMMATURE = "immature"


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One transaction's effect on the account."""

    txid: Hash32
    net: int  # grains, negative if more was spent than received
    fee: Amount | None  # None unless the account alone paid it
    height: Height | None
    time: int | None
    confirmations: int
    from_coinbase: bool
    kind: Kind
    scripts: tuple[bytes, ...]  # whom it paid, this wallet included
    is_shown: bool  # False: an own payment that the server does not show yet


class Book:
    """All transactions of the account as of one tip; computes only, without a server."""

    def __init__(
        self,
        seen: Iterable[SeenTransaction],
        key_indexes: Mapping[bytes, KeyIndex],
        tip_height: Height,
        params: Params,
    ) -> None:
        """Take the transactions in order of arrival, and the account's scripts with indexes."""
        self.tip_height = tip_height
        self.params = params
        self._key_indexes = key_indexes
        self._seen = {each.transaction.txid: each for each in seen}
        self._received: dict[OutPoint, TxOut] = {}
        for each in self._seen.values():
            self._receive(each.transaction)
        self._spenders: dict[OutPoint, Hash32] = {}
        for each in self._seen.values():
            self._spend(each.transaction)
        self._pending: set[Hash32] = set()

    def add_pending(self, transactions: Iterable[Transaction]) -> None:
        """Take own payments, in the order they were made, that the server does not show yet.

        A payment with missing coins is left out: the server knows a conflicting one.
        """
        for transaction in transactions:
            points = {txin.outpoint for txin in transaction.inputs}
            unspent = self._received.keys() - self._spenders.keys()
            if transaction.txid not in self._seen and points <= unspent:
                self._seen[transaction.txid] = SeenTransaction(transaction, None, None)
                self._pending.add(transaction.txid)
                self._spend(transaction)
                self._receive(transaction)

    def key_index(self, script: bytes) -> KeyIndex | None:
        """Return the index of the scanned address that a script pays to, if any."""
        return self._key_indexes.get(script)

    def find(self, txid: Hash32) -> SeenTransaction | None:
        """Return a transaction of the account."""
        return self._seen.get(txid)

    def spender(self, point: OutPoint) -> Hash32 | None:
        """Return the transaction of the account that spends a coin, whoever made it."""
        return self._spenders.get(point)

    def spent_coins(self, transaction: Transaction) -> list[WalletCoin] | None:
        """Return the coins that a transaction spends, or None if not all are the account's."""
        points = [txin.outpoint for txin in transaction.inputs]
        if not all(point in self._received for point in points):
            return None
        return [self._coin(point, self._received[point]) for point in points]

    def used(self) -> dict[Keychain, int]:
        """Return, for each branch, one more than the highest index paid in chain or mempool.

        Payments known to this wallet only do not count: they may never get there.
        """
        counts = dict.fromkeys(Keychain, 0)
        for point, out in self._received.items():
            if Hash32(point[:32]) not in self._pending:
                keychain, index = self._key_indexes[out.script]
                counts[keychain] = max(counts[keychain], index + 1)
        return counts

    def paid_scripts(self) -> set[bytes]:
        """Return the account's scripts that any transaction pays to, own pending ones included."""
        return {out.script for out in self._received.values()}

    def uses(self) -> dict[bytes, AddressUse]:
        """Return the use of each script that was paid."""
        uses: dict[bytes, AddressUse] = {}
        for point, out in self._received.items():
            before = uses.get(out.script, UNUSED)
            unspent = 0 if point in self._spenders else out.value
            uses[out.script] = AddressUse(before.payments + 1, Amount(before.balance + unspent))
        return uses

    def coins(self) -> list[WalletCoin]:
        """Return all unspent coins, oldest first, unconfirmed last."""
        coins = [
            self._coin(point, out)
            for point, out in self._received.items()
            if point not in self._spenders
        ]
        return sorted(coins, key=_age_order)

    def balance(self) -> Balance:
        """Return the balance."""
        sums = dict.fromkeys(CoinStatus, 0)
        for coin in self.coins():
            sums[coin.status] += coin.value
        return Balance(
            trusted=Amount(sums[CoinStatus.CONFIRMED] + sums[CoinStatus.TRUSTED]),
            untrusted_pending=Amount(sums[CoinStatus.UNTRUSTED]),
            immature=Amount(sums[CoinStatus.IMMATURE]),
        )

    def history(self) -> list[HistoryLine]:
        """Return every transaction's effect, newest first."""
        lines = [self._line(each) for each in self._seen.values()]
        lines.sort(key=lambda line: _UNCONFIRMED if line.height is None else line.height)
        return lines[::-1]

    def _spend(self, transaction: Transaction) -> None:
        for txin in transaction.inputs:
            self._spenders[txin.outpoint] = transaction.txid

    def _receive(self, transaction: Transaction) -> None:
        for index, out in enumerate(transaction.outputs):
            if out.script in self._key_indexes:
                self._received[outpoint(transaction.txid, index)] = out

    def _coin(self, point: OutPoint, out: TxOut) -> WalletCoin:
        each = self._seen[Hash32(point[:32])]
        if each.height is None:
            trusted = self._is_trusted(each.transaction)
            status = CoinStatus.TRUSTED if trusted else CoinStatus.UNTRUSTED
        elif each.transaction.is_coinbase and self._age(each.height) < self._maturity:
            status = CoinStatus.IMMATURE
        else:
            status = CoinStatus.CONFIRMED
        place = self._key_indexes[out.script]
        return WalletCoin(point, out.value, out.script, place, each.height, status)

    def _is_trusted(self, transaction: Transaction) -> bool:
        """Return whether only this wallet can have made it and its unconfirmed ancestors.

        Not recursive: the server decides how long the chain of unconfirmed parents is.
        """
        unchecked = [transaction]
        seen: set[Hash32] = set()
        while unchecked:
            for txin in unchecked.pop().inputs:
                parent_id = Hash32(txin.outpoint[:32])
                if txin.outpoint not in self._received:
                    return False
                parent = self._seen[parent_id]
                if parent.height is None and parent_id not in seen:
                    seen.add(parent_id)
                    unchecked.append(parent.transaction)
        return True

    def _line(self, each: SeenTransaction) -> HistoryLine:
        transaction = each.transaction
        spent = [
            self._received[txin.outpoint].value
            for txin in transaction.inputs
            if txin.outpoint in self._received
        ]
        received = sum(out.value for out in transaction.outputs if out.script in self._key_indexes)
        funded = len(spent) == len(transaction.inputs)
        net = received - sum(spent)
        is_immature = each.height is not None and self._age(each.height) < self._maturity
        return HistoryLine(
            txid=transaction.txid,
            net=net,
            fee=Amount(sum(spent) - transaction.output_value) if funded else None,
            height=each.height,
            time=each.time,
            confirmations=0 if each.height is None else self._age(each.height),
            from_coinbase=transaction.is_coinbase,
            kind=kind_of(transaction, net, is_immature=is_immature),
            scripts=tuple(out.script for out in transaction.outputs),
            is_shown=transaction.txid not in self._pending,
        )

    @property
    def _maturity(self) -> int:
        return self.params.coinbase_maturity_blocks

    def _age(self, height: Height) -> int:
        """Return the confirmations, which is also the age in the next block."""
        return max(self.tip_height - height + 1, 0)


def kind_of(transaction: Transaction, net: int, *, is_immature: bool = False) -> Kind:
    """Return the kind of a transaction that changes the balance by `net` grains."""
    if transaction.is_coinbase:
        return Kind.IMMATURE if is_immature else Kind.MINED
    return Kind.SENT if net < 0 else Kind.RECEIVED


def _age_order(coin: WalletCoin) -> tuple[int, OutPoint]:
    return _UNCONFIRMED if coin.height is None else coin.height, coin.point
