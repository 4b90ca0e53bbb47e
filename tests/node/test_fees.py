"""Fee estimates and the histogram, from pools and blocks whose figures are known."""

import pytest

from chain.node.fees import BIN_VBYTES, FEE_TARGETS, block_feerate_min, estimate_fees, fee_histogram
from chain.node.policy import Policy
from chain.node.pool import Pool
from chain.primitives.block import Block
from tests.builders import block_on
from tests.node.world import COIN, World, output, send

FLOOR = 1000
WIDE = 3_000  # outputs: about 93,000 vB


def wide_world() -> World:
    return World(Policy(package_vbytes_max=1_000_000))


def wide(world: World, rate: int):
    """Pool a transaction of about 93 kvB that pays `rate` grains per vB."""
    size = send([world.fund()], 0, outputs=WIDE).vsize
    return world.submit(send([world.fund()], rate * size, outputs=WIDE))


def test_an_empty_pool_estimates_the_floor_for_all_28_targets():
    estimates = estimate_fees(Pool(), (), FLOOR)
    assert list(estimates) == list(FEE_TARGETS)
    assert len(estimates) == 28
    assert set(estimates.values()) == {FLOOR}


def test_what_does_not_fit_the_next_blocks_has_to_be_beaten():
    world = wide_world()
    for rate in range(2, 26):  # 24 of 93 kvB: the next block holds ten and a bit
        wide(world, rate)
    estimates = estimate_fees(world.mempool.pool, (), FLOOR)
    assert estimates[1] == 15_001
    assert estimates[2] == 4_001
    assert estimates[3] == FLOOR


def test_estimates_never_rise_with_the_target():
    world = wide_world()
    for rate in (9, 3, 7, 5, 30, 2, 11, 4, 6, 8, 10, 12, 14, 13):
        wide(world, rate)
    values = list(estimate_fees(world.mempool.pool, (4000, 9000, 0, 7000), FLOOR).values())
    assert values == sorted(values, reverse=True)


def test_the_cheapest_of_as_many_recent_blocks_would_have_been_enough():
    block_feerates = (5000, 9000, 3000)
    estimates = estimate_fees(Pool(), block_feerates, FLOOR)
    assert [estimates[blocks] for blocks in (1, 2, 3, 4)] == [5000, 5000, 3000, FLOOR]


def full_block(world: World) -> tuple[Block, dict]:
    """Return a block of 95 % of the greatest weight, and what of it was pooled."""
    entries = [wide(world, rate) for rate in range(5, 16)]
    pooled = {entry.txid: entry for entry in entries}
    return block_on(world.tip, [entry.transaction for entry in entries]), pooled


def test_the_price_of_a_full_block_is_the_lowest_rate_in_it():
    block, pooled = full_block(wide_world())
    assert block.weight >= 3_800_000
    assert block_feerate_min(block, pooled) == 5000
    assert block_feerate_min(block, {}) == 0, "nothing is known of it"


@pytest.mark.parametrize(("delta", "price"), [(-1, 5000), (1, 6000)])
def test_what_the_owner_favours_by_a_fee_delta_is_no_price(delta, price):
    world = wide_world()
    block, pooled = full_block(world)
    cheapest = min(pooled.values(), key=lambda entry: entry.mining_feerate)
    world.mempool.prioritise(cheapest.txid, delta)
    assert block_feerate_min(block, pooled) == price


def test_a_block_with_room_has_no_price():
    world = wide_world()
    entry = wide(world, 5)
    assert block_feerate_min(block_on(world.tip, [entry.transaction]), {entry.txid: entry}) == 0


def test_the_histogram_goes_down_in_bins():
    world = wide_world()
    rich, poor = wide(world, 9), wide(world, 3)
    small = world.submit(send([world.fund()], 220))
    assert rich.vsize > BIN_VBYTES
    assert fee_histogram(world.mempool.pool) == [
        (9000, rich.vsize),
        (3000, poor.vsize),
        (2000, small.vsize),
    ]
    assert fee_histogram(Pool()) == []


def test_small_bins_are_joined_and_equal_rates_never_split():
    world = wide_world()
    entries = [wide(world, 9) for _ in range(3)]
    small = [world.submit(send([world.fund()], fee)) for fee in (440, 330)]
    assert fee_histogram(world.mempool.pool) == [
        (9000, sum(entry.vsize for entry in entries)),
        (3000, sum(entry.vsize for entry in small)),
    ]


@pytest.mark.parametrize(
    ("parent_fee", "child_fee", "rate"), [(110, 3300, 15_500), (3300, 110, 1000)]
)
def test_a_child_counts_at_what_a_miner_gets_for_it(parent_fee, child_fee, rate):
    world = World()
    parent = world.submit(send([world.fund(COIN)], parent_fee))
    child = world.submit(send([output(parent.transaction)], child_fee))
    assert child.mining_feerate == rate
