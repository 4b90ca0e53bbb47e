"""Pages of the chain's blocks and of a block's transactions, for Esplora and the explorer."""

from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.primitives.compact import difficulty
from chain.primitives.numbers import id_text
from chain.service.api.esplora_json import BlockSummary, parent_text
from chain.service.api.snapshot import FoundTx, NodeSnapshot

BLOCKS_PER_PAGE: Final = 10
TXS_PER_PAGE: Final = 25


def blocks_page(
    snapshot: NodeSnapshot, start: int, count: int = BLOCKS_PER_PAGE
) -> list[BlockSummary]:
    """Return the descriptions of `count` blocks of the best chain from a height down."""
    end = max(start - count, -1)
    heights = range(start, end, -1)
    return [block_summary(snapshot, snapshot.tip.ancestor(height)) for height in heights]


def block_summary(snapshot: NodeSnapshot, entry: BlockTreeEntry) -> BlockSummary:
    """Return the description of a stored block."""
    facts, header = snapshot.facts(entry), entry.header
    return BlockSummary(
        id=id_text(entry.id),
        height=entry.height,
        version=header.version,
        timestamp=header.time,
        tx_count=facts.tx_count,
        size=facts.size,
        weight=facts.weight,
        merkle_root=id_text(header.merkle_root),
        previousblockhash=parent_text(entry),
        mediantime=entry.median_time_past,
        nonce=header.nonce,
        bits=header.bits,
        difficulty=difficulty(header.bits),
    )


def transactions_page(snapshot: NodeSnapshot, entry: BlockTreeEntry, first: int) -> list[FoundTx]:
    """Return a page of a stored block's transactions; those outside the best chain are unconfirmed.

    Raises TooMuchInFlightError.
    """
    block = entry if snapshot.is_best(entry) else None
    page = snapshot.transactions(entry, first, TXS_PER_PAGE)
    snapshot.reserved.take(sum(len(tx.raw) for tx, _ in page))
    return [FoundTx(tx, coins, block, at) for at, (tx, coins) in enumerate(page, first)]
