"""Limits on chains of unconfirmed transactions, and the figures that each entry keeps of them."""

import pytest

from chain.node.entry import Package
from chain.node.policy import Policy, PolicyError, PolicyReason
from tests.node.world import COIN, World, output, send

FEE = 1000
LIMIT = 25


def chain(world: World, length: int, fee: int = FEE) -> list:
    """Pool a chain of transactions, each spending the one before."""
    held = world.fund()
    entries = []
    for _ in range(length):
        entry = world.submit(send([held], fee))
        entries.append(entry)
        held = output(entry.transaction)
    return entries


def test_a_chain_of_25_is_taken_and_26_is_not():
    world = World()
    last = chain(world, LIMIT)[-1]
    assert last.ancestors.count == LIMIT
    with pytest.raises(PolicyError, match="unconfirmed ancestors") as refused:
        world.submit(send([output(last.transaction)], FEE))
    assert refused.value.reason is PolicyReason.PACKAGE


def test_25_descendants_itself_included_are_taken_and_26_are_not():
    world = World()
    parent = world.submit(send([world.fund()], FEE * 30, outputs=LIMIT)).transaction
    for index in range(LIMIT - 1):
        world.submit(send([output(parent, index)], FEE))
    with pytest.raises(PolicyError, match="unconfirmed descendants") as refused:
        world.submit(send([output(parent, LIMIT - 1)], FEE))
    assert refused.value.reason is PolicyReason.PACKAGE
    assert world.mempool.pool.get(parent.txid).descendants.count == LIMIT


def test_24_unconfirmed_parents_are_taken_and_25_are_not():
    world = World()
    parents = [output(world.submit(send([world.fund()], FEE)).transaction) for _ in range(LIMIT)]
    with pytest.raises(PolicyError) as refused:
        world.submit(send(parents, FEE * LIMIT * 2))
    assert refused.value.reason is PolicyReason.PACKAGE
    assert world.submit(send(parents[:-1], FEE * LIMIT * 2)).ancestors.count == LIMIT


@pytest.mark.parametrize(("spare_vbytes", "is_taken"), [(0, True), (-1, False)])
def test_virtual_size_of_a_package_is_limited(spare_vbytes, is_taken):
    size = 2 * 110
    world = World(Policy(package_vbytes_max=size + spare_vbytes))
    parent = world.submit(send([world.fund()], FEE)).transaction
    child = send([output(parent)], FEE)
    assert parent.vsize + child.vsize == size
    if is_taken:
        assert world.submit(child).ancestors.vsize == size
    else:
        with pytest.raises(PolicyError, match="size limit of ancestors"):
            world.submit(child)


def test_a_replaced_descendant_does_not_count_against_its_replacement():
    world = World()
    entries = chain(world, LIMIT)
    before_last = entries[-2].transaction
    replacing = world.submit(send([output(before_last)], FEE * 3))
    assert replacing.ancestors.count == LIMIT
    assert entries[0].descendants.count == LIMIT
    assert world.mempool.pool.count == LIMIT


def test_entries_know_the_packages_above_and_below_them():
    world = World()
    top = world.submit(send([world.fund()], 3000, outputs=2))
    left = world.submit(send([output(top.transaction, 0)], 500))
    right = world.submit(send([output(top.transaction, 1)], 700))
    bottom = world.submit(send([output(left.transaction), output(right.transaction)], 900))
    vsize = top.vsize + left.vsize + right.vsize + bottom.vsize
    assert bottom.ancestors == Package(4, vsize, 5100, 5100)
    assert top.descendants == bottom.ancestors
    assert left.descendants == Package(2, left.vsize + bottom.vsize, 1400, 1400)
    assert left.ancestors == Package(2, top.vsize + left.vsize, 3500, 3500)


def test_packages_shrink_when_a_parent_is_confirmed():
    world = World()
    entries = chain(world, 3)
    world.connect([entries[0].transaction])
    assert [entry.ancestors.count for entry in entries[1:]] == [1, 2]
    assert [entry.descendants.count for entry in entries[1:]] == [2, 1]
    assert entries[1].coins[0].height == world.tip.height


def test_a_parent_that_is_confirmed_lets_its_chain_grow():
    world = World()
    entries = chain(world, LIMIT)
    world.connect([entries[0].transaction])
    assert world.submit(send([output(entries[-1].transaction)], FEE)).ancestors.count == LIMIT


def test_a_block_that_spends_a_coin_takes_the_pooled_spender_and_its_descendants_out():
    world = World()
    held, other = world.fund(), world.fund()
    entry = world.submit(send([held], FEE))
    child = world.submit(send([output(entry.transaction)], FEE))
    kept = world.submit(send([other], FEE))
    theirs = send([held], FEE * 5)
    world.connect([theirs])
    assert world.txids == {kept.txid}
    found = {(r.entry.txid, str(r.reason), r.by) for r in world.removed}
    assert found == {(e.txid, "conflict", theirs.txid) for e in (entry, child)}


def test_a_pool_is_found_by_script_of_coins_and_outputs():
    world = World()
    held = world.fund(COIN)
    entry = world.submit(send([held], FEE))
    child = world.submit(send([output(entry.transaction)], FEE))
    pool = world.mempool.pool
    assert pool.by_script(held[1].script) == [entry, child]
    assert pool.by_script(b"\x51") == []
    world.connect([entry.transaction])
    assert world.mempool.pool.by_script(held[1].script) == [child]
    assert pool.by_script(held[1].script) == [entry, child], "the old tip's pool stays as it was"
