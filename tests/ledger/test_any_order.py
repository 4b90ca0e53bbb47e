"""The same blocks give the same ledger: in any order, with or without batches, any thread count."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.ledger import chain_tip as chain_tip_module
from chain.ledger.db import coins as coins_module
from chain.primitives.block import Block
from tests.ledger.chains import (
    NOW,
    TRUNK,
    coins_after,
    feed,
    grow_busy,
    quick_chain,
    quick_ledger,
    tables,
)

WAYS = ["singly", "together", "pipelined"]


@cache
def _tree() -> tuple[tuple[Block, ...], tuple[Block, ...], tuple[Block, ...]]:
    """A trunk, the blocks of three branches on it, and the branch with the most work."""
    trunk = quick_chain()
    base = tuple(trunk.blocks)
    grow_busy(trunk, 3, seed=1)
    short, side = trunk.fork(2), trunk.fork(1)
    grow_busy(trunk, 6, seed=2)
    grow_busy(short, 5, seed=3)
    grow_busy(side, 4, seed=4)
    branches = {b.id: b for chain in (trunk, short, side) for b in chain.blocks[TRUNK:]}
    return base, tuple(branches.values()), tuple(trunk.blocks)


@cache
def _expected() -> dict[str, object]:
    ledger = quick_ledger()
    for block in _tree()[2]:
        ledger.add_block(block, NOW)
    rows = tables(ledger)
    ledger.close()
    return rows


@pytest.mark.parametrize("how", WAYS)
@settings(max_examples=settings().max_examples // len(WAYS))
@given(
    source=st.randoms(use_true_random=False), threads=st.integers(1, 3), small=st.integers(1, 40)
)
def test_any_arrival_order_gives_the_same_ledger(how, source, threads, small):
    base, branches, best = _tree()
    order = list(branches)
    source.shuffle(order)
    ledger = quick_ledger(threads)
    ledger.add_headers([b.header for b in (*base, *branches)], NOW)
    normal = (chain_tip_module.BATCH_ROWS_MAX, coins_module.HOT_COINS_MAX)
    chain_tip_module.BATCH_ROWS_MAX, coins_module.HOT_COINS_MAX = small * 10, small
    try:
        if how == "singly":
            feed(ledger, (*base, *order))
        else:
            given_blocks = (*base, *order)
            verdicts = ledger.add_blocks(given_blocks, NOW, pipelined=how == "pipelined")
            assert [(v.block, v.error) for v in verdicts] == [(b, None) for b in given_blocks]
    finally:
        chain_tip_module.BATCH_ROWS_MAX, coins_module.HOT_COINS_MAX = normal
    assert ledger.tip.id == best[-1].id
    assert tables(ledger) == _expected()
    ledger.close()


def test_the_coins_are_those_of_a_plain_reading():
    expected = coins_after(_tree()[2])
    rows = {row[0]: (row[1], row[2], row[3], bool(row[4])) for row in _expected()["coins"]}
    assert rows == {
        point: (coin.value, coin.script, coin.height, coin.from_coinbase)
        for point, coin in expected.items()
    }
