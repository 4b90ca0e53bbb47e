"""What comes back to the pool after a reorganisation, and what has to leave."""

import pytest

from chain.consensus.entry import BlockTreeEntry
from chain.node import mempool
from chain.node.mempool import RemovalReason, Reorganisation
from chain.node.policy import Policy
from chain.primitives.transaction import Transaction, TxOut
from tests.builders import ChainBuilder, pay, spend
from tests.node.world import COIN, World, output, send

FEE = 1000


def reorganise(world: World, depth: int, *branch: list[Transaction]):
    """Replace the last `depth` blocks by others with these transactions; return both lists."""
    return reorganised(world, depth, *branch)[:2]


def reorganised(world: World, depth: int, *branch: list[Transaction]):
    disconnected = [world.undo() for _ in range(depth)]
    connected = [world.extend(txs, extra=b"other %d" % n) for n, txs in enumerate(branch)]
    change = Reorganisation(disconnected, connected, world.tip, world.coins)
    return world.mempool.reorganise(change, world.now)


def test_what_neither_comes_back_nor_is_confirmed_again_is_dropped():
    world = World()
    held = world.fund()
    both, ours = send([world.fund()], FEE), send([held], FEE)
    later = send([world.fund()], FEE, lock_time=121, sequence=0)
    world.connect([both, ours])
    world.connect([later])
    change = reorganised(world, 2, [both, send([held], FEE * 5)])
    assert change.dropped == [ours.txid]
    assert [entry.txid for entry in change.returned] == [later.txid]
    assert reorganised(world, 1).dropped == []
    assert later.txid not in world.txids


def test_transactions_come_back_in_the_order_of_the_old_branch():
    world = World()
    first = send([world.fund()], FEE)
    second = send([output(first)], FEE)
    third = send([output(second)], FEE)
    world.connect([first, second])
    world.connect([third])
    returned, removed = reorganise(world, 2, [], [])
    assert [entry.txid for entry in returned] == [first.txid, second.txid, third.txid]
    assert [entry.ancestors.count for entry in returned] == [1, 2, 3]
    assert removed == []


def test_what_comes_back_stands_before_what_waited_for_it():
    world = World()
    parent = send([world.fund()], FEE)
    world.connect([parent])
    child = world.submit(send([(output(parent)[0], world.coins[output(parent)[0]])], FEE))
    world.submit(send([world.fund()], FEE))
    reorganise(world, 1, [])
    order = [entry.txid for entry in world.mempool.pool.entries()]
    assert order[0] == parent.txid
    assert child.ancestors.count == 2


def test_what_both_branches_confirmed_does_not_come_back():
    world = World()
    transaction = send([world.fund()], FEE)
    world.connect([transaction])
    returned, removed = reorganise(world, 1, [transaction], [])
    assert (returned, removed) == ([], [])


def test_what_the_new_branch_confirms_leaves_the_pool():
    world = World()
    entry = world.submit(send([world.fund()], FEE))
    world.connect([])
    _, removed = reorganise(world, 1, [entry.transaction])
    assert [(r.entry, r.reason) for r in removed] == [(entry, RemovalReason.CONFIRMED)]


def test_a_spend_of_what_the_new_branch_spends_leaves_with_its_descendants():
    world = World()
    held = world.fund()
    entry = world.submit(send([held], FEE))
    child = world.submit(send([output(entry.transaction)], FEE))
    world.connect([])
    _, removed = reorganise(world, 1, [send([held], FEE * 5)])
    assert [(r.entry, r.reason) for r in removed] == [
        (entry, RemovalReason.CONFLICT),
        (child, RemovalReason.REORGANISED),
    ]
    assert world.mempool.pool.count == 0


def test_what_conflicts_with_the_new_branch_does_not_come_back_nor_what_needs_it():
    world = World()
    held = world.fund()
    ours = send([held], FEE)
    world.connect([ours])
    point = output(ours)[0]
    child = world.submit(send([(point, world.coins[point])], FEE))
    returned, removed = reorganise(world, 1, [send([held], FEE * 5)])
    assert returned == []
    assert [(r.entry, r.reason) for r in removed] == [(child, RemovalReason.REORGANISED)]


def test_a_spend_of_a_vanished_coinbase_leaves():
    world = World()
    block = world.connect([])
    for _ in range(99):
        world.connect([])
    point = output(block.transactions[0])[0]
    entry = world.submit(send([(point, world.coins[point])], FEE))
    _, removed = reorganise(world, 100, *([[]] * 101))
    assert [(r.entry, r.reason) for r in removed] == [(entry, RemovalReason.REORGANISED)]


@pytest.mark.parametrize(("branch_blocks", "stays"), [(1, False), (2, True)])
def test_a_coinbase_coin_that_is_immature_again_may_not_be_spent(branch_blocks, stays):
    world = World()
    world.connect([])
    world.connect([])
    held = world.fund(height=23, from_coinbase=True)  # the next block is 123
    entry = world.submit(send([held], FEE))
    reorganise(world, 2, *([[]] * branch_blocks))
    assert (entry.txid in world.txids) is stays


@pytest.mark.parametrize(("branch_blocks", "stays"), [(1, False), (2, True)])
def test_a_lock_height_that_is_ahead_again_sends_away(branch_blocks, stays):
    world = World()
    world.connect([])
    world.connect([])
    entry = world.submit(send([world.fund()], FEE, lock_time=122, sequence=0))
    reorganise(world, 2, *([[]] * branch_blocks))
    assert (entry.txid in world.txids) is stays


@pytest.mark.parametrize(("sequence", "stays"), [(2, False), (1, True)])
def test_a_relative_lock_counts_from_where_the_coin_is_now(sequence, stays):
    """Its parent was confirmed at 121 and is at 122 on the new branch: one block less of age."""
    world = World()
    parent = send([world.fund()], FEE)
    world.connect([parent])
    world.connect([])
    point = output(parent)[0]
    entry = world.submit(send([(point, world.coins[point])], FEE, sequence=sequence))
    reorganise(world, 2, [], [parent])
    assert (entry.txid in world.txids) is stays
    if stays:
        assert entry.coins[0].height == 122


def test_chains_that_grew_too_long_lose_their_end():
    world = World(Policy(package_count_max=3))
    first = send([world.fund()], FEE)
    second = send([output(first)], FEE)
    world.connect([first, second])
    point = output(second)[0]
    third = world.submit(send([(point, world.coins[point])], FEE))
    fourth = world.submit(send([output(third.transaction)], FEE))
    _, removed = reorganise(world, 1, [])
    assert world.txids == {first.txid, second.txid, third.txid}
    assert [(r.entry, r.reason) for r in removed] == [(fourth, RemovalReason.REORGANISED)]


def test_what_paid_nothing_comes_back_for_a_block_had_it():
    world = World()
    free = send([world.fund()], 0)
    world.connect([free])
    returned, _ = reorganise(world, 1, [])
    assert [entry.txid for entry in returned] == [free.txid]


def test_what_is_not_standard_does_not_come_back_nor_what_needs_it():
    world = World()
    odd = spend([world.fund()], [pay(COIN // 2), TxOut(COIN // 4, b"\x51")])
    world.connect([odd])
    point = output(odd)[0]
    child = world.submit(send([(point, world.coins[point])], FEE))
    returned, removed = reorganise(world, 1, [])
    assert returned == []
    assert [removal.entry for removal in removed] == [child]


def test_no_more_comes_back_than_memory_is_set_aside_for(monkeypatch):
    world = World()
    transactions = [send([world.fund()], FEE) for _ in range(4)]
    monkeypatch.setattr(mempool, "RETURNED_BYTES_MAX", 2 * len(transactions[0].raw) + 10)
    world.connect(transactions)
    returned, _ = reorganise(world, 1, [])
    assert [entry.txid for entry in returned] == [tx.txid for tx in transactions[:2]]


def test_what_there_is_no_memory_for_is_dropped_and_not_just_forgotten(monkeypatch):
    world = World()
    transactions = [send([world.fund()], FEE) for _ in range(4)]
    monkeypatch.setattr(mempool, "RETURNED_BYTES_MAX", len(transactions[0].raw) + 10)
    world.connect(transactions[:3])
    world.connect(transactions[3:])
    change = reorganised(world, 2, [transactions[1]])
    assert [entry.txid for entry in change.returned] == [transactions[0].txid]
    assert change.dropped == [transactions[2].txid, transactions[3].txid]


@pytest.mark.parametrize("bytes_max", [0, mempool.RETURNED_BYTES_MAX])
def test_no_more_is_said_to_be_dropped_than_the_journal_has_room_for(monkeypatch, bytes_max):
    world = World()
    odd = [spend([world.fund()], [TxOut(COIN // 4, b"\x51")]) for _ in range(4)]
    monkeypatch.setattr(mempool, "DROPPED_MAX", 2)
    monkeypatch.setattr(mempool, "RETURNED_BYTES_MAX", bytes_max)
    world.connect(odd)
    assert reorganised(world, 1, []).dropped == [tx.txid for tx in odd[:2]]


def test_a_pool_that_is_full_afterwards_evicts():
    world = World()
    first, second = send([world.fund()], FEE), send([world.fund()], FEE * 2)
    world.connect([first, second])
    rich = world.submit(send([world.fund()], FEE * 3))
    world.mempool.policy = Policy(pool_bytes_max=2 * rich.usage_bytes)
    returned, removed = reorganise(world, 1, [])
    assert world.txids == {second.txid, rich.txid}
    assert [entry.txid for entry in returned] == [second.txid]
    assert [(r.entry.txid, r.reason) for r in removed] == [(first.txid, RemovalReason.EVICTED)]


def test_the_old_tips_pool_stays_as_it_was():
    world = World()
    transaction = send([world.fund()], FEE)
    world.connect([transaction])
    old = world.mempool.pool
    reorganise(world, 1, [])
    assert old.count == 0
    assert world.mempool.pool.count == 1


def test_the_worlds_chain_is_a_chain():
    """The helper of these tests takes blocks back as it put them on."""
    world = World()
    held = world.fund()
    coins, tip = dict(world.coins), world.tip
    world.connect([send([held], FEE)])
    world.undo()
    assert world.coins == coins
    assert world.tip == tip
    assert isinstance(ChainBuilder(tip=tip).tip, BlockTreeEntry)
