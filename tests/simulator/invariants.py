"""The invariants of an idle network, as an assertion."""

from collections.abc import Sequence

from chain.simulator.invariants import broken_invariants
from chain.simulator.node import SimNode
from chain.simulator.scenario import Scenario


def check_invariants(scenario: Scenario, among: Sequence[SimNode] | None = None) -> None:
    """Raise AssertionError, with the seed, if one does not hold for these nodes (default all)."""
    broken = broken_invariants(scenario, among)
    assert not broken, f"seed {scenario.world.seed}, {len(scenario.nodes)} nodes: {broken}"
