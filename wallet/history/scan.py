"""The scan for an account's transactions: by address, until a gap of unused ones (BIP44)."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Protocol

from chain.primitives.numbers import Hash32, Height, OutPoint, outpoint
from chain.primitives.script import p2wpkh_key_hash
from wallet.errors import NodeError
from wallet.esplora import PARALLEL_MAX, Esplora
from wallet.esplora_shapes import Counts, SeenTransaction
from wallet.history.arrival import arrival_order
from wallet.history.book import Book, KeyIndex
from wallet.history.cache import DEPTH, Anchor, Cache, CachedHistory, LastView
from wallet.keys.account import Account, Keychain

GAP_LIMIT: Final = 20  # unused addresses in a row that end the scan (BIP44)
LOOK_AHEAD: Final = 200  # addresses beyond the gap to match own payments with in a first scan
_ADDRESSES_MAX: Final = 100_000  # per branch; ends the scan if a server calls every address used
_TRIES: Final = 3

Progress = Callable[[int], None]  # called with the number of addresses scanned so far


@dataclass(frozen=True, slots=True)
class Start:
    """A scan's input from the wallet's state.

    `addresses` is the number to scan in each branch, whatever the gaps between them.
    """

    addresses: Mapping[Keychain, int]
    numbers: Mapping[Hash32, int] = field(default_factory=dict)  # in order of first sight
    since: int = 0  # a height before which there should be nothing (a birthday)
    ahead: int = 0  # addresses beyond the gap limit that outputs of own payments are matched with


@dataclass(frozen=True, slots=True)
class Shortfall:
    """An address for which the server lists and counts different numbers of transactions."""

    script: bytes
    shown: int
    counted: int


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan's result."""

    book: Book
    seen: tuple[SeenTransaction, ...]  # in order of arrival
    shortfalls: tuple[Shortfall, ...]
    oldest_height: Height | None  # of a confirmed transaction


def scan(
    account: Account,
    esplora: Esplora,
    start: Start,
    progress: Progress,
    cache: Cache | None = None,
) -> Scan:
    """Return the account's book as of the tip at the end of the scan.

    New blocks during the scan do no harm: each address shows their transactions, confirmed or not
    yet. A reorganisation does harm, so it restarts the scan. Deep transactions are read from the
    cache, if there is one, and stored in it; if the resulting numbers of confirmed transactions
    differ from the server's counts, the cache is neither used nor written.
    Raises NodeError: unreachable, invalid answers, or endless reorganisations.
    """
    cached: CachedHistory | None = None
    for tries_left in reversed(range(_TRIES)):
        start_id, start_height = esplora.tip()
        anchor = _anchor(esplora, start_height) if cache else None
        if cached is None:
            cached = cache.load(esplora.block_id, start_height) if cache else CachedHistory()
        scanner = _Scanner(account, esplora, start, progress, cached)
        scanner.walk_all()
        _, end_height = esplora.tip()
        if esplora.block_id(start_height) != start_id:
            cached = None
            continue
        if scanner.miscounted and cached.complete_to and tries_left:
            cached = CachedHistory(generation=cached.generation)
            continue
        seen = scanner.in_order()
        if cache and anchor and not scanner.miscounted:
            cache.save(cached, seen, scanner.key_indexes, anchor)
        book = Book(seen, scanner.key_indexes, end_height, account.params)
        heights = (each.height for each in seen if each.height is not None)
        return Scan(
            book,
            tuple(seen),
            (*scanner.miscounted, *scanner.short_of_unconfirmed),
            min(heights, default=None),
        )
    raise NodeError("the node's chain keeps reorganising: try again later")


def book_as_of(account: Account, start: Start, view: LastView) -> Book:
    """Return the account's book as the node last showed it, without the node."""
    scanner = _Scanner(account, _NoServer(), start, lambda _: None, CachedHistory(view.seen))
    scanner.walk_all()
    return Book(scanner.in_order(), scanner.key_indexes, view.height, account.params)


class HistoryServer(Protocol):
    """What a scan asks a server for; see `Esplora`."""

    def history(self, script: bytes, *, down_to: int = -1) -> list[SeenTransaction]:
        """Return the transactions of an address, newest first."""
        ...

    def mempool_transactions(self, script: bytes) -> list[SeenTransaction]:
        """Return those in the mempool."""
        ...

    def counts(self, script: bytes) -> Counts | None:
        """Return their numbers."""
        ...

    def block_position(self, txid: Hash32) -> int | None:
        """Return a transaction's position in its block."""
        ...


class _NoServer:
    """A server that knows nothing besides what is cached."""

    def history(self, script: bytes, *, down_to: int = -1) -> list[SeenTransaction]:
        del script, down_to
        return []

    mempool_transactions = history

    def counts(self, script: bytes) -> None:
        del script

    def block_position(self, txid: Hash32) -> None:
        del txid


def _anchor(esplora: Esplora, tip: Height) -> Anchor | None:
    """Return the block up to which a scan that starts now can be cached."""
    height = Height(tip - DEPTH)
    return Anchor(height, esplora.block_id(height)) if height > 0 else None


class _Scanner:
    """One walk along both branches."""

    def __init__(
        self,
        account: Account,
        server: HistoryServer,
        start: Start,
        progress: Progress,
        cached: CachedHistory,
    ) -> None:
        self.account = account
        self.server = server
        self.start = start
        self.progress = progress
        self.cached = cached
        self.cached_ids = _touched(cached.seen)
        self.seen: dict[Hash32, SeenTransaction] = {}
        self._take(cached.seen)
        self.key_indexes: dict[bytes, KeyIndex] = {}
        self.miscounted: list[Shortfall] = []  # of confirmed transactions
        self.short_of_unconfirmed: list[Shortfall] = []
        self._ends = dict.fromkeys(Keychain, 0)  # number of addresses scanned
        self._ahead = max(start.ahead, 0 if cached.seen else LOOK_AHEAD)

    def walk_all(self) -> None:
        """Scan both branches, and again while own payments reach further."""
        for keychain in Keychain:
            self.walk(keychain, self.start.addresses[keychain])
        while self._ahead and (further := self._further()):
            for keychain, index in further.items():
                self.walk(keychain, index + 1)

    def walk(self, keychain: Keychain, known: int) -> None:
        """Scan addresses until the last GAP_LIMIT of them are unused."""
        start, end = self._ends[keychain], known + GAP_LIMIT
        with ThreadPoolExecutor(PARALLEL_MAX) as pool:
            while start < end:
                if end > _ADDRESSES_MAX:
                    raise NodeError(f"the node calls more than {_ADDRESSES_MAX} addresses used")
                scripts = {self.account.script(keychain, at): at for at in range(start, end)}
                histories = pool.map(self._history, scripts)
                start = end
                for (script, index), history in zip(scripts.items(), histories, strict=True):
                    self.key_indexes[script] = (keychain, index)
                    if history or script in self.cached_ids:
                        end = max(end, index + 1 + GAP_LIMIT)
                    self._take(reversed(history))
                self.progress(len(self.key_indexes))
        self._ends[keychain] = start

    def in_order(self) -> list[SeenTransaction]:
        """Return all transactions in order of arrival."""
        return arrival_order(self.seen.values(), self.start.numbers, self._positions)

    def _positions(self, txids: Sequence[Hash32]) -> Sequence[int | None]:
        with ThreadPoolExecutor(PARALLEL_MAX) as pool:
            return list(pool.map(self.server.block_position, txids))

    def _history(self, script: bytes) -> list[SeenTransaction]:
        """Return the server's transactions of an address, newest first, without cached ones.

        The number is compared with the server's count. If they differ, a block may have arrived,
        the birthday may be wrong, or the cache incomplete: then more of the history is read.
        """
        cached_to = self.cached.complete_to.get(script, Height(-1))
        cached_ids = self.cached_ids.get(script, set())
        seen: list[SeenTransaction] = []
        shown, counts = 0, None
        for down_to in (max(cached_to, self.start.since - 1), cached_to, -1):
            seen = self.server.history(script, down_to=down_to)
            if not seen and not cached_ids:
                return []
            counts = self.server.counts(script)
            shown = len(cached_ids.union(e.transaction.txid for e in seen if e.height is not None))
            if counts is None:
                return (
                    seen if down_to <= cached_to else self.server.history(script, down_to=cached_to)
                )
            if shown == counts.confirmed:
                return self._with_unconfirmed(script, seen, counts)
        if counts is not None:
            self.miscounted.append(Shortfall(script, shown, counts.confirmed))
        return seen

    def _with_unconfirmed(
        self, script: bytes, seen: list[SeenTransaction], counts: Counts
    ) -> list[SeenTransaction]:
        """Return the list with the mempool transactions that the server's first page lacks."""
        if sum(each.height is None for each in seen) >= counts.unconfirmed:
            return seen
        known = {each.transaction.txid for each in seen}
        more = [
            e for e in self.server.mempool_transactions(script) if e.transaction.txid not in known
        ]
        seen = more + seen
        shown = sum(each.height is None for each in seen)
        counted = self.server.counts(script)  # once more: they change
        if counted is not None and shown < min(counts.unconfirmed, counted.unconfirmed):
            self.short_of_unconfirmed.append(Shortfall(script, shown, counted.unconfirmed))
        return seen

    def _take(self, history: Iterable[SeenTransaction]) -> None:
        for each in history:
            before = self.seen.get(each.transaction.txid)
            is_newly_confirmed = (
                each.height is not None and before is not None and before.height != each.height
            )
            if before is None or is_newly_confirmed:  # confirmed at one address, not yet at another
                self.seen[each.transaction.txid] = each

    def _received(self) -> dict[OutPoint, bytes]:
        """Return the script of every output that pays to the account."""
        return {
            outpoint(txid, index): out.script
            for txid, each in self.seen.items()
            for index, out in enumerate(each.transaction.outputs)
            if out.script in self.key_indexes
        }

    def _further(self) -> dict[Keychain, int]:
        """Return the highest index of each branch beyond the gap that an own payment pays to.

        Other wallets, and this one before 0.2, could put change beyond the gap limit: a wallet
        restored from its words would not find these coins.
        """
        received = self._received()
        unmatched = {
            out.script
            for each in self.seen.values()
            if any(txin.outpoint in received for txin in each.transaction.inputs)
            for out in each.transaction.outputs
            if out.script not in self.key_indexes and p2wpkh_key_hash(out.script) is not None
        }
        found: dict[Keychain, int] = {}
        for keychain in Keychain if unmatched else ():
            end = self._ends[keychain]
            for index in range(end, end + self._ahead):
                if self.account.script(keychain, index) in unmatched:
                    found[keychain] = index
        return found


def _touched(seen: Sequence[SeenTransaction]) -> dict[bytes, set[Hash32]]:
    """Return, for each script, the transactions that pay to or spend from it."""
    outputs: dict[OutPoint, bytes] = {}
    for each in seen:
        txid = each.transaction.txid
        outputs |= {outpoint(txid, at): o.script for at, o in enumerate(each.transaction.outputs)}
    touched: dict[bytes, set[Hash32]] = defaultdict(set)
    for each in seen:
        for out in each.transaction.outputs:
            touched[out.script].add(each.transaction.txid)
        for txin in each.transaction.inputs:
            if txin.outpoint in outputs:
                touched[outputs[txin.outpoint]].add(each.transaction.txid)
    return dict(touched)
