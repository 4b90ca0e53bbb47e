"""Block proposals (BIP23): checks of a block without proof of work."""

from chain.consensus.block_validation import check_block_body, check_block_context, connect_block
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.header import check_header_context
from chain.ledger.ledger import Ledger
from chain.primitives.block import Block
from chain.primitives.numbers import id_text


def check_proposal(block: Block, ledger: Ledger, now: int) -> None:
    """Run all checks of a child of the tip except its proof of work; changes nothing.

    Bitcoin: TestBlockValidity. Raises InvalidError: PARENT_MISSING, unless the tip is its parent,
    those of check_block_body, check_header_context, check_block_context and connect_block, SCRIPT.
    """
    tip, params = ledger.tip, ledger.params
    if block.header.previous != tip.id:
        raise InvalidError(Reason.PARENT_MISSING, id_text(block.header.previous))
    check_block_body(block, params)
    check_header_context(block.header, tip, now, params)
    check_block_context(block, tip)
    connection = connect_block(block, tip, ledger, params, ledger.verified)
    ledger.verifier.start(connection.checks).wait()
