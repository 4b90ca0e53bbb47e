"""Finding everything an account has: address by address, until a gap of unused ones (BIP44)."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from chain.primitives.numbers import Height
from wallet.account import Account, Branch
from wallet.book import Book, Place
from wallet.cache import DEPTH, Anchor, Cache, Kept
from wallet.errors import NodeError
from wallet.esplora import PARALLEL_MAX, Esplora, SeenTransaction

GAP_LIMIT: Final = 20  # unused addresses in a row after which none is looked for (BIP44)
_ADDRESSES_MAX: Final = 100_000  # a branch; a server that calls every address used must end too
_TRIES: Final = 3

Progress = Callable[[int], None]  # told the number of addresses looked at so far


def scan(
    account: Account,
    esplora: Esplora,
    known: Mapping[Branch, int],
    progress: Progress,
    cache: Cache | None = None,
) -> Book:
    """Return the account's book as of the tip at the end of the scan.

    `known` is how many addresses of each branch exist by the wallet's own memory: they are looked
    at whatever the gaps before them. Blocks that only build on meanwhile do no harm: what they
    confirm is seen at every address, as confirmed or as not yet. A reorganisation does, so it
    starts the scan again. What is deep in the chain comes from the cache, if there is one, and goes
    there. Raises NodeError: unreachable, strange, or it reorganises without end.
    """
    for _ in range(_TRIES):
        start_id, start_height = esplora.tip()
        anchor = _anchor(esplora, start_height) if cache else None
        kept = cache.load(esplora.block_id, start_height) if cache else Kept()
        scanner = _Scanner(account, esplora, progress, kept)
        for branch in Branch:
            scanner.walk(branch, known[branch])
        _, end_height = esplora.tip()
        if esplora.block_id(start_height) == start_id:
            if cache and anchor:
                cache.save(kept, scanner.seen.values(), scanner.places, anchor)
            return Book(scanner.seen.values(), scanner.places, end_height, account.params)
    raise NodeError("the node's chain reorganises all the time: try again later")


def _anchor(esplora: Esplora, tip: Height) -> Anchor | None:
    """Return the block up to which a scan that starts now can be kept."""
    height = Height(tip - DEPTH)
    return Anchor(height, esplora.block_id(height)) if height > 0 else None


class _Scanner:
    """One walk along both branches."""

    def __init__(self, account: Account, esplora: Esplora, progress: Progress, kept: Kept) -> None:
        self.account = account
        self.esplora = esplora
        self.progress = progress
        self.kept = kept
        self.used = {out.script for each in kept.seen for out in each.transaction.outputs}
        self.seen: dict[bytes, SeenTransaction] = {}
        self._take(kept.seen)
        self.places: dict[bytes, Place] = {}

    def walk(self, branch: Branch, known: int) -> None:
        """Look at addresses until the last GAP_LIMIT of them were never used."""
        start, end = 0, known + GAP_LIMIT
        with ThreadPoolExecutor(PARALLEL_MAX) as pool:
            while start < end:
                if end > _ADDRESSES_MAX:
                    raise NodeError(f"the node calls more than {_ADDRESSES_MAX} addresses used")
                scripts = {self.account.script(branch, at): at for at in range(start, end)}
                histories = pool.map(self._history, scripts)
                start = end
                for (script, index), history in zip(scripts.items(), histories, strict=True):
                    self.places[script] = (branch, index)
                    if history or script in self.used:
                        end = max(end, index + 1 + GAP_LIMIT)
                    self._take(history)
                self.progress(len(self.places))

    def _history(self, script: bytes) -> list[SeenTransaction]:
        return self.esplora.history(script, down_to=self.kept.complete_to.get(script, Height(-1)))

    def _take(self, history: Iterable[SeenTransaction]) -> None:
        for each in history:
            self.seen[each.transaction.txid] = each
