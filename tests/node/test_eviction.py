"""A pool that is full, transactions that grow old, and the fee it asks for afterwards (H14)."""

from contextlib import closing

import pytest

from chain.node.deltas import DELTA_MAX
from chain.node.entry import Package, usage_bytes
from chain.node.eviction import FEERATE_MAX, HALF_LIFE_S, EvictionQueue, RollingFeerate
from chain.node.mempool import RemovalReason, Reorganisation
from chain.node.node import Node
from chain.node.policy import Policy, PolicyError, PolicyReason
from tests.ledger.chains import quick_ledger
from tests.node.world import NOW, World, output, send

FEE = 1000
VSIZE = 110


def room_for(count: int) -> Policy:
    """Return a policy whose pool holds so many plain payments and no more."""
    world = World()
    each = usage_bytes(send([world.fund()], FEE))
    return Policy(pool_bytes_max=count * each)


def test_the_lowest_fee_rate_is_evicted_first():
    world = World(room_for(3))
    entries = [world.submit(send([world.fund()], fee)) for fee in (3000, 1000, 2000)]
    world.submit(send([world.fund()], 4000))
    assert [(removal.entry, removal.reason) for removal in world.removed] == [
        (entries[1], RemovalReason.EVICTED)
    ]
    assert world.mempool.pool.count == 3


def test_of_equal_rates_the_last_to_come_is_evicted():
    world = World(room_for(3))
    entries = [world.submit(send([world.fund()], 2000)) for _ in range(3)]
    newcomer = send([world.fund()], 2000)
    world.submit(newcomer)
    assert [removal.entry.txid for removal in world.removed] == [newcomer.txid]
    assert world.txids == {entry.txid for entry in entries}


def test_a_parent_stays_for_the_child_that_pays_for_it():
    world = World(room_for(3))
    parent = world.submit(send([world.fund()], 200))
    world.submit(send([output(parent.transaction)], 9000))
    middle = world.submit(send([world.fund()], 2000))
    world.submit(send([world.fund()], 5000))
    assert [removal.entry for removal in world.removed] == [middle]


def test_a_cheap_child_is_evicted_and_its_parent_is_not():
    world = World(room_for(3))
    parent = world.submit(send([world.fund()], 5000))
    child = world.submit(send([output(parent.transaction)], 200))
    world.submit(send([world.fund()], 2000))
    world.submit(send([world.fund()], 3000))
    assert [removal.entry for removal in world.removed] == [child]


def test_a_parent_whose_rich_child_left_is_evicted_after_all():
    world = World(room_for(4))
    other = world.fund()
    parent = world.submit(send([world.fund()], 200))
    child = world.submit(send([output(parent.transaction), other], 90_000))
    world.submit(send([world.fund()], 2000))
    world.connect([send([other], FEE)])
    assert [removal.entry for removal in world.removed] == [child]
    for _ in range(3):
        world.submit(send([world.fund()], 3000))
    assert [removal.entry for removal in world.removed] == [parent]


@pytest.mark.parametrize("reorganises", [False, True])
def test_a_block_lets_the_rate_fall(reorganises):
    world = World(room_for(2))
    for fee in (2 * VSIZE, 5 * VSIZE, 6 * VSIZE):
        world.submit(send([world.fund()], fee))
    later = world.now + HALF_LIFE_S
    assert world.mempool.feerate_min(later) == 3000
    if reorganises:
        world.mempool.reorganise(Reorganisation([], [], world.tip, world.coins), world.now)
    else:
        world.connect([])
    assert world.mempool.feerate_min(later) == 1500


def test_eviction_takes_descendants_along():
    world = World(room_for(3))
    parent = world.submit(send([world.fund()], 200))
    child = world.submit(send([output(parent.transaction)], 210))
    world.submit(send([world.fund()], 5000))
    world.submit(send([world.fund()], 5000))
    assert {removal.entry for removal in world.removed} <= {parent, child}
    assert world.mempool.pool.usage_bytes <= world.policy.pool_bytes_max


def test_after_an_eviction_newcomers_pay_more_than_what_was_evicted():
    world = World(room_for(2))
    for fee in (2 * VSIZE, 5 * VSIZE, 6 * VSIZE):
        world.submit(send([world.fund()], fee))
    assert world.mempool.feerate_min(world.now) == 3000  # the evicted 2 grains/vB and 1 more
    with pytest.raises(PolicyError) as refused:
        world.submit(send([world.fund()], 3 * VSIZE - 1))
    assert refused.value.reason is PolicyReason.FEE_BELOW_POOL


def test_memory_never_exceeds_the_limit_under_a_flood():
    world = World(room_for(20))
    fees = [1000 + (number * 7919) % 5000 for number in range(100)]
    refusals = []
    for fee in fees:
        try:
            world.submit(send([world.fund()], fee))
        except PolicyError as error:
            refusals.append(error.reason)
        assert world.mempool.pool.usage_bytes <= world.policy.pool_bytes_max
    kept = sorted(entry.fee for entry in world.mempool.pool.entries())
    assert set(refusals) == {PolicyReason.FEE_BELOW_POOL}
    assert kept == sorted(fees)[-20:]


def test_the_rate_falls_only_after_a_block_and_halves_in_twelve_hours():
    rate = RollingFeerate(incremental_rate=1000, pool_bytes_max=1000)
    rate.evicted(Package(1, 100, 0, 700), NOW, 1000)
    assert rate.at(NOW + 10 * HALF_LIFE_S, 1000) == 8000
    rate.block_connected(NOW)
    values = [rate.at(NOW + hours * 3600, 1000) for hours in (0, 6, 12, 24, 36, 48, 49)]
    assert values == [8000, 6000, 4000, 2000, 1000, 1000, 0]


@pytest.mark.parametrize(("usage", "hours"), [(500, 12), (499, 6), (250, 6), (249, 3)])
def test_the_rate_falls_faster_in_an_emptier_pool(usage, hours):
    rate = RollingFeerate(incremental_rate=1000, pool_bytes_max=1000)
    rate.evicted(Package(1, 100, 0, 700), NOW, 1000)
    rate.block_connected(NOW)
    assert rate.at(NOW + hours * 3600, usage) == 4000


def test_a_fallen_rate_rises_again_with_the_next_eviction():
    rate = RollingFeerate(incremental_rate=1000, pool_bytes_max=1000)
    rate.evicted(Package(1, 100, 0, 700), NOW, 1000)
    rate.block_connected(NOW)
    later = NOW + 24 * 3600
    rate.evicted(Package(1, 100, 0, 200), later, 1000)
    assert rate.at(later, 1000) == 3000
    rate.evicted(Package(1, 100, 0, 100), later, 1000)
    assert rate.at(later, 1000) == 3000, "a cheaper one does not lower it"


def test_a_rate_that_fee_deltas_made_huge_can_be_stored():
    with closing(quick_ledger()) as ledger:
        node = Node(ledger, Policy())
        node._mempool.rolling.evicted(Package(1, 100, 0, DELTA_MAX), NOW, 1000)
        node.save_pool(NOW, is_durable=True)
        assert node.feerate_min(NOW) == FEERATE_MAX == node._state().rolling_rate


def test_a_clock_that_goes_back_does_not_raise_the_rate():
    rate = RollingFeerate(incremental_rate=1000, pool_bytes_max=1000)
    rate.evicted(Package(1, 100, 0, 700), NOW, 1000)
    rate.block_connected(NOW)
    assert rate.at(NOW - 3600, 1000) == 8000


@pytest.mark.parametrize(("waited_s", "is_expired"), [(-1, False), (0, True)])
def test_transactions_expire_with_their_descendants_after_fourteen_days(waited_s, is_expired):
    world = World()
    parent = world.submit(send([world.fund()], FEE))
    world.now += 100
    child = world.submit(send([output(parent.transaction)], FEE))
    young = world.submit(send([world.fund()], FEE))
    removed = world.mempool.expire(NOW + world.policy.expiry_s + waited_s)
    assert {removal.entry for removal in removed} == ({parent, child} if is_expired else set())
    assert (young.txid in world.txids) is True


def test_the_queue_stays_small_however_often_ranks_change():
    world = World()
    queue = EvictionQueue()
    entries = [world.submit(send([world.fund()], fee)) for fee in (3000, 1000, 2000)]
    for _ in range(2000):
        for entry in entries:
            queue.push(entry)
    assert queue.lowest(world.mempool.pool) is entries[1]
    assert len(queue._heap) < 1100
