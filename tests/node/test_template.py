"""Block templates: always valid, as well paid as may be, and complete."""

from itertools import combinations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.block_validation import (
    check_block,
    check_block_context,
    commitment_index,
    connect_block,
)
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.params import MAIN, REGTEST
from chain.consensus.subsidy import block_subsidy
from chain.node.entry import PoolEntry
from chain.node.pool import Pool
from chain.node.selection import BlockSpace, select
from chain.node.template import (
    TEMPLATE_ROOM,
    Template,
    find_invalid_entry,
    template_time,
)
from chain.primitives.block import Block
from chain.primitives.compact import target_from_bits
from chain.primitives.numbers import Hash32
from chain.primitives.script import push_number
from chain.primitives.transaction import Transaction, TxIn
from tests.builders import KEY, ChainBuilder, Key, pay, solve
from tests.node.world import NOW, World, output, send

FEE = 1000
SCRIPT = Key(9).script


def template_of(world: World, entries=None) -> Template:
    chosen = select(world.mempool.pool, TEMPLATE_ROOM) if entries is None else entries
    return Template(REGTEST, world.tip, SCRIPT, tuple(chosen), NOW)


def solved(template: Template, extranonce: int = 0) -> Block:
    return template.block(solve(template.header(extranonce, template.time)), extranonce)


def check(template: Template, world: World, extranonce: int = 0) -> Block:
    """Check the template's block by every consensus rule, signatures too."""
    block = solved(template, extranonce)
    check_block(block, REGTEST)
    check_block_context(block, template.parent)
    connect_block(block, template.parent, world.coins, REGTEST)
    return block


def test_a_template_of_an_empty_pool_is_valid():
    world = World()
    block = check(template_of(world), world)
    assert block.transactions[0].outputs[0].value == block_subsidy(121, REGTEST)


def test_the_coinbase_takes_all_fees_and_pays_to_the_script():
    world = World()
    for fee in (FEE, FEE * 2):
        world.submit(send([world.fund()], fee))
    block = check(template_of(world), world)
    paid = block.transactions[0].outputs[0]
    assert paid.value == block_subsidy(121, REGTEST) + 3 * FEE
    assert paid.script == SCRIPT


def test_the_coinbase_holds_height_magic_and_extranonce():
    world = World()
    template = template_of(world)
    script = template.coinbase(0x0102).inputs[0].script_sig
    assert script == push_number(121) + b"\x0c" + REGTEST.magic + b"\x02\x01" + bytes(6)
    assert template.coinbase(1).lock_time == 120
    assert template.coinbase(1).txid != template.coinbase(2).txid


def test_coinbases_of_two_networks_differ():
    parent = World().tip
    ours = Template(REGTEST, parent, SCRIPT, (), NOW)
    theirs = Template(MAIN, parent, SCRIPT, (), NOW)
    assert ours.coinbase(0).inputs[0].script_sig != theirs.coinbase(0).inputs[0].script_sig


@pytest.mark.parametrize("extranonce", [0, 1, (1 << 64) - 1])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
def test_any_extranonce_gives_a_valid_block(extranonce, count):
    world = World()
    for _ in range(count):
        world.submit(send([world.fund()], FEE))
    check(template_of(world), world, extranonce)


def test_fields_for_outside_miners_describe_the_block():
    world = World()
    parent = world.submit(send([world.fund()], FEE, outputs=2))
    child = world.submit(send([output(parent.transaction, 0)], FEE * 9))
    both = world.submit(send([output(parent.transaction, 1), output(child.transaction)], FEE * 5))
    template = template_of(world)
    assert template.entries == (parent, child, both)
    assert template.depends == ((), (1,), (1, 2))
    assert [entry.fee for entry in template.entries] == [FEE, FEE * 9, FEE * 5]
    assert [entry.sigops_cost for entry in template.entries] == [1, 1, 2]
    assert [e.weight for e in template.entries] == [e.transaction.weight for e in template.entries]
    assert template.height == 121
    assert template.target == target_from_bits(template.bits)
    assert template.time_min == world.tip.median_time_past + 1
    coinbase = template.unsolved.transactions[0]
    index = commitment_index(coinbase)
    assert index is not None
    assert coinbase.outputs[index].script == template.commitment_script
    assert coinbase.outputs[0].value == template.coinbase_value


def test_a_block_made_by_an_outside_miners_coinbase_is_valid():
    """Version 1, no witness but the reserved value that submitblock adds, another script."""
    world = World()
    world.submit(send([world.fund()], FEE))
    template = template_of(world)
    outputs = [pay(template.coinbase_value), template.coinbase(0).outputs[1]]
    first = TxIn(template.coinbase(0).inputs[0].outpoint, push_number(121) + b"\x00")
    filled = TxIn(first.outpoint, first.script_sig, witness=(bytes(32),))
    coinbase = Transaction(1, [filled], outputs)
    from_template = (entry.transaction for entry in template.entries)
    transactions = [coinbase, *from_template]
    check_block_context(Block(template.header(0, NOW), transactions), template.parent)


@pytest.mark.parametrize("ahead_s", [7199, 7200, 7201])
def test_a_template_waits_when_block_times_ran_too_far_ahead(ahead_s):
    parent = World().tip
    now = parent.median_time_past + 1 - ahead_s
    if ahead_s <= REGTEST.header_ahead_s_max:
        assert template_time(parent, now, REGTEST) == parent.median_time_past + 1
    else:
        with pytest.raises(InvalidError) as refused:
            template_time(parent, now, REGTEST)
        assert refused.value.reason is Reason.TIME_TOO_NEW


def test_time_is_the_clocks_once_it_is_past_the_median():
    parent = World().tip
    assert template_time(parent, parent.median_time_past + 50, REGTEST) == (
        parent.median_time_past + 50
    )


def test_packages_are_ordered_by_what_child_and_parent_pay_together():
    world = World()
    poor = world.submit(send([world.fund()], 200))
    middle = world.submit(send([world.fund()], 2000))
    rich = world.submit(send([output(poor.transaction)], 9000))
    assert select(world.mempool.pool, TEMPLATE_ROOM) == [poor, rich, middle]


def test_a_package_that_does_not_fit_makes_way_for_the_next():
    world = World()
    large = world.submit(send([world.fund()], 90_000, outputs=20))
    small = world.submit(send([world.fund()], FEE))
    assert large.alone.feerate > small.alone.feerate
    room = BlockSpace(small.weight, 80_000)
    assert select(world.mempool.pool, room) == [small]


@pytest.mark.parametrize(("spare", "count"), [(-1, 2), (0, 3)])
def test_weight_and_sigops_fill_to_the_last_unit(spare, count):
    world = World()
    entries = [world.submit(send([world.fund()], FEE)) for _ in range(3)]
    weight = sum(entry.weight for entry in entries)
    assert len(select(world.mempool.pool, BlockSpace(weight + spare, 80_000))) == count
    assert len(select(world.mempool.pool, BlockSpace(weight, 3 + spare))) == count


def _faulty(world: World) -> PoolEntry:
    """Put a spend of a coin that does not exist into the pool, behind admission's back."""
    held = world.fund()
    del world.coins[held[0]]
    entry = PoolEntry(send([held], FEE * 9), (held[1],), FEE * 9, time=NOW, height=120)
    world.mempool.pool.add(entry)
    return entry


@pytest.mark.parametrize("count", [0, 1, 5, 8])
def test_the_first_entry_that_spoils_a_block_is_found(count):
    world = World()
    good = [world.submit(send([world.fund()], FEE)) for _ in range(8)]
    bad = _faulty(world)
    entries = [*good[:count], bad, *good[count:]]
    assert find_invalid_entry(template_of(world, entries), world.coins) is bad
    assert find_invalid_entry(template_of(world, good), world.coins) is None


def test_a_template_that_cannot_be_valid_at_all_is_an_error():
    world = World()
    template = Template(REGTEST, world.tip, b"\x00" * 4_100_000, (), NOW)
    with pytest.raises(InvalidError) as refused:
        find_invalid_entry(template, world.coins)
    assert refused.value.reason is Reason.BLOCK_WEIGHT


def best_fees(pool: Pool, room: BlockSpace) -> int:
    """Return what the best of all sets pays that holds its own parents and fits."""
    entries = pool.entries()
    best = 0
    for count in range(len(entries) + 1):
        for chosen in combinations(entries, count):
            ids = {entry.txid for entry in chosen}
            if sum(entry.weight for entry in chosen) > room.weight:
                continue
            if all(p.txid in ids for e in chosen for p in pool.parents(e.transaction)):
                best = max(best, sum(entry.fee for entry in chosen))
    return best


def random_pool(seed: int, size: int) -> World:
    world, rng = World(), Random(seed)
    coins = [world.fund() for _ in range(size)]
    for _ in range(size):
        held = coins.pop(rng.randrange(len(coins)))
        entry = world.submit(send([held], rng.randrange(300, 20_000)))
        coins.append(output(entry.transaction))
    return world


@given(st.integers(0, 10_000), st.integers(1, 9))
def test_any_pool_gives_a_valid_template_that_holds_all_it_has_room_for(seed, size):
    world = random_pool(seed, size)
    template = template_of(world)
    check(template, world)
    assert len(template.entries) == size


@given(st.integers(0, 10_000), st.integers(1, 400_000))
def test_a_crowded_template_is_valid_and_within_its_room(seed, weight):
    world = random_pool(seed, 8)
    room = BlockSpace(weight % (8 * 440), 80_000)
    chosen = select(world.mempool.pool, room)
    check(template_of(world, chosen), world)
    assert sum(entry.weight for entry in chosen) <= room.weight


def test_fees_are_within_one_percent_of_the_best_of_all_sets():
    """Over many small pools together: one small pool may lose a whole transaction to rounding."""
    ours = best = 0
    for seed in range(60):
        world = random_pool(seed, 9)
        room = BlockSpace(6 * 440, 80_000)
        ours += sum(entry.fee for entry in select(world.mempool.pool, room))
        best += best_fees(world.mempool.pool, room)
    assert ours <= best
    assert ours >= 0.99 * best


def test_the_job_of_a_template_does_not_change_with_time():
    template = template_of(World())
    assert template.header(3, NOW + 5).merkle_root == template.coinbase(3).txid
    assert template.header(3, NOW + 5).time == NOW + 5
    assert Hash32(template.header(3, NOW).previous) == template.parent.id


def test_a_chain_of_templates_is_a_valid_chain():
    builder = ChainBuilder()
    for number in range(15):
        block = solved(Template(REGTEST, builder.tip, KEY.script, (), NOW + number))
        check_block(block, REGTEST)
        check_block_context(block, builder.tip)
        builder.append(block)
