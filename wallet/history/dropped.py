"""Transactions that the node showed once and shows no longer, so that none vanishes unseen.

A reorganisation may drop a payment, and a replacement supersedes one. What is young enough for
that to happen is remembered; see `state` for where.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chain.primitives.numbers import Hash32, Height
from chain.primitives.transaction import Transaction
from wallet.history.book import Book, HistoryLine

DEEP: Final = 100  # confirmations from which on a transaction is taken to stay
REMEMBERED_AGE_S_MAX: Final = 14 * 24 * 3600  # Bitcoin: DEFAULT_MEMPOOL_EXPIRY_HOURS
REMEMBERED_MAX: Final = 1_000
_SEEN_RESOLUTION_S: Final = 3600  # how exactly it is known when something was last seen


@dataclass(frozen=True, slots=True)
class RememberedTransaction:
    """A transaction as it was last seen; `seen_at` is in seconds since 1970.

    Those that were first seen later have a higher `number`.
    """

    transaction: Transaction
    net: int
    height: Height | None
    seen_at: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class DroppedTransaction:
    """One that the node shows no longer; it counts for nothing."""

    remembered: RememberedTransaction
    replaced_by: Hash32 | None  # the transaction that spends one of its coins instead


Memory = Mapping[Hash32, RememberedTransaction]


def remember(memory: Memory, book: Book, now: int) -> dict[Hash32, RememberedTransaction]:
    """Return the memory after a look at the book; equal to `memory` if nothing is new.

    Forgotten is what became deep, what was last seen too long ago, and the oldest of too many.
    """
    kept = {
        txid: each
        for txid, each in memory.items()
        if book.find(txid) is None and now - each.seen_at <= REMEMBERED_AGE_S_MAX
    }
    number = max((each.number for each in memory.values()), default=0)
    for line in reversed(book.history()):
        if line.confirmations < DEEP:
            before = memory.get(line.txid)
            number += before is None
            kept[line.txid] = _refreshed(before, book, line, (now, number))
    order = sorted(kept, key=lambda txid: (kept[txid].seen_at, kept[txid].number), reverse=True)
    return {txid: kept[txid] for txid in order[:REMEMBERED_MAX]}


def numbers(memory: Memory) -> dict[Hash32, int]:
    """Return the numbers that count up in the order in which transactions were first seen."""
    return {txid: each.number for txid, each in memory.items()}


def dropped_transactions(memory: Memory, book: Book) -> list[DroppedTransaction]:
    """Return what the book no longer has, latest first."""
    dropped = [
        DroppedTransaction(each, _replacement(each.transaction, book))
        for txid, each in memory.items()
        if book.find(txid) is None
    ]
    return sorted(
        dropped, key=lambda each: (each.remembered.seen_at, each.remembered.number), reverse=True
    )


def _refreshed(
    before: RememberedTransaction | None, book: Book, line: HistoryLine, moment: tuple[int, int]
) -> RememberedTransaction:
    now, number = moment
    if before and before.height == line.height and abs(now - before.seen_at) < _SEEN_RESOLUTION_S:
        return before
    seen = book.find(line.txid)
    assert seen is not None, "the line is of the book"
    return RememberedTransaction(
        seen.transaction, line.net, line.height, now, before.number if before else number
    )


def _replacement(transaction: Transaction, book: Book) -> Hash32 | None:
    if transaction.is_coinbase:  # all of them "spend" the same null outpoint
        return None
    spenders = (book.spender(txin.outpoint) for txin in transaction.inputs)
    return next((txid for txid in spenders if txid is not None), None)
