"""Finding everything an account has: address by address, until a gap of unused ones (BIP44)."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from wallet.account import Account, Branch
from wallet.book import Book, Place
from wallet.errors import NodeError
from wallet.esplora import PARALLEL_MAX, Esplora, SeenTransaction

GAP_LIMIT: Final = 20  # unused addresses in a row after which none is looked for (BIP44)
_ADDRESSES_MAX: Final = 100_000  # a branch; a server that calls every address used must end too
_TRIES: Final = 3  # a new block during the scan makes it start again, but not for ever

Progress = Callable[[int], None]  # told the number of addresses looked at so far


def scan(
    account: Account, esplora: Esplora, known: Mapping[Branch, int], progress: Progress
) -> Book:
    """Return the account's book, all of it as of one tip if blocks leave time for that.

    `known` is how many addresses of each branch exist by the wallet's own memory: they are looked
    at whatever the gaps before them. Raises NodeError.
    """
    turns_left = _TRIES
    while True:
        tip_before = esplora.tip()
        scanner = _Scanner(account, esplora, progress)
        for branch in Branch:
            scanner.walk(branch, known[branch])
        turns_left -= 1
        if not turns_left or esplora.tip() == tip_before:
            return Book(scanner.seen.values(), scanner.places, tip_before[1], account.params)


class _Scanner:
    """One walk along both branches."""

    def __init__(self, account: Account, esplora: Esplora, progress: Progress) -> None:
        self.account = account
        self.esplora = esplora
        self.progress = progress
        self.seen: dict[bytes, SeenTransaction] = {}
        self.places: dict[bytes, Place] = {}

    def walk(self, branch: Branch, known: int) -> None:
        """Look at addresses until the last GAP_LIMIT of them were never used."""
        start, end = 0, known + GAP_LIMIT
        with ThreadPoolExecutor(PARALLEL_MAX) as pool:
            while start < end:
                if end > _ADDRESSES_MAX:
                    raise NodeError(f"the node calls more than {_ADDRESSES_MAX} addresses used")
                scripts = {self.account.script(branch, at): at for at in range(start, end)}
                histories = pool.map(self.esplora.history, scripts)
                start = end
                for (script, index), history in zip(scripts.items(), histories, strict=True):
                    self.places[script] = (branch, index)
                    if history:
                        end = max(end, index + 1 + GAP_LIMIT)
                    self._take(history)
                self.progress(len(self.places))

    def _take(self, history: Iterable[SeenTransaction]) -> None:
        for each in history:
            self.seen[each.transaction.txid] = each
