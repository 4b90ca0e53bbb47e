"""Eviction from a full mempool, and the minimum feerate that follows from it."""

import heapq
from typing import Final

from chain.node.entry import Package, PoolEntry
from chain.node.pool import Pool
from chain.primitives.numbers import Hash32

HALF_LIFE_S: Final = 12 * 3600  # Bitcoin: ROLLING_FEE_HALFLIFE
FEERATE_MAX: Final = (1 << 63) - 1  # it is stored in 64 bits, and fee deltas can make any rate
_STALE_MAX: Final = 1000  # beyond one for each entry, before the heap is rebuilt

Rank = tuple[int, int]  # the lowest is evicted first
_Ranked = tuple[Rank, Hash32]


class EvictionQueue:
    """Finds the entry whose package of descendants pays the lowest rate.

    A heap; an entry is pushed again when its score changes, and stale items are skipped.
    """

    def __init__(self) -> None:
        self._heap: list[_Ranked] = []
        self._ranks: dict[Hash32, Rank] = {}
        self._pushed = 0

    def push(self, entry: PoolEntry) -> None:
        """Score an entry that is new, or whose descendants or their fees changed."""
        self._pushed += 1
        rank = self._ranks.get(entry.txid)
        number = self._pushed if rank is None else -rank[1]
        rank = (_score(entry), -number)  # of equal scores, the latest is evicted first
        self._ranks[entry.txid] = rank
        heapq.heappush(self._heap, (rank, entry.txid))
        if len(self._heap) > 2 * len(self._ranks) + _STALE_MAX:
            self._heap = [(rank, txid) for txid, rank in self._ranks.items()]
            heapq.heapify(self._heap)

    def forget(self, entry: PoolEntry) -> None:
        """Remove an entry."""
        self._ranks.pop(entry.txid, None)

    def lowest(self, pool: Pool) -> PoolEntry:
        """Return the entry to evict next, with its descendants; the pool is not empty."""
        while True:
            rank, txid = self._heap[0]
            entry = pool.get(txid)
            if entry is not None and self._ranks.get(txid) == rank:
                return entry
            heapq.heappop(self._heap)


class RollingFeerate:
    """The minimum feerate after an eviction; it halves as time passes.

    Bitcoin: CTxMemPool::GetMinFee and trackPackageRemoved, in integers, linear between the
    halvings.
    """

    def __init__(self, incremental_rate: int, pool_bytes_max: int) -> None:
        self._incremental = incremental_rate
        self._pool_bytes_max = pool_bytes_max
        self._rate = 0
        self._falls_since: int | None = None  # the time of a block after the last eviction

    def evicted(self, package: Package, now: int, pool_usage_bytes: int) -> None:
        """Raise the minimum above the feerate of an evicted package."""
        rate = min(package.modified_feerate + self._incremental, FEERATE_MAX)
        if rate > self._fallen(now, pool_usage_bytes):
            self._rate = rate
            self._falls_since = None

    def block_connected(self, now: int) -> None:
        """Start the decay, if it has not begun: the block made room."""
        if self._falls_since is None:
            self._falls_since = now

    @property
    def state(self) -> tuple[int, int | None]:
        """The rate after the last eviction, and since when it falls; None: not yet."""
        return self._rate, self._falls_since

    def restore(self, rate: int, falls_since: int | None) -> None:
        """Continue from a saved state."""
        self._rate, self._falls_since = rate, falls_since

    def at(self, now: int, pool_usage_bytes: int) -> int:
        """Return the minimum in grains per 1000 vB; 0 once it is negligible."""
        rate = self._fallen(now, pool_usage_bytes)
        if rate < self._incremental / 2:
            return 0
        return max(rate, self._incremental)

    def _fallen(self, now: int, pool_usage_bytes: int) -> int:
        since = self._falls_since
        if since is None:
            return self._rate
        half_life_s = HALF_LIFE_S
        if pool_usage_bytes < self._pool_bytes_max // 4:
            half_life_s //= 4
        elif pool_usage_bytes < self._pool_bytes_max // 2:
            half_life_s //= 2
        halvings, rest_s = divmod(max(now - since, 0), half_life_s)
        return (self._rate >> halvings) * (2 * half_life_s - rest_s) // (2 * half_life_s)


def _score(entry: PoolEntry) -> int:
    """Return the higher of an entry's own feerate and that with its descendants.

    Bitcoin: CompareTxMemPoolEntryByDescendantScore.
    """
    return max(entry.alone.order, entry.descendants.order)
