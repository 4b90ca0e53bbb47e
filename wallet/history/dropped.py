"""Transactions that the node no longer shows, so that none disappears unnoticed.

A reorganisation may drop a payment, and a replacement supersedes one. Transactions recent enough
for that are stored in `state`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chain.primitives.numbers import Hash32, Height
from chain.primitives.transaction import Transaction
from wallet.history.book import Book, HistoryLine

DEEP: Final = 100  # confirmations that make a transaction final
REMEMBERED_AGE_S_MAX: Final = 14 * 24 * 3600  # Bitcoin: DEFAULT_MEMPOOL_EXPIRY_HOURS
REMEMBERED_MAX: Final = 1_000
_SEEN_RESOLUTION_S: Final = 3600  # the resolution of `seen_at`


@dataclass(frozen=True, slots=True)
class RememberedTransaction:
    """A transaction as last seen; `seen_at` is in seconds since 1970.

    Transactions first seen later have a higher `number`.
    """

    transaction: Transaction
    net: int
    height: Height | None
    seen_at: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class DroppedTransaction:
    """A transaction that the node no longer shows; it does not affect the balance."""

    remembered: RememberedTransaction
    replaced_by: Hash32 | None  # the transaction that spends one of its coins instead


Memory = Mapping[Hash32, RememberedTransaction]


def remember(memory: Memory, book: Book, now: int) -> dict[Hash32, RememberedTransaction]:
    """Return the memory updated from the book; equal to `memory` if nothing is new.

    Removes those that became deep or were last seen too long ago, and the oldest above a limit.
    """
    memory_now = {
        txid: each
        for txid, each in memory.items()
        if book.find(txid) is None and now - each.seen_at <= REMEMBERED_AGE_S_MAX
    }
    number = max((each.number for each in memory.values()), default=0)
    for line in reversed(book.history()):
        if line.confirmations < DEEP:
            before = memory.get(line.txid)
            number += before is None
            memory_now[line.txid] = _refreshed(before, book, line, (now, number))
    order = sorted(
        memory_now,
        key=lambda txid: (memory_now[txid].seen_at, memory_now[txid].number),
        reverse=True,
    )
    return {txid: memory_now[txid] for txid in order[:REMEMBERED_MAX]}


def numbers(memory: Memory) -> dict[Hash32, int]:
    """Return the numbers that count up in the order in which transactions were first seen."""
    return {txid: each.number for txid, each in memory.items()}


def dropped_transactions(memory: Memory, book: Book) -> list[DroppedTransaction]:
    """Return the transactions that the book no longer has, latest first."""
    dropped = [
        DroppedTransaction(each, _replacement(each.transaction, book))
        for txid, each in memory.items()
        if book.find(txid) is None
    ]
    return sorted(
        dropped, key=lambda each: (each.remembered.seen_at, each.remembered.number), reverse=True
    )


def _refreshed(
    before: RememberedTransaction | None,
    book: Book,
    line: HistoryLine,
    now_and_number: tuple[int, int],
) -> RememberedTransaction:
    now, number = now_and_number
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
