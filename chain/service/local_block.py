"""Blocks from this node's miner or from a client, as opposed to blocks from peers."""

from collections.abc import Callable

from chain.ledger.outcomes import BlockAdded
from chain.node.node import Node
from chain.primitives.block import Block
from chain.service.ledger_thread import Caller


async def submit_local_block(
    node: Node,
    block: Block,
    clock: Callable[[], int],
    call: Caller,
    announce: Callable[[Block], None],
) -> BlockAdded:
    """Put a block into the ledger, and announce it to peers if the best chain took it.

    A block that is only stored, on a side branch or before its parent's body, or that was here
    already, is not announced: peers follow work, too, and have no use for it (Bitcoin: they are
    told by UpdatedBlockTip). `clock` is in unix seconds; `call` runs on the ledger thread, and may
    raise what it does. `announce` is called on the event loop. Raises InvalidError.
    """
    added = await call(lambda: node.submit_block(block, clock()))
    if added.is_connected:
        announce(block)
    return added
