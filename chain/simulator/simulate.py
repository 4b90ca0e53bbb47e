"""`groat simulate`: one steady network, and its figures."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from chain.simulator.rules import SIMULATION
from chain.simulator.scenario import Mined, Scenario, Shape


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a run; all but `events_per_second` depend on nothing but the arguments."""

    nodes: int
    blocks: int
    seed: int
    block_p50_ms: float  # until a node has a block, over nodes and blocks
    block_p90_ms: float
    block_p99_ms: float
    bytes_per_node_per_block: float  # sent, frames only
    stale_rate: float  # blocks found that are not on the best chain at the end
    coverage: float  # of nodes that each block of the best chain reached
    converged: bool  # all nodes on one tip at the end
    events: int
    events_per_second: float  # of real time
    trace: str  # SHA-256 over all events


def simulate(nodes: int, blocks: int, seed: int) -> Report:
    """Run a network of 60 % nodes behind NAT until it has found so many blocks."""
    scenario = Scenario(Shape(nodes=nodes, seed=seed))
    started_s = time.perf_counter()
    scenario.settle()
    before = scenario.network.sent_bytes
    scenario.mine_steadily(blocks, float(SIMULATION.spacing_s))
    took_s = time.perf_counter() - started_s
    tip = scenario.nodes[0].backend.tip
    chain = scenario.nodes[0].backend.chain
    best = []
    for mined in scenario.mined:
        entry = chain.get(mined.block_id)
        if entry is not None and entry.is_ancestor_of(tip):
            best.append(mined)
    delays_ms = _delays_ms(best)
    return Report(
        nodes=nodes,
        blocks=blocks,
        seed=seed,
        block_p50_ms=_quantile(delays_ms, 0.5),
        block_p90_ms=_quantile(delays_ms, 0.9),
        block_p99_ms=_quantile(delays_ms, 0.99),
        bytes_per_node_per_block=(scenario.network.sent_bytes - before) / nodes / blocks,
        stale_rate=1 - len(best) / len(scenario.mined),
        coverage=len(delays_ms) / max(len(best) * (nodes - 1), 1),
        converged=scenario.is_converged(),
        events=scenario.world.events,
        events_per_second=scenario.world.events / took_s,
        trace=scenario.world.trace,
    )


def _delays_ms(mined: Sequence[Mined]) -> list[float]:
    """Return, sorted, how long each block took to each node but its finder."""
    return sorted(
        (reached_us - block.found_us) / 1000
        for block in mined
        for reached_us in block.reached_us.values()
        if reached_us > block.found_us
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0
