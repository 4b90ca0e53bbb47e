"""Networks of nodes: they converge, whoever can reach whom, crashes or lies."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from chain.consensus.coin import Coin
from chain.gossip.peers.links import SEED_ANSWERED
from chain.gossip.short_ids import ShortIds
from chain.gossip.wire.messages import (
    BlockMessage,
    Headers,
    Inv,
    Message,
    NotFound,
    Ping,
    TxMessage,
)
from chain.primitives.block import Block, decode_block
from chain.primitives.numbers import OutPoint
from chain.primitives.transaction import Transaction
from chain.simulator.full import FullNode
from chain.simulator.node import SimNode
from chain.simulator.rules import SIMULATION
from chain.simulator.scenario import Scenario, Shape
from chain.simulator.sharing import SharedShortIds
from chain.simulator.simulate import simulate
from tests.builders import KEY, output_of, pay, spend

SEEDS = [1, 2, 3, 4, 5]


def network(seed: int, nodes: int = 20, **how: object) -> Scenario:
    """Return a network that has run for a minute."""
    scenario = Scenario(Shape(nodes=nodes, seed=seed, **how))  # type: ignore[arg-type]
    scenario.run_until_idle(60)
    return scenario


def coins_of(node: SimNode, block: Block) -> tuple[OutPoint, Coin]:
    out = block.transactions[0].outputs[0]
    height = node.backend.tip.height
    return output_of(block.transactions[0]), Coin(out.value, out.script, height, True)  # type: ignore[arg-type]


def test_nodes_that_know_only_a_name_and_a_node_find_each_other():
    scenario = network(1, has_seeds=True)
    kinds = {seed: node.traces.get(SEED_ANSWERED) for seed, node in enumerate(scenario.nodes)}
    assert all(kinds.values()), kinds
    assert all(len(node.gossip.peers()) >= 2 for node in scenario.nodes)
    scenario.mine_steadily(3, 10)
    assert scenario.run_until_converged(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_twenty_nodes_most_behind_nat_come_to_one_tip(seed):
    scenario = network(seed)
    assert sum(node.listen is None for node in scenario.nodes) == 12
    scenario.mine_steadily(6, 10)
    scenario.mine(scenario.nodes[0])  # decides if the last two were found at once
    assert scenario.run_until_converged(60), f"seed {seed}"
    assert scenario.nodes[0].backend.tip.height >= 4
    best = scenario.nodes[0].backend.tip
    chain = scenario.nodes[0].backend.chain
    for mined in scenario.mined:
        entry = chain.get(mined.block_id)
        if entry is not None and entry.is_ancestor_of(best):
            assert len(mined.reached_us) == 20, f"seed {seed}"


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_a_partition_heals_to_the_most_work(seed):
    scenario = network(seed, 12)
    left, right = scenario.nodes[::2], scenario.nodes[1::2]
    scenario.network.partition([[n.number for n in left], [n.number for n in right]])
    scenario.world.run(60)
    for _ in range(4):
        scenario.mine(left[0])
        scenario.mine(right[0])
        scenario.mine(right[0])
        scenario.world.run(5)
    assert scenario.is_converged(right)
    assert {node.backend.tip.height for node in left} == {4}
    scenario.network.heal()
    assert scenario.run_until_converged(300), f"seed {seed}"
    assert {node.backend.tip.id for node in left} == {scenario.mined[-1].block_id}


def test_a_node_that_only_dials_out_gets_and_gives_blocks():
    scenario = network(3, 6)
    hidden = [node for node in scenario.nodes if node.listen is None]
    public = [node for node in scenario.nodes if node.listen is not None]
    assert hidden
    assert public
    mined = scenario.mine(hidden[0])
    assert scenario.run_until_converged(10)
    assert public[0].backend.tip.id == mined.block_id
    mined = scenario.mine(public[0])
    assert scenario.run_until_converged(10)
    assert hidden[0].backend.tip.id == mined.block_id


def test_a_node_that_only_dials_out_gives_what_it_mined_before_it_had_a_link():
    scenario = Scenario(Shape(nodes=4, seed=2))
    hidden = next(node for node in scenario.nodes if node.listen is None)
    for _ in range(30):
        scenario.mine(hidden)
    assert scenario.run_until_converged(120)
    assert scenario.nodes[0].backend.tip.height == 30


@pytest.mark.parametrize("seed", SEEDS)  # 4 and 5: behind NAT
def test_a_node_that_crashes_comes_back_to_the_same_tip(seed):
    scenario = network(seed, 10)
    victim = scenario.nodes[seed]
    for turn in range(6):
        scenario.mine(scenario.nodes[(seed + 1 + turn) % 10])
        scenario.world.run(0.05 * turn)  # while it spreads
        victim.crash()
        scenario.world.run(5)
        victim.restart()
        scenario.world.run(20)
    assert scenario.run_until_converged(120), f"seed {seed}"
    assert victim.gossip.peers()


def test_a_node_restarts_with_the_addresses_it_saved():
    scenario = network(1, 10)
    victim = scenario.nodes[9]
    scenario.world.run(400)  # the address book is saved every 300 s
    victim.crash()
    scenario.world.run(100)
    victim.restart()
    scenario.world.run(60)
    assert len(victim.gossip.peers()) >= 2


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_a_transaction_reaches_every_node_and_each_fetches_it_once(seed):
    scenario = network(seed)
    miner, *others = scenario.nodes
    block = miner.mine(KEY.script)
    for _ in range(3):
        scenario.world.run(10)
        scenario.mine(others[0])
    scenario.world.run(10)
    point, coin = coins_of(miner, block)
    payment = spend([(point, coin)], [pay(coin.value - 5000)])
    before = scenario.network.messages["TxMessage"]
    assert others[-1].submit(payment)
    scenario.world.run(90)
    holders = [n for n in scenario.nodes if n.backend.pool.by_txid(payment.txid) is not None]
    assert len(holders) == 20, f"seed {seed}"
    assert scenario.network.messages["TxMessage"] - before == 19
    scenario.mine(others[3])
    assert scenario.run_until_converged(30)
    assert not [n for n in scenario.nodes if n.backend.pool.by_txid(payment.txid) is not None]


def test_each_node_gets_the_body_of_a_block_hardly_more_than_once():
    """H29: thirty nodes, all reachable."""
    scenario = network(4, 30, nat_share=0.0)
    before = scenario.network.messages["BlockMessage"]
    for turn in range(4):
        scenario.mine(scenario.nodes[turn])
        scenario.world.run(30)
    assert scenario.is_converged()
    sent = scenario.network.messages["BlockMessage"] - before
    assert sent <= 4 * 30 * 1.3, f"{sent} bodies for 4 blocks and 30 nodes"


def mutate_block(raw: bytes) -> bytes:
    """Return the same header with another witness nonce."""
    block = decode_block(raw)
    first = block.transactions[0]
    inputs = [replace(first.inputs[0], witness=(b"\x07" * 32,))]
    changed = Transaction(first.version, inputs, first.outputs, first.lock_time)
    return Block(block.header, [changed, *block.transactions[1:]]).raw


def liar(message: Message) -> tuple[Message, ...]:
    """Mutate blocks, tear headers, promise and not give."""
    match message:
        case BlockMessage():
            return (BlockMessage(mutate_block(message.raw)),)
        case Headers(headers=headers) if len(headers) > 1:
            return (Headers(headers[::2]),)
        case TxMessage() | NotFound():
            return ()
        case Ping() | Inv():
            return (message, message)
        case _:
            return (message,)


def silent(message: Message) -> tuple[Message, ...]:
    """Announce blocks and never give one."""
    return () if isinstance(message, BlockMessage) else (message,)


@pytest.mark.parametrize("lie", [liar, silent])
@pytest.mark.parametrize("seed", SEEDS[:3])
def test_liars_do_not_keep_the_others_apart(lie, seed):
    scenario = network(seed, 16)
    liars = [0, 7]
    for number in liars:
        scenario.network.tampers[number] = lie
    honest = [node for node in scenario.nodes if node.number not in liars]
    for turn in range(5):
        scenario.mine(honest[(seed + 3 * turn) % len(honest)])
        scenario.world.run(20)
    assert scenario.run_until_converged(120, honest), f"seed {seed}"
    assert honest[0].backend.tip.height == 5


def test_clocks_that_are_off_do_not_split_the_network():
    """H17: nobody decides by the clocks of others."""
    scenario = network(2, 12, skew_s=300)
    scenario.mine_steadily(8, 20)
    scenario.mine(scenario.nodes[0])
    assert scenario.run_until_converged(700)


@pytest.mark.parametrize("nodes", [5])
def test_full_nodes_converge_reorganise_and_pass_on_transactions(nodes):
    scenario = Scenario(Shape(nodes=nodes, seed=6), lambda: FullNode(SIMULATION))
    try:
        scenario.run_until_idle(30)
        block = scenario.nodes[0].mine(KEY.script)
        for turn in range(3):
            scenario.mine(scenario.nodes[turn])
            scenario.world.run(5)
        assert scenario.is_converged()
        sides = [[0, 1], [2, 3, 4]]
        scenario.network.partition(sides)
        point, coin = coins_of(scenario.nodes[0], block)
        payment = spend([(point, replace(coin, height=1))], [pay(coin.value - 5000)])
        assert scenario.nodes[0].submit(payment)
        scenario.mine(scenario.nodes[0])  # confirms the payment on the side that loses
        for _ in range(3):
            scenario.mine(scenario.nodes[3])
        scenario.network.heal()
        assert scenario.run_until_converged(300)
        assert scenario.nodes[0].backend.pool.by_txid(payment.txid) is not None
        scenario.world.run(60)
        scenario.mine(scenario.nodes[0])
        assert scenario.run_until_converged(60)
        assert scenario.nodes[4].backend.pool.by_txid(payment.txid) is None
    finally:
        scenario.close()


def test_equal_seeds_give_equal_runs_and_others_do_not():
    assert run_trace(7) == run_trace(7)
    assert run_trace(7) != run_trace(8)


def test_messages_that_become_bytes_on_their_way_change_nothing():
    assert run_trace(7, encodes=True) == run_trace(7)


def test_a_run_does_not_depend_on_the_hash_seed():
    script = "from tests.simulator.test_network import run_trace\nprint(run_trace(7))"
    traces = []
    for hash_seed in ("0", "12345"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        traces.append(done.stdout.strip())
    assert traces == [run_trace(7)] * 2


def run_trace(seed: int, *, encodes: bool = False) -> str:
    """Return the trace of a short run with blocks, a transaction, a crash and a partition."""
    scenario = network(seed, 10, encodes=encodes)
    block = scenario.nodes[1].mine(KEY.script)
    scenario.world.run(10)
    scenario.mine_steadily(4, 15)
    point, coin = coins_of(scenario.nodes[1], block)
    assert scenario.nodes[5].submit(spend([(point, coin)], [pay(coin.value - 5000)]))
    scenario.nodes[2].crash()
    scenario.network.partition([range(5), range(5, 10)])
    scenario.world.run(20)
    scenario.network.heal()
    scenario.nodes[2].restart()
    scenario.mine_steadily(2, 15)
    return scenario.world.trace


def test_what_the_simulation_shares_stands_in_for_what_nodes_compute():
    shared = {name for name in vars(SharedShortIds) if not name.startswith("_")}
    assert shared <= set(vars(ShortIds)), "a method that overrides nothing is never called"


def test_the_report_has_the_figures():
    report, spread_ms = simulate(10, 4, 1, 50)
    assert report.converged
    assert report.coverage == 1.0
    assert 0 < report.block_p50_ms <= report.block_p90_ms <= report.block_p99_ms < 10_000
    assert report.bytes_per_node_per_block > 200
    assert 0 < report.stale_rate < 0.02
    assert report.stale_blocks == 0
    assert report.rebuilt_at_once > 0.5
    assert report.events > 1000
    assert report.events_per_second > 0
    again, spread_again_ms = simulate(10, 4, 1, 50)
    assert spread_again_ms == spread_ms == sorted(spread_ms)
    assert replace(again, events_per_second=0) == replace(report, events_per_second=0)


@pytest.mark.parametrize("nodes", [1, 2000])
def test_a_network_has_a_sensible_size(nodes):
    with pytest.raises(ValueError, match="nodes"):
        Scenario(Shape(nodes=nodes, seed=1))


def test_links_stay_within_their_slots():
    scenario = network(5, 30)
    for node in scenario.nodes:
        peers = node.gossip.peers()
        outbound = [peer for peer in peers if peer.connection_type is not None]
        assert len(outbound) <= 8 + 2 + 2  # one more of each, while the tip is stale or for a look
        groups = [peer.address.group for peer in outbound]
        assert len(groups) == len(set(groups))
