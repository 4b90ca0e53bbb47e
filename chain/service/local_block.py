"""Blocks from this node's miner or from a client, as opposed to blocks from peers."""

import time
from collections.abc import Callable
from typing import Final

from chain.consensus.errors import InvalidError
from chain.ledger.outcomes import BlockAdded
from chain.node.node import Node
from chain.primitives.block import Block
from chain.primitives.numbers import id_text
from chain.service.debug_log import debug_logger, is_on
from chain.service.ledger_thread import Caller

_log: Final = debug_logger("validation")


async def submit_local_block(
    node: Node,
    block: Block,
    clock: Callable[[], int],
    call: Caller,
    announce: Callable[[Block], None],
) -> BlockAdded:
    """Add a block to the ledger; announce it to peers if it joined the best chain.

    Other blocks are not announced: duplicates, and blocks that are only stored, on a side branch or
    without their parent's body (Bitcoin: UpdatedBlockTip). `clock` is in unix seconds; `call` runs
    a function on the ledger thread and raises its errors. `announce` is called on the event loop.
    Raises InvalidError.
    """
    added = await call(lambda: _submit(node, block, clock()))
    if added.is_connected:
        announce(block)
    return added


def _submit(node: Node, block: Block, now: int) -> BlockAdded:
    """Add the block to the ledger and log it; on the ledger thread."""
    started_s = time.perf_counter()
    verdict = "accepted"
    try:
        return node.submit_block(block, now)
    except InvalidError as error:
        verdict = f"refused: {error}"
        raise
    finally:
        if is_on(_log):
            took_ms = (time.perf_counter() - started_s) * 1000
            _log.debug("block %s of our own: %.1f ms, %s", id_text(block.id), took_ms, verdict)
