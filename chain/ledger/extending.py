"""Adding blocks that lead on from the tip, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

from chain.consensus.errors import InvalidError
from chain.ledger.ledger import Ledger
from chain.ledger.moved import MovedBlocks
from chain.ledger.outcomes import BlockAdded, TakenBackError
from chain.primitives.block import Block


def leading_on(ledger: Ledger, blocks: Sequence[Block]) -> int:
    """Return how many of `blocks` are the tip's child, its child, and so on."""
    tip_id = ledger.tip.id
    for count, block in enumerate(blocks):
        if block.header.previous != tip_id:
            return count
        tip_id = block.id
    return len(blocks)


@dataclass(frozen=True, slots=True)
class Extended:
    """How far blocks were right."""

    count: int  # of those that were given
    connected: MovedBlocks  # they, and what had waited for them
    error: InvalidError | None  # why the next one was refused, if it was


def extend(ledger: Ledger, blocks: Sequence[Block], now: int) -> Extended:
    """Add blocks that lead on from the tip, up to the first that is refused.

    Or that leads on no longer, because others had waited for the one before it. Those added are
    committed; what comes after is as if it had never been given. Signatures of one block are
    verified while the next are connected, and pages of the database that many of them change are
    written once.
    """
    added: list[BlockAdded] = []
    error = None
    with ledger.batch():
        try:
            for block in blocks:
                if block.header.previous != ledger.tip.id:
                    break  # the one before brought along others, and this is on a branch now
                added.append(ledger.add_block_early(block, now))
                assert not added[-1].disconnected, "what leads on takes nothing off"
            ledger.settle()
        except InvalidError as refused:
            error = refused
        except TakenBackError as taken:
            right = next(at for at, block in enumerate(blocks) if block.id == taken.entry.id)
            del added[right:]
            error = taken.cause
    connected = sum((one.connected for one in added), MovedBlocks())
    return Extended(len(added), connected, error)
