"""Running all of consensus over one block, as the ledger does."""

from contextlib import contextmanager

import pytest

from chain.consensus.block_validation import (
    ConnectedBlock,
    check_block,
    check_block_context,
    connect_block,
)
from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.header import check_header_context
from chain.consensus.params import REGTEST, Params
from chain.consensus.spend import verify_checks
from chain.primitives.block import Block
from chain.primitives.numbers import OutPoint

FAR_FUTURE = 1 << 31


@contextmanager
def refused(reason: Reason, detail: str = ""):
    """Expect InvalidError with exactly this reason."""
    with pytest.raises(InvalidError) as caught:
        yield
    assert caught.value.reason is reason, caught.value
    assert detail in caught.value.detail


def validate(
    block: Block,
    parent: BlockTreeEntry,
    coins: dict[OutPoint, Coin] | None = None,
    *,
    params: Params = REGTEST,
    now: int = FAR_FUTURE,
) -> ConnectedBlock:
    """Check everything about `block` as the child of `parent`, signatures too."""
    check_block(block, params)
    check_header_context(block.header, parent, now, params)
    check_block_context(block, parent)
    connection = connect_block(block, parent, coins or {}, params)
    verify_checks(connection.checks)
    return connection
