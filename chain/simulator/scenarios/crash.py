"""Crashes: a node killed between any two of its actions."""

from itertools import count
from typing import Final

from chain.simulator.scenario import Scenario, Shape
from chain.simulator.scenarios.outcome import Findings, Size

KILLS_APART: Final = 5  # actions between kills
BLOCKS: Final = 12
BLOCK_INTERVAL_S: Final = 5
SETTLE_S: Final = 15
REDIAL_S: Final = 90
RECOVERY_S_MAX: Final = 300


def crashes(size: Size) -> Findings:
    """Kill a node at its n-th action, each n in a separate run: it recovers the tip.

    `size.blocks` is the step from one n to the next.
    """
    found = Findings()
    height = _run(size, Findings(), None)
    for kills in count():
        part = Findings()
        at = 1 + kills * size.blocks
        reached = _run(size, part, at)
        part.require("the height is that of the run without", holds=reached == height)
        found.broken += [f"killed at action {at}: {what}" for what in part.broken]
        if not part.figures["killed"]:
            found.at_least("kills", kills, 1)
            return found
    raise AssertionError("a run has an end")


def _run(size: Size, found: Findings, actions: int | None) -> int:
    """Mine on two nodes that are not killed; return the common height at the end."""
    scenario = Scenario(Shape(nodes=size.nodes, seed=size.seed, nat_share=0.0))
    victim = scenario.nodes[1]
    if actions is not None:
        victim.crash_after(actions)
    killed = 0
    scenario.world.run(SETTLE_S)
    for turn in range(BLOCKS):
        scenario.mine(scenario.nodes[0 if turn % 2 else 2])
        scenario.world.run(BLOCK_INTERVAL_S)
        if not victim.is_up:
            killed += 1
            victim.restart()
    found.figures["killed"] = killed
    scenario.world.run(REDIAL_S)
    holds = scenario.run_until_converged(RECOVERY_S_MAX)
    found.require("all nodes on one tip", holds=holds)
    found.require("it has peers again", holds=bool(victim.gossip.peers()))
    found.require_invariants(scenario)
    return victim.backend.tip.height
