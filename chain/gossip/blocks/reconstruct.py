"""Reconstruction of a block from its compact form and known transactions."""

from typing import cast

from chain.gossip.short_ids import ShortIds
from chain.gossip.views import PoolView
from chain.gossip.wire.compact import BlockTransactions, CompactBlock, GetBlockTransactions
from chain.gossip.wire.messages import BlockMessage
from chain.primitives.block import Header
from chain.primitives.transaction import Transaction


class PartialBlock:
    """A block with missing transactions."""

    def __init__(
        self,
        message: CompactBlock,
        pool: PoolView,
        extra: tuple[Transaction, ...],
        short_ids: ShortIds,
    ) -> None:
        """Fill from `pool` and `extra`. Raises CollisionError: among the block's own short ids."""
        self._short_ids = short_ids
        self._message = message
        self._slots, self.missing = short_ids.fill(message, pool, extra)

    @property
    def header(self) -> Header:
        """The block's header."""
        return self._message.header

    @property
    def transactions(self) -> tuple[Transaction, ...]:
        """All transactions, once none is missing."""
        return cast("tuple[Transaction, ...]", self._slots)

    def request(self) -> GetBlockTransactions:
        """Return the request for the missing transactions."""
        return GetBlockTransactions(self._message.block_id, self.missing)

    def fill(self, message: BlockTransactions) -> bool:
        """Fill the gaps; return whether these are the transactions that were requested."""
        if len(message.transactions) != len(self.missing):
            return False
        wtxids = [transaction.wtxid for transaction in message.transactions]
        short_ids = self._short_ids.compute(self._message.key, wtxids)
        if short_ids != [self._short_id(position) for position in self.missing]:
            return False
        held = list(self._slots)
        for position, transaction in zip(self.missing, message.transactions, strict=True):
            held[position] = transaction
        self._slots = tuple(held)
        return True

    def assemble(self) -> BlockMessage | None:
        """Return the block, or None: one of our transactions collides with the block's."""
        return self._short_ids.assemble(self._message.header, self.transactions)

    def _short_id(self, position: int) -> int:
        before = sum(prefilled < position for prefilled, _ in self._message.prefilled)
        return self._message.short_ids[position - before]
