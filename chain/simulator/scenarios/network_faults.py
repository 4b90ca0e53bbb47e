"""Scenarios of network faults: partitions, churn, slow nodes and wrong clocks."""

from collections.abc import Sequence
from typing import Final

from chain.gossip.peers.links import CLOCK_OFF
from chain.primitives.numbers import SECOND_US
from chain.primitives.transaction import Transaction
from chain.simulator.delays import delays_ms, mean, quantile
from chain.simulator.node import SimNode
from chain.simulator.scenario import Scenario, Shape
from chain.simulator.scenarios.outcome import Findings, Size
from chain.simulator.scenarios.steady import SLOW_BITS_PER_S, SLOW_DELAY_US

HEAL_S_MAX: Final = 60
HEAL_TIMEOUT_S: Final = 1800
CHURN_SHARE: Final = 0.05  # of the nodes, each minute
CHURN_LATE_PERCENT: Final = 27  # of nodes whose pools lack something (SimBlock, churning nodes)
CHURN_TRANSACTIONS: Final = 100
ISOLATED_S_MAX: Final = 300
POLL_S: Final = 10
SLOW_SHARE: Final = 0.1
SLOWER_FACTOR_MAX: Final = 1.1
CATCH_UP_S_MAX: Final = 300
SKEWED_SHARE: Final = 0.1
SKEW_S: Final = 3 * 3600
FALSE_WARNINGS: Final = 0.05  # of nodes: most of the first three peers may be wrong at random
JUMP_S: Final = 300
RECOVERY_S_MAX: Final = 600
BLOCK_INTERVAL_S: Final = 10


def partition(size: Size) -> Findings:
    """Partition 70 % from 30 % for 20 blocks or more, then converge; no payment is lost."""
    found = Findings()
    scenario = Scenario(Shape(nodes=size.nodes, seed=size.seed))
    scenario.run_until_idle()
    payment = scenario.payment(1).transaction
    scenario.mine(scenario.nodes[0])
    cut = size.nodes * 7 // 10
    winners, losers = scenario.nodes[:cut], scenario.nodes[cut:]
    scenario.network.partition([range(cut), range(cut, size.nodes)])
    found.require("the payment is accepted", holds=losers[0].submit(payment))
    for turn in range(size.blocks):
        scenario.mine(winners[turn % cut])
        if turn % 2 == 0:
            scenario.mine(losers[0])  # which confirms the payment, on this side only
        scenario.world.run(BLOCK_INTERVAL_S)
    scenario.network.heal()
    found.at_most("s until healed", _convergence_s(scenario, found), HEAL_S_MAX)
    found.require("the losers' payment is in a pool again", holds=_is_pooled(losers[0], payment))
    found.require_invariants(scenario)
    return found


def _convergence_s(scenario: Scenario, found: Findings) -> float:
    start_us = scenario.world.time_us
    healed = scenario.run_until_converged(HEAL_TIMEOUT_S)
    found.require("all nodes on one tip", holds=healed)
    return (scenario.world.time_us - start_us) / SECOND_US


def _is_pooled(node: SimNode, payment: Transaction) -> bool:
    return node.backend.pool.by_txid(payment.txid) is not None


def churn(size: Size) -> Findings:
    """Let 5 % of the nodes leave and return each minute; blocks spread to the others."""
    found = Findings()
    without_ms = _mean_delay_ms(size, Findings(), churns=False)
    with_ms = _mean_delay_ms(size, found, churns=True)
    found.figures["mean ms, without churn"] = round(without_ms, 1)
    found.figures["mean ms"] = round(with_ms, 1)
    found.at_most("slower by the factor", with_ms / without_ms, 2)
    return found


def _mean_delay_ms(size: Size, found: Findings, *, churns: bool) -> float:
    """Return the mean delay to nodes that stayed; one block a minute."""
    scenario = Scenario(Shape(nodes=size.nodes, seed=size.seed))
    scenario.universe.late_percent = CHURN_LATE_PERCENT
    scenario.run_until_idle(310)  # the address book is saved every 300 s
    scenario.fill_pools(CHURN_TRANSACTIONS)
    count = max(1, round(size.nodes * CHURN_SHARE))
    left: set[int] = set()
    down: list[SimNode] = []
    isolated_s: dict[int, int] = {}
    for _ in range(size.blocks):
        for node in down:
            node.restart()
        down = scenario.world.random.sample(scenario.nodes[1:], count) if churns else []
        for node in down:
            node.crash()
        left.update(node.number for node in down)
        scenario.mine(scenario.nodes[0])
        for _ in range(60 // POLL_S):
            scenario.world.run(POLL_S)
            _count_isolated(scenario.nodes, isolated_s)
            found.at_most("s without a peer", max(isolated_s.values()), ISOLATED_S_MAX)
    for node in down:
        node.restart()
    found.require("all nodes on one tip", holds=scenario.run_until_converged(HEAL_TIMEOUT_S))
    found.require_invariants(scenario)
    stayed = set(range(size.nodes)) - left
    return mean(delays_ms(scenario.mined, stayed))


def _count_isolated(nodes: Sequence[SimNode], isolated_s: dict[int, int]) -> None:
    for node in nodes:
        is_isolated = node.is_up and not node.gossip.peers()
        isolated_s[node.number] = isolated_s.get(node.number, 0) + POLL_S if is_isolated else 0


def slow_peers(size: Size) -> Findings:
    """Slow 10 % of nodes to 128 kbit/s and 5 s of delay: the others hardly get blocks later."""
    found = Findings()
    without_ms = _p90_ms_of_others(size, Findings(), 0)
    with_ms = _p90_ms_of_others(size, found, SLOW_SHARE)
    found.figures["p90 ms of the others, without slow nodes"] = without_ms
    found.figures["p90 ms of the others"] = with_ms
    found.at_most("slower by the factor", with_ms / without_ms, SLOWER_FACTOR_MAX)
    return found


def _p90_ms_of_others(size: Size, found: Findings, share: float) -> float:
    """Return the p90 delay to the nodes that are not slow in any run."""
    scenario = Scenario(Shape(nodes=size.nodes, seed=size.seed))
    step = round(1 / SLOW_SHARE)
    others = [node for node in scenario.nodes if node.number % step]
    for node in scenario.nodes[:: round(1 / share)] if share else []:
        node.upload_bits_per_s, node.delay_us = SLOW_BITS_PER_S, SLOW_DELAY_US
    scenario.run_until_idle(240)
    scenario.fill_pools(CHURN_TRANSACTIONS)
    for turn in range(size.blocks):
        scenario.mine(others[turn * 7 % len(others)])
        scenario.world.run(BLOCK_INTERVAL_S)
    found.require("the others are on one tip", holds=scenario.run_until_converged(60, others))
    scenario.run_until_converged(CATCH_UP_S_MAX)
    tip = others[0].backend.tip
    found.figures["slow nodes behind"] = sum(n.backend.tip != tip for n in scenario.nodes)
    found.require_invariants(scenario, others)
    return quantile(delays_ms(scenario.mined, {node.number for node in others}), 0.9)


def clocks(size: Size) -> Findings:
    """Set 10 % of clocks wrong by 3 hours and let others jump: no split, and all recover."""
    found = Findings()
    scenario = Scenario(Shape(nodes=size.nodes, seed=size.seed))
    step = round(1 / SKEWED_SHARE)
    skewed = scenario.nodes[1::step]
    right = [node for node in scenario.nodes if node not in skewed]
    for turn, node in enumerate(skewed):
        node.clock_offset_s = SKEW_S if turn % 2 else -SKEW_S
    scenario.run_until_idle()
    fast = next((node for node in skewed if node.clock_offset_s > 0), None)
    if fast is not None:
        scenario.mine(fast)  # a block from the future, refused for now
    for turn in range(size.blocks):
        scenario.mine(right[turn % len(right)])
        right[turn % len(right)].clock_offset_s = JUMP_S if turn % 2 else -JUMP_S
        scenario.world.run(BLOCK_INTERVAL_S)
    holds = scenario.run_until_converged(HEAL_TIMEOUT_S, right)
    found.require("nodes whose clocks are right are on one tip", holds=holds)
    behind = sum(node.backend.tip != right[0].backend.tip for node in skewed)
    found.figures["nodes behind while their clocks are wrong"] = behind
    warned = [node for node in scenario.nodes if CLOCK_OFF in node.traces]
    found.require(
        "all nodes whose clocks are wrong are warned", holds=all(n in warned for n in skewed)
    )
    found.at_most(
        "other nodes that were warned", len(warned) - len(skewed), FALSE_WARNINGS * size.nodes
    )
    for node in scenario.nodes:
        node.clock_offset_s = 0
    found.at_most("s until all recovered", _convergence_s(scenario, found), RECOVERY_S_MAX)
    found.require_invariants(scenario)
    return found
