"""Fee estimates, from the mempool and from the lowest feerates in recent blocks.

An estimate is the highest of three rates: the relay minimum; the rate that places a transaction
within the next blocks' worth of the mempool; and the rate that would have sufficed for at least one
of as many recent blocks. Later arrivals are not predicted.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final

from chain.consensus.transaction import BLOCK_WEIGHT_MAX
from chain.node.entry import PoolEntry
from chain.node.pool import Pool
from chain.node.template import RESERVED_WEIGHT
from chain.primitives.block import Block
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import WITNESS_SCALE

FEE_TARGETS: Final = (*range(1, 26), 144, 504, 1008)  # blocks, as Esplora has them
BIN_VBYTES: Final = 50_000  # of the histogram
BLOCKS_REMEMBERED: Final = FEE_TARGETS[-1]
_BLOCK_VBYTES: Final = (BLOCK_WEIGHT_MAX - RESERVED_WEIGHT) // WITNESS_SCALE
_FULL_WEIGHT: Final = BLOCK_WEIGHT_MAX * 95 // 100


def block_feerate_min(block: Block, pooled: Mapping[Hash32, PoolEntry]) -> int:
    """Return the lowest fee rate in a full block, in grains per 1000 vB; 0 for other blocks.

    Only transactions that were `pooled` here count, since other fees are unknown, and none with a
    positive fee delta, since a transaction that the miner favours may pay nothing.
    """
    if block.weight < _FULL_WEIGHT:
        return 0
    found = (pooled.get(txid) for txid in block.txids)
    rates = (e.mining_feerate for e in found if e is not None and e.modified_fee <= e.fee)
    return min(rates, default=0)


def estimate_fees(pool: Pool, block_feerates: Sequence[int], floor: int) -> dict[int, int]:
    """Return grains per 1000 vB for each of FEE_TARGETS; a longer target never costs more.

    `block_feerates` are block_feerate_min of the best chain's blocks, the tip's first; `floor` is
    the lowest feerate that the pool accepts now.
    """
    ahead = _QueueAhead(pool)
    return {
        blocks: max(
            floor,
            ahead.rate_at(blocks * _BLOCK_VBYTES),
            min(block_feerates[:blocks]) if len(block_feerates) >= blocks else 0,
        )
        for blocks in FEE_TARGETS
    }


def fee_histogram(pool: Pool) -> list[tuple[int, int]]:
    """Return (feerate, virtual bytes), highest feerate first, in bins of about BIN_VBYTES.

    The feerate, in grains per 1000 vB, is the lowest in its bin.
    """
    bins: list[tuple[int, int]] = []
    size, last = 0, 0
    for rate, vsize in _by_rate(pool):
        if size > BIN_VBYTES and rate != last:
            bins.append((last, size))
            size = 0
        size += vsize
        last = rate
    if size:
        bins.append((last, size))
    return bins


class _QueueAhead:
    """The virtual bytes queued at each feerate."""

    def __init__(self, pool: Pool) -> None:
        by_feerate = _by_rate(pool)
        self._rates = [rate for rate, _ in by_feerate]
        self._reached = list(accumulate(vsize for _, vsize in by_feerate))  # cumulative

    def rate_at(self, vbytes: int) -> int:
        """Return a feerate above the first entry that does not fit in `vbytes`; 0 if all fit."""
        first_left = bisect_right(self._reached, vbytes)
        return self._rates[first_left] + 1 if first_left < len(self._rates) else 0


def _by_rate(pool: Pool) -> list[tuple[int, int]]:
    """Return (mining rate, virtual size) of each entry, highest rate first."""
    return sorted(((e.mining_feerate, e.vsize) for e in pool.entries()), reverse=True)
