"""`groat simulate`: a network without faults, and its figures."""

import gc
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from chain.simulator.delays import delays_ms, mean, quantile
from chain.simulator.rules import SIMULATION
from chain.simulator.scenario import Mined, Scenario, Shape

BLOCK_INTERVAL_S: Final = 3.0  # most blocks have spread before the next: stale rates are computed
TRANSACTIONS: Final = 2000  # per block, in all mempools; see payments.py


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a run; all except `events_per_second` depend on the arguments only."""

    nodes: int
    blocks: int
    transactions_per_block: int
    seed: int
    block_p50_ms: float  # delay of a block to a node, over nodes and blocks
    block_p90_ms: float
    block_p99_ms: float
    bytes_per_node_per_block: float  # sent, frames only
    rebuilt_at_once: float  # of received compact blocks, those without a getblocktxn
    stale_rate: float  # computed: probability of another block during the delay
    stale_blocks: int  # mined blocks that are not on the best chain at the end
    coverage: float  # of nodes that each block of the best chain reached
    converged: bool  # all nodes on one tip at the end
    events: int
    events_per_second: float  # of real time
    trace: str  # SHA-256 over all events


def simulate(
    nodes: int, blocks: int, seed: int, transactions: int = TRANSACTIONS
) -> tuple[Report, list[float]]:
    """Run a network with 60 % of the nodes behind NAT until it has mined this many blocks.

    Returns the figures, and the sorted delays of each block to each node in milliseconds.
    """
    scenario = Scenario(Shape(nodes=nodes, seed=seed))
    started_s = time.perf_counter()
    with gc_disabled():
        scenario.run_until_idle()
        if transactions:
            scenario.fill_pools(transactions)
        before = scenario.network.sent_bytes
        for _ in range(blocks):
            scenario.mine(scenario.pick_miner())
            scenario.world.run(BLOCK_INTERVAL_S)
    took_s = time.perf_counter() - started_s
    best = _best(scenario)
    spread_ms = delays_ms(best)
    mean_s = mean(spread_ms) / 1000
    report = Report(
        nodes=nodes,
        blocks=blocks,
        transactions_per_block=transactions,
        seed=seed,
        block_p50_ms=quantile(spread_ms, 0.5),
        block_p90_ms=quantile(spread_ms, 0.9),
        block_p99_ms=quantile(spread_ms, 0.99),
        bytes_per_node_per_block=(scenario.network.sent_bytes - before) / nodes / blocks,
        rebuilt_at_once=_rebuilt_at_once(scenario),
        stale_rate=1 - math.exp(-mean_s / SIMULATION.spacing_s),
        stale_blocks=len(scenario.mined) - len(best),
        coverage=len(spread_ms) / max(len(best) * (nodes - 1), 1),
        converged=scenario.is_converged(),
        events=scenario.world.events,
        events_per_second=scenario.world.events / took_s,
        trace=scenario.world.trace,
    )
    return report, spread_ms


@contextmanager
def gc_disabled() -> Iterator[None]:
    """Keep the cyclic garbage collector from scanning all nodes repeatedly."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _best(scenario: Scenario) -> list[Mined]:
    """Return the measured blocks that are on the best chain."""
    tip, chain = scenario.nodes[0].backend.tip, scenario.nodes[0].backend.chain
    found = [(chain.get(mined.block_id), mined) for mined in scenario.mined]
    return [mined for entry, mined in found if entry is not None and entry.is_ancestor_of(tip)]


def _rebuilt_at_once(scenario: Scenario) -> float:
    received = sum(node.traces.get("compact block", 0) for node in scenario.nodes)
    requested = scenario.network.messages["GetBlockTransactions"]
    return 1 - requested / received if received else 0.0
