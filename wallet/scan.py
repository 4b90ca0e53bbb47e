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
_TRIES: Final = 3

Progress = Callable[[int], None]  # told the number of addresses looked at so far


def scan(
    account: Account, esplora: Esplora, known: Mapping[Branch, int], progress: Progress
) -> Book:
    """Return the account's book as of the tip at the end of the scan.

    `known` is how many addresses of each branch exist by the wallet's own memory: they are looked
    at whatever the gaps before them. Blocks that only build on meanwhile do no harm: what they
    confirm is seen at every address, as confirmed or as not yet. A reorganisation does, so it
    starts the scan again. Raises NodeError: unreachable, strange, or it reorganises without end.
    """
    for _ in range(_TRIES):
        start_id, start_height = esplora.tip()
        scanner = _Scanner(account, esplora, progress)
        for branch in Branch:
            scanner.walk(branch, known[branch])
        _, end_height = esplora.tip()
        if esplora.block_id(start_height) == start_id:
            return Book(scanner.seen.values(), scanner.places, end_height, account.params)
    raise NodeError("the node's chain reorganises all the time: try again later")


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
