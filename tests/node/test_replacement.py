"""Who may replace whom: BIP125's rules two to five, and a higher fee rate (H16)."""

import pytest

from chain.node.mempool import RemovalReason
from chain.node.policy import Policy, PolicyError, PolicyReason
from chain.primitives.numbers import Amount
from chain.primitives.transaction import TxOut
from tests.builders import Key, pay, spend
from tests.node.world import COIN, World, output, send

FEE = 1000
VSIZE = 110


def refused(world: World, transaction) -> PolicyReason:
    before = world.txids
    with pytest.raises(PolicyError) as error:
        world.submit(transaction)
    assert world.txids == before
    return error.value.reason


@pytest.mark.parametrize(("more", "is_taken"), [(VSIZE - 1, False), (VSIZE, True)])
def test_a_replacement_pays_for_its_own_relay(more, is_taken):
    world = World()
    held = world.fund()
    old = world.submit(send([held], FEE))
    new = send([held], FEE + more)
    if is_taken:
        world.submit(new)
        assert world.txids == {new.txid}
        assert [(r.entry, r.reason, r.by) for r in world.removed] == [
            (old, RemovalReason.REPLACED, new.txid)
        ]
    else:
        assert refused(world, new) is PolicyReason.REPLACEMENT_FEE


def test_signalling_is_not_needed():
    world = World()
    held = world.fund()
    world.submit(send([held], FEE, sequence=0xFFFFFFFF))
    new = send([held], FEE * 2)
    world.submit(new)
    assert world.txids == {new.txid}


def test_a_replacement_pays_for_all_that_leaves_with_what_it_replaces():
    world = World()
    held = world.fund()
    old = world.submit(send([held], FEE))
    child = world.submit(send([output(old.transaction)], 5000))
    assert refused(world, send([held], FEE + 5000 - 1)) is PolicyReason.REPLACEMENT_FEE
    assert refused(world, send([held], FEE + 5000 + VSIZE - 1)) is PolicyReason.REPLACEMENT_FEE
    new = world.submit(send([held], FEE + 5000 + VSIZE))
    assert world.txids == {new.txid}
    assert {removal.entry for removal in world.removed} == {old, child}


def test_a_replacement_pays_a_higher_rate_than_what_it_conflicts_with():
    world = World()
    held = world.fund()
    world.submit(send([held], FEE))
    larger = send([held], FEE * 3, outputs=20)
    assert larger.vsize > 3 * VSIZE
    with pytest.raises(PolicyError, match="fee rate"):
        world.submit(larger)


@pytest.mark.parametrize(("more", "is_taken"), [(0, False), (1, True)])
def test_an_equal_rate_is_not_higher(more, is_taken):
    world = World(Policy(incremental_feerate=0))
    held = world.fund()
    world.submit(spend([held], [pay(COIN - FEE)]))
    new = spend([held], [TxOut(Amount(COIN - FEE - more), Key(2).script)])
    if is_taken:
        assert world.submit(new).vsize == VSIZE
    else:
        assert refused(world, new) is PolicyReason.REPLACEMENT_FEE


@pytest.mark.parametrize(("limit", "is_taken"), [(5, False), (6, True)])
def test_no_more_than_the_limit_are_pushed_out(limit, is_taken):
    world = World(Policy(replaced_max=limit))
    coins = [world.fund() for _ in range(3)]
    for held in coins:
        parent = world.submit(send([held], FEE)).transaction
        world.submit(send([output(parent)], FEE))
    new = send(coins, FEE * 20)
    if is_taken:
        world.submit(new)
        assert world.txids == {new.txid}
    else:
        assert refused(world, new) is PolicyReason.REPLACED_TOO_MANY


def test_a_replacement_adds_no_unconfirmed_parent():
    world = World()
    held = world.fund()
    world.submit(send([held], FEE))
    other = output(world.submit(send([world.fund()], FEE)).transaction)
    assert refused(world, send([held, other], FEE * 9)) is PolicyReason.REPLACEMENT_NEW_PARENT


def test_a_replacement_keeps_an_unconfirmed_parent_that_was_there():
    world = World()
    parent = world.submit(send([world.fund()], FEE))
    world.submit(send([output(parent.transaction)], FEE))
    new = world.submit(send([output(parent.transaction)], FEE * 3))
    assert world.txids == {parent.txid, new.txid}
    assert parent.descendants.count == 2


def test_a_replacement_does_not_spend_what_it_replaces():
    world = World()
    held = world.fund()
    old = world.submit(send([held], FEE, outputs=2)).transaction
    new = send([held, output(old, 1)], FEE * 9)
    assert refused(world, new) is PolicyReason.SPENDS_CONFLICT


def test_one_transaction_replaces_several():
    world = World()
    coins = [world.fund() for _ in range(3)]
    for held in coins:
        world.submit(send([held], FEE))
    new = world.submit(send(coins, FEE * 9))
    assert world.txids == {new.txid}
    assert all(world.mempool.pool.spender(point) is new for point, _ in coins)


def test_a_pinning_chain_of_25_does_not_stop_who_pays_for_all_of_it():
    world = World()
    held = world.fund()
    last = held
    for _ in range(25):
        last = output(world.submit(send([last], FEE)).transaction)
    assert refused(world, send([held], 25 * FEE + VSIZE - 1)) is PolicyReason.REPLACEMENT_FEE
    new = world.submit(send([held], 25 * FEE + VSIZE))
    assert world.txids == {new.txid}


def test_replacements_that_do_not_pay_for_relay_change_nothing():
    world = World()
    held = world.fund()
    old = world.submit(send([held], FEE))
    for more in range(VSIZE)[1::7]:
        assert refused(world, send([held], FEE + more)) is PolicyReason.REPLACEMENT_FEE
    assert world.txids == {old.txid}
