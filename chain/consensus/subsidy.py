"""The block subsidy: new coins for a block's miner."""

from chain.consensus.params import Params
from chain.primitives.numbers import Amount


def block_subsidy(height: int, params: Params) -> Amount:
    """Return the grains that the block at `height` (1 or more) may create (GetBlockSubsidy)."""
    halvings = height // params.subsidy_halving_blocks
    return Amount(params.subsidy_start >> halvings if halvings < 64 else 0)


def supply_after(height: int, params: Params) -> Amount:
    """Return the most grains that can exist after the block at `height`; genesis creates none."""
    total, start = 0, 1
    while start <= height:
        era_end = (start // params.subsidy_halving_blocks + 1) * params.subsidy_halving_blocks - 1
        last = min(era_end, height)
        total += (last - start + 1) * block_subsidy(start, params)
        if not block_subsidy(start, params):
            break
        start = last + 1
    return Amount(total)
