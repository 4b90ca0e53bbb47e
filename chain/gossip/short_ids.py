"""The short ids of compact blocks (BIP152), and the work of computing them."""

from collections.abc import Mapping, Sequence
from typing import Final

from siphash24 import siphash24

from chain.gossip.views import PoolView
from chain.gossip.wire.compact import CompactBlock
from chain.gossip.wire.messages import BlockMessage
from chain.primitives.block import Block, Header
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction

SHORT_ID_MASK: Final = (1 << 48) - 1


Positions = tuple[int, ...]  # of transactions in a block, ascending


Slots = tuple[Transaction | None, ...]  # a block's transactions, with gaps


class CollisionError(Exception):
    """Two transactions share a short id: no peer's fault, but the whole block is needed."""


class ShortIds:
    """The computation of short ids; a simulation overrides it to share results."""

    def compute(self, key: bytes, wtxids: Sequence[Hash32]) -> list[int]:
        """Return the short ids under a key (BIP152: SipHash-2-4, 48 bits)."""
        return [siphash24(wtxid, key=key).intdigest() & SHORT_ID_MASK for wtxid in wtxids]

    def compact_block(
        self, header: Header, transactions: tuple[Transaction, ...], whole: Positions, nonce: int
    ) -> CompactBlock:
        """Return a block's compact form, with the transactions at positions `whole` prefilled."""
        prefilled = tuple((position, transactions[position]) for position in whole)
        left = dict.fromkeys(range(len(transactions)))
        for position in whole:
            del left[position]
        key = CompactBlock(header, nonce, (), prefilled).key
        short_ids = self.compute(key, [transactions[position].wtxid for position in left])
        return CompactBlock(header, nonce, tuple(short_ids), prefilled)

    def pool_transactions(self, pool: PoolView) -> tuple[Transaction, ...]:
        """Return the transactions of the mempool."""
        found = (pool.by_wtxid(wtxid) for wtxid in pool.wtxids())
        return tuple(item.transaction for item in found if item is not None)

    def by_short_id(
        self, key: bytes, known: tuple[Transaction, ...]
    ) -> Mapping[int, Transaction | None]:
        """Return `known` by short id; None where two share one (Bitcoin: InitData)."""
        short_ids = self.compute(key, [transaction.wtxid for transaction in known])
        found: dict[int, Transaction | None] = {}
        for short_id, transaction in zip(short_ids, known, strict=True):
            other = found.setdefault(short_id, transaction)
            if other is not None and other.wtxid != transaction.wtxid:
                found[short_id] = None
        return found

    def fill(
        self, message: CompactBlock, pool: PoolView, extra: tuple[Transaction, ...]
    ) -> tuple[Slots, Positions]:
        """Return the block's transactions, None for a missing one, and the missing positions.

        Raises CollisionError: the block's own short ids are not all different.
        """
        if len(dict.fromkeys(message.short_ids)) != len(message.short_ids):
            raise CollisionError
        key = message.key
        ours = self.by_short_id(key, self.pool_transactions(pool))
        others = self.by_short_id(key, extra)
        held = [ours.get(short) or others.get(short) for short in message.short_ids]
        for position, transaction in message.prefilled:
            held.insert(position, transaction)
        gaps = tuple(position for position, have in enumerate(held) if have is None)
        return tuple(held), gaps

    def assemble(
        self, header: Header, transactions: tuple[Transaction, ...]
    ) -> BlockMessage | None:
        """Return the block, or None if the transactions do not match the header's merkle root.

        Validation checks the witnesses, which the header does not commit to directly.
        """
        block = Block(header, transactions)
        return BlockMessage.of(block) if block.merkle == (header.merkle_root, False) else None
