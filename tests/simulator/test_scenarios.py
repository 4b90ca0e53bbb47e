"""Networks under attack and with faults; each failure names its seed."""

import pytest

from chain.gossip.transactions.txrequest import REQUEST_TIMEOUT_S
from chain.gossip.wire.messages import BlockMessage, Headers, Inv, Inventory, Message, TxMessage
from chain.simulator.rules import SIMULATION
from chain.simulator.scenario import Scenario, Shape
from chain.simulator.simulate import simulate
from tests.builders import KEY, pay, spend
from tests.simulator.invariants import check_invariants
from tests.simulator.test_network import coins_of, network

SEEDS = [11, 12]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_transaction_is_not_hidden_by_peers_that_announce_and_never_give(seed):
    scenario = network(seed, 12, nat_share=0.0)
    block = scenario.nodes[11].mine(KEY.script)
    for _ in range(3):
        scenario.world.run(5)
        scenario.mine(scenario.nodes[10])
    scenario.world.run(10)
    for number in range(5):
        scenario.network.tampers[number] = lambda message: (
            () if isinstance(message, TxMessage) else (message,)
        )
    point, coin = coins_of(scenario.nodes[11], block)
    payment = spend([(point, coin)], [pay(coin.value - 5000)])
    assert scenario.nodes[11].submit(payment)
    scenario.world.run(60 + 5 * REQUEST_TIMEOUT_S)
    honest = scenario.nodes[5:]
    assert all(node.backend.pool.by_txid(payment.txid) for node in honest), f"seed {seed}"
    check_invariants(scenario)


@pytest.mark.parametrize("turns", [6, pytest.param(12, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seed", SEEDS)
def test_nodes_that_come_and_go_do_not_part_the_others(seed, turns):
    scenario = network(seed, 20)
    scenario.world.run(310)  # the address book is saved every 300 s
    down = []
    for turn in range(turns):
        for node in down:
            node.restart()
        down = [scenario.world.random.choice(scenario.nodes[1:])]
        for node in down:
            node.crash()
        scenario.mine(scenario.nodes[0] if turn % 2 else scenario.nodes[down[0].number - 1])
        scenario.world.run(20)
    for node in down:
        node.restart()
    assert scenario.run_until_converged(400), f"seed {seed}"
    check_invariants(scenario)


def spammer(message: Message) -> tuple[Message, ...]:
    """Say everything twenty times, and announce transactions that there are not."""
    if isinstance(message, BlockMessage | Headers):
        return (message,) * 20
    noise = Inv(tuple(Inventory(5, type(message).__name__.encode().ljust(32)) for _ in range(50)))  # type: ignore[arg-type]
    return (message, noise)


@pytest.mark.parametrize(
    ("nodes", "blocks"), [(12, 3), pytest.param(24, 6, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("seed", SEEDS[:1])
def test_a_flood_of_messages_hardly_slows_the_others(seed, nodes, blocks):
    def p90_ms(spam: bool) -> float:
        scenario = network(seed, nodes)
        if spam:
            for number in range(3):
                scenario.network.tampers[number] = spammer
        for turn in range(blocks):
            scenario.mine(scenario.nodes[3 + turn])
            scenario.world.run(10)
        assert scenario.run_until_converged(60), f"seed {seed}"
        check_invariants(scenario)
        delays = sorted(
            (at - mined.found_us) / 1000
            for mined in scenario.mined
            for node, at in mined.reached_us.items()
            if node >= 3
        )
        return delays[int(0.9 * len(delays))]

    assert p90_ms(spam=True) < 1.2 * p90_ms(spam=False) + 100, f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_thousand_nodes_hear_of_blocks_as_fast_as_bitcoins(seed):
    report, _ = simulate(1000, 20, seed)
    assert report.converged, f"seed {seed}"
    assert report.coverage == 1.0, f"seed {seed}"
    assert report.block_p50_ms <= 600, f"seed {seed}"
    assert report.block_p90_ms <= 1200, f"seed {seed}"
    assert report.bytes_per_node_per_block <= 75_000, f"seed {seed}"
    assert report.stale_rate <= 0.01, f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 30))
def test_many_seeds_of_churn_and_loss_end_on_one_tip(seed):
    scenario = Scenario(Shape(nodes=40, seed=seed, loss=0.02, skew_s=60))
    scenario.run_until_idle(60)
    scenario.mine_steadily(20, SIMULATION.spacing_s / 6)
    assert scenario.run_until_converged(400), f"seed {seed}"
    check_invariants(scenario)
