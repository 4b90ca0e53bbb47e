"""The choice of the change address: within reach of a restore from the words."""

from wallet.history.book import Book
from wallet.history.scan import GAP_LIMIT
from wallet.keys.account import Account, Keychain
from wallet.store.state import State


def next_change(account: Account, book: Book, state: State) -> tuple[int, bool]:
    """Return the index of the next change address, and whether another payment may use it too.

    It is the first after all that are used in chain and mempool to which no open draft, unconfirmed
    or dropped payment pays. It is less than GAP_LIMIT after them, because a wallet restored from
    its words scans no further: if none is free, the one held longest is used again (bdk issue
    1577).
    """
    used = book.used()[Keychain.CHANGE]
    window = range(used, used + GAP_LIMIT)
    taken = book.paid_scripts().union(
        out.script for each in state.remembered.values() for out in each.transaction.outputs
    )
    for index in window:
        if index not in state.held and account.script(Keychain.CHANGE, index) not in taken:
            return index, False
    held_longest = min(window, key=lambda at: (at not in state.held, state.held.get(at, 0)))
    return held_longest, True
