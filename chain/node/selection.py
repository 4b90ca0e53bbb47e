"""The selection of transactions for a block: highest fees for the miner."""

import heapq
from dataclasses import dataclass
from typing import Final

from chain.node.entry import PoolEntry
from chain.node.packages import Entries, ancestors, descendants
from chain.node.pool import Pool
from chain.primitives.numbers import Hash32

_MISFITS_MAX: Final = 1000  # in a row, before a nearly full block counts as full

_Ranked = tuple[int, int, Hash32]


@dataclass(frozen=True, slots=True)
class BlockSpace:
    """The room left in a block."""

    weight: int
    sigops_cost: int


def select(pool: Pool, room: BlockSpace) -> list[PoolEntry]:
    """Return entries that fit into `room`, parents before children.

    Repeatedly takes the package (an entry with its ancestors that are not taken yet) of the highest
    feerate with deltas (Bitcoin: addPackageTxs). Packages below 0 are left out: no fee is negative,
    so the owner's delta says so. Equal pools give equal results.
    """
    selection = _Selection(pool, room)
    misfits = 0
    while misfits < _MISFITS_MAX and (entry := selection.best()) is not None:
        misfits = 0 if selection.take(entry) else misfits + 1
    return selection.taken


class _Selection:
    """A partly filled block: a heap of packages by feerate; stale items are skipped."""

    def __init__(self, pool: Pool, room: BlockSpace) -> None:
        self.taken: list[PoolEntry] = []
        self._pool = pool
        self._space = room
        self._taken: set[Hash32] = set()
        self._arrival: dict[Hash32, int] = {}
        self._ranks: dict[Hash32, int] = {}
        self._heap: list[_Ranked] = []
        for number, entry in enumerate(pool.entries()):
            self._arrival[entry.txid] = number
            self._ranks[entry.txid] = -entry.ancestors.order
            self._heap.append((-entry.ancestors.order, number, entry.txid))
        heapq.heapify(self._heap)

    def best(self) -> PoolEntry | None:
        """Return the entry whose package has the highest feerate, each once; None at the end."""
        while self._heap:
            rank, _, txid = heapq.heappop(self._heap)
            if rank > 0:
                return None
            if txid not in self._taken and self._ranks.get(txid) == rank:
                del self._ranks[txid]
                entry = self._pool.get(txid)
                assert entry is not None, "the pool does not change while a block is made"
                return entry
        return None

    def take(self, entry: PoolEntry) -> bool:
        """Add an entry and its missing ancestors to the block; False if there is no room."""
        package = self._missing(entry)
        weight = sum(each.weight for each in package)
        sigops_cost = sum(each.sigops_cost for each in package)
        if weight > self._space.weight or sigops_cost > self._space.sigops_cost:
            return False
        self._space = BlockSpace(self._space.weight - weight, self._space.sigops_cost - sigops_cost)
        self.taken += package
        self._taken.update(each.txid for each in package)
        self._rank_again(descendants(self._pool, package))
        return True

    def _missing(self, entry: PoolEntry) -> list[PoolEntry]:
        """Return an entry and its ancestors that are not taken yet, in order of arrival."""
        above = ancestors(self._pool, entry.transaction)
        package = [each for txid, each in above.items() if txid not in self._taken]
        package.sort(key=lambda each: self._arrival[each.txid])
        return [*package, entry]

    def _rank_again(self, entries: Entries) -> None:
        """Push entries again whose packages became smaller."""
        for txid, entry in entries.items():
            if txid in self._taken:
                continue
            package = self._missing(entry)
            fees = sum(each.modified_fee for each in package)
            vsize = sum(each.vsize for each in package)
            rank = -((fees << 32) // vsize)
            self._ranks[txid] = rank
            heapq.heappush(self._heap, (rank, self._arrival[txid], txid))
