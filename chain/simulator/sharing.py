"""Compact blocks among many nodes: equal results are computed once and shared.

All nodes use one nonce for short ids here; on a real network each chooses its own.
"""

from collections.abc import Mapping
from typing import Final

from chain.gossip.short_ids import Positions, ShortIds, Slots
from chain.gossip.views import PoolView
from chain.gossip.wire.compact import CompactBlock
from chain.gossip.wire.messages import BlockMessage
from chain.primitives.block import Header
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction
from chain.simulator.light import LightNode

BLOCKS_KEPT: Final = 4
FILLS_KEPT: Final = 64  # for each block; messages differ in prefilled transactions
Fill = tuple[CompactBlock, tuple[Transaction, ...], tuple[Slots, Positions]]
Match = tuple[tuple[Transaction, ...], Mapping[int, Transaction | None]]


class SharedShortIds(ShortIds):
    """Caches the results for the last blocks."""

    def __init__(self) -> None:
        self._compacts: dict[Hash32, dict[Positions, CompactBlock]] = {}
        self._matches: dict[bytes, list[Match]] = {}
        self._fills: dict[Hash32, list[Fill]] = {}
        self._blocks: dict[Hash32, tuple[tuple[Transaction, ...], BlockMessage | None]] = {}

    def compact_block(
        self, header: Header, transactions: tuple[Transaction, ...], whole: Positions, nonce: int
    ) -> CompactBlock:
        """Return the compact block, equal for all nodes."""
        del nonce
        made = _cached(self._compacts, header.id)
        if whole not in made:
            made[whole] = super().compact_block(header, transactions, whole, 0)
        return made[whole]

    def pool_transactions(self, pool: PoolView) -> tuple[Transaction, ...]:
        """Return a pool's transactions; equal pools share one tuple."""
        return (
            pool.transactions() if isinstance(pool, LightNode) else super().pool_transactions(pool)
        )

    def by_short_id(
        self, key: bytes, known: tuple[Transaction, ...]
    ) -> Mapping[int, Transaction | None]:
        """Return the transactions by short id, cached for each key and tuple."""
        if not known:
            return {}
        if key not in self._matches and len(self._matches) >= BLOCKS_KEPT:
            del self._matches[next(iter(self._matches))]
        made = self._matches.setdefault(key, [])
        for before, result in made:
            if before is known:
                return result
        result = super().by_short_id(key, known)
        made.append((known, result))
        return result

    def fill(
        self, message: CompactBlock, pool: PoolView, extra: tuple[Transaction, ...]
    ) -> tuple[Slots, Positions]:
        """Return a pool's transactions of a block, cached for each message and equal pools."""
        known = self.pool_transactions(pool)
        if extra or not known:
            return super().fill(message, pool, extra)
        if message.block_id not in self._fills and len(self._fills) >= BLOCKS_KEPT:
            del self._fills[next(iter(self._fills))]
        made = self._fills.setdefault(message.block_id, [])
        for of, held, result in made:
            if of is message and held is known:
                return result
        result = super().fill(message, pool, extra)
        if len(made) < FILLS_KEPT:
            made.append((message, known, result))
        return result

    def assemble(
        self, header: Header, transactions: tuple[Transaction, ...]
    ) -> BlockMessage | None:
        """Return the block, cached for equal transactions."""
        before = self._blocks.get(header.id)
        if before is not None and (before[0] is transactions or before[0] == transactions):
            return before[1]
        block = super().assemble(header, transactions)
        if len(self._blocks) >= BLOCKS_KEPT:
            del self._blocks[next(iter(self._blocks))]
        self._blocks[header.id] = (transactions, block)
        return block


def _cached(
    made: dict[Hash32, dict[Positions, CompactBlock]], block_id: Hash32
) -> dict[Positions, CompactBlock]:
    if block_id not in made and len(made) >= BLOCKS_KEPT:
        del made[next(iter(made))]
    return made.setdefault(block_id, {})
