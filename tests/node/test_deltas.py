"""Fee deltas: what they decide, and that nobody pays them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.params import REGTEST
from chain.consensus.subsidy import block_subsidy
from chain.node.deltas import DELTA_MAX, DELTA_MIN, DELTAS_MAX, Deltas, DeltasFullError
from chain.node.entry import PoolEntry
from chain.node.packages import ancestors, descendants
from chain.node.policy import Policy, PolicyReason
from chain.node.pool import Pool
from chain.node.selection import BlockSpace, select
from chain.node.template import TEMPLATE_ROOM, Template
from chain.primitives.numbers import Hash32
from tests.builders import Key
from tests.node.test_admission import VSIZE, refusal
from tests.node.test_eviction import room_for
from tests.node.world import NOW, World, output, send

FEE = 1000
ROOM_OF_ONE = BlockSpace(600, 80_000)
TXID = Hash32(bytes(32))


def chosen(world: World, room: BlockSpace = TEMPLATE_ROOM) -> list[PoolEntry]:
    return select(world.mempool.pool, room)


def test_deltas_of_one_transaction_add_up_and_vanish_at_zero():
    deltas = Deltas()
    assert [deltas.add(TXID, grains) for grains in (5, -7, 2)] == [5, -2, 0]
    assert deltas.all() == {}


@pytest.mark.parametrize(("grains", "end"), [(1, DELTA_MAX), (-1, DELTA_MIN)])
def test_a_delta_stays_in_64_bits(grains, end):
    deltas = Deltas()
    assert deltas.add(TXID, end - grains) == end - grains
    assert deltas.add(TXID, grains) == end
    assert deltas.add(TXID, grains) == end


def test_the_table_takes_so_many_and_not_one_more():
    deltas = Deltas()
    for number in range(DELTAS_MAX):
        deltas.add(Hash32(number.to_bytes(32, "little")), 1)
    with pytest.raises(DeltasFullError):
        deltas.add(Hash32(b"\xff" * 32), 1)
    assert deltas.add(TXID, 1) == 2
    deltas.add(TXID, -2)
    assert deltas.add(Hash32(b"\xff" * 32), 1) == 1


def test_what_counts_for_more_is_mined_first_and_the_coinbase_collects_what_was_paid():
    world = World()
    poor, rich = (world.submit(send([world.fund()], fee)) for fee in (FEE, FEE * 2))
    assert chosen(world, ROOM_OF_ONE) == [rich]
    world.mempool.prioritise(poor.txid, FEE + 1)
    assert chosen(world, ROOM_OF_ONE) == [poor]
    assert (poor.fee, poor.modified_fee) == (FEE, FEE * 2 + 1)
    template = Template(REGTEST, world.tip, Key(9).script, tuple(chosen(world)), NOW)
    assert template.coinbase_value == block_subsidy(121, REGTEST) + 3 * FEE
    world.mempool.prioritise(poor.txid, -FEE - 1)
    assert chosen(world, ROOM_OF_ONE) == [rich]


def test_a_block_ends_the_delta_of_a_transaction_that_never_was_in_the_pool():
    world = World()
    tx, other = (send([world.fund()], FEE) for _ in range(2))
    world.mempool.prioritise(tx.txid, FEE)
    world.mempool.prioritise(other.txid, FEE)
    world.connect([tx])
    assert world.mempool.deltas.all() == {other.txid: FEE}


@pytest.mark.parametrize(("delta", "is_mined"), [(-FEE, True), (-FEE - 1, False)])
def test_what_counts_for_less_than_nothing_is_not_mined(delta, is_mined):
    world = World()
    entry = world.submit(send([world.fund()], FEE))
    world.mempool.prioritise(entry.txid, delta)
    assert chosen(world) == [entry] * is_mined


@pytest.mark.parametrize(("fee", "is_mined"), [(3 * FEE, True), (3 * FEE - 1, False)])
def test_a_child_pays_for_a_parent_that_counts_for_less_than_nothing(fee, is_mined):
    world = World()
    parent = world.submit(send([world.fund()], FEE))
    child = world.submit(send([output(parent.transaction)], fee))
    world.mempool.prioritise(parent.txid, -4 * FEE)
    assert chosen(world) == [parent, child] * is_mined


@pytest.mark.parametrize(
    ("delta", "reason"), [(9, PolicyReason.FEE_BELOW_RELAY), (10, None), (DELTA_MAX, None)]
)
def test_a_delta_given_before_counts_against_the_least_fee(delta, reason):
    world = World()
    tx = send([world.fund()], VSIZE - 10)
    world.mempool.prioritise(tx.txid, delta)
    assert refusal(world, tx) is reason


@pytest.mark.parametrize(
    ("delta", "reason"), [(-FEE + VSIZE - 1, PolicyReason.FEE_BELOW_RELAY), (-FEE + VSIZE, None)]
)
def test_a_transaction_may_be_made_to_pay_too_little(delta, reason):
    world = World()
    tx = send([world.fund()], FEE)
    world.mempool.prioritise(tx.txid, delta)
    assert refusal(world, tx) is reason


@pytest.mark.parametrize(
    ("delta", "reason"), [(FEE + VSIZE - 1, PolicyReason.REPLACEMENT_FEE), (FEE + VSIZE, None)]
)
def test_a_delta_counts_for_a_replacement(delta, reason):
    world = World()
    coin = world.fund()
    world.submit(send([coin], FEE * 2))
    better = send([coin], FEE)
    world.mempool.prioritise(better.txid, delta)
    assert refusal(world, better) is reason


def test_what_counts_for_much_is_not_replaced():
    world = World()
    coin = world.fund()
    world.mempool.prioritise(world.submit(send([coin], FEE)).txid, DELTA_MAX)
    assert refusal(world, send([coin], FEE * 90)) is PolicyReason.REPLACEMENT_FEE


def test_a_full_pool_gives_up_what_counts_for_least():
    world = World(room_for(3))
    first, second, third = (world.submit(send([world.fund()], fee * FEE)) for fee in (1, 2, 3))
    world.mempool.prioritise(first.txid, DELTA_MAX)
    world.mempool.prioritise(third.txid, DELTA_MIN)
    world.submit(send([world.fund()], 4 * FEE))
    assert [removal.entry for removal in world.removed] == [third]
    assert world.mempool.feerate_min(NOW) == Policy().relay_feerate_min, (
        "it asks for no negative rate"
    )
    world.submit(send([world.fund()], 4 * FEE))
    assert [removal.entry for removal in world.removed] == [second]


def test_a_parent_stays_for_a_child_that_counts_for_much():
    world = World(room_for(3))
    parent = world.submit(send([world.fund()], 200))
    child = world.submit(send([output(parent.transaction)], 200))
    other = world.submit(send([world.fund()], FEE))
    world.mempool.prioritise(child.txid, 9 * FEE)
    world.submit(send([world.fund()], 5 * FEE))
    assert [removal.entry for removal in world.removed] == [other]


def test_a_delta_outlives_eviction_replacement_and_expiry_but_no_block():
    world = World()
    coin, other = world.fund(), world.fund()
    entries = [world.submit(send([coin], FEE)), world.submit(send([other], FEE))]
    for entry in entries:
        world.mempool.prioritise(entry.txid, 7)
    better = world.submit(send([coin], FEE * 3))
    world.mempool.prioritise(better.txid, 8)
    world.mempool.drop(entries[1].txid)
    assert world.mempool.deltas.all() == {entries[0].txid: 7, entries[1].txid: 7, better.txid: 8}
    world.connect([send([coin], FEE * 2), entries[1].transaction])
    assert world.mempool.deltas.all() == {entries[0].txid: 7}, "mined, and made impossible"


def test_estimates_are_of_what_is_paid():
    world = World()
    entry = world.submit(send([world.fund()], FEE))
    before = entry.mining_feerate, world.mempool.pool.fees
    world.mempool.prioritise(entry.txid, DELTA_MAX)
    assert (entry.mining_feerate, world.mempool.pool.fees) == before


def naive(pool: Pool, weight: int) -> list[PoolEntry]:
    """Choose like `select`, comparing all packages each time."""
    entries = pool.entries()
    taken: list[PoolEntry] = []
    passed: set[Hash32] = set()

    def missing(entry: PoolEntry) -> list[PoolEntry]:
        above = ancestors(pool, entry.transaction)
        return [e for e in entries if (e is entry or e.txid in above) and e not in taken]

    def rate(entry: PoolEntry) -> int:
        package = missing(entry)
        counted = sum(each.modified_fee for each in package)
        return (counted << 32) // sum(each.vsize for each in package)

    while left := [e for e in entries if e not in taken and e.txid not in passed]:
        best = max(left, key=rate)  # the first to come, of equals
        if rate(best) < 0:
            break
        package = missing(best)
        if sum(each.weight for each in (*taken, *package)) > weight:
            passed.add(best.txid)
            continue
        taken += package
        passed -= descendants(pool, package).keys()  # they need less now
    return taken


GRAINS = st.integers(-5 * FEE, 5 * FEE) | st.sampled_from([DELTA_MIN, DELTA_MAX])
PAYMENT = st.tuples(st.integers(0, 9), st.integers(VSIZE, 5 * FEE), GRAINS)


@given(st.lists(PAYMENT, min_size=1, max_size=9), st.integers(400, 4000))
def test_a_block_holds_what_a_naive_choice_by_modified_fees_would(payments, weight):
    world = World()
    coins = [world.fund() for _ in range(4)]
    entries = []
    for at, fee, _ in payments:
        held = coins.pop(at % len(coins))
        entries.append(world.submit(send([held], fee)))
        coins.append(output(entries[-1].transaction))
    for entry, (_, _, grains) in zip(entries, payments, strict=True):
        world.mempool.prioritise(entry.txid, grains)
    assert chosen(world, BlockSpace(weight, 80_000)) == naive(world.mempool.pool, weight)
