"""The catalogue of scenarios with their sizes, and the reduction of failing runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from chain.near_names import did_you_mean
from chain.primitives.numbers import counted
from chain.simulator.choices import NODES_MAX
from chain.simulator.scenarios.attacks import byzantine, censorship, spam
from chain.simulator.scenarios.crash import crashes
from chain.simulator.scenarios.network_faults import churn, clocks, partition, slow_peers
from chain.simulator.scenarios.outcome import Findings, Size
from chain.simulator.scenarios.steady import behind_nat, first_sync, steady

Run = Callable[[Size], Findings]


@dataclass(frozen=True, slots=True)
class ScenarioEntry:
    """A scenario: its function, full size, small size (a few seconds) and least size."""

    run: Run
    full: Size
    small: Size
    least: Size


CATALOGUE: Final[dict[str, ScenarioEntry]] = {
    "steady": ScenarioEntry(steady, Size(1000, 100), Size(60, 3), Size(10, 1)),
    "nat": ScenarioEntry(behind_nat, Size(1000, 10), Size(60, 4), Size(20, 1)),
    "sync": ScenarioEntry(first_sync, Size(11, 20_000), Size(11, 1500), Size(6, 100)),
    "partition": ScenarioEntry(partition, Size(200, 20), Size(120, 8), Size(10, 2)),
    "churn": ScenarioEntry(churn, Size(200, 20), Size(30, 6), Size(10, 1)),
    "slow": ScenarioEntry(slow_peers, Size(200, 20), Size(40, 15), Size(20, 3)),
    "clocks": ScenarioEntry(clocks, Size(200, 20), Size(30, 5), Size(10, 1)),
    "crashes": ScenarioEntry(crashes, Size(8, 1), Size(8, 20), Size(4, 1)),
    "spam": ScenarioEntry(spam, Size(100, 10), Size(24, 3), Size(8, 1)),
    "censorship": ScenarioEntry(censorship, Size(11, 0), Size(11, 0), Size(4, 0)),
    "byzantine": ScenarioEntry(byzantine, Size(100, 60), Size(20, 10), Size(5, 1)),
}


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """The result of a run; `scenario` and `size` reproduce it."""

    scenario: str
    nodes: int
    blocks: int
    seed: int
    holds: bool
    broken: list[str]
    figures: dict[str, float]


class ScenarioError(Exception):
    """No scenario has that name, or the size is out of range."""


@dataclass(frozen=True, slots=True)
class ScenarioRequest:
    """The requested size and seed of a run; None: the default of the scenario."""

    nodes: int | None
    blocks: int | None
    seed: int
    small: bool
    shrinks: bool


def play_all(name: str, request: ScenarioRequest) -> Iterator[ScenarioResult]:
    """Run the named scenario, or all; yield each result, and those of smaller runs.

    Raises ScenarioError.
    """
    for one in CATALOGUE if name == "all" else (name,):
        outcome = play(one, _size(one, request))
        yield outcome
        if request.shrinks and not outcome.holds:
            yield from shrink(outcome)


def _size(name: str, request: ScenarioRequest) -> Size:
    listed = CATALOGUE.get(name)
    if listed is None:
        near = did_you_mean(name, CATALOGUE)
        raise ScenarioError(f"no scenario is called {name}: {', '.join(CATALOGUE)}, all{near}")
    usual = listed.small if request.small else listed.full
    nodes = usual.nodes if request.nodes is None else request.nodes
    blocks = usual.blocks if request.blocks is None else request.blocks
    least = listed.least
    if not (least.nodes <= nodes <= NODES_MAX and blocks >= least.blocks):
        raise ScenarioError(
            f"{name} takes {least.nodes} to {NODES_MAX} nodes and at least "
            f"{counted(least.blocks, 'block')}"
        )
    return Size(nodes, blocks, request.seed)


def play(name: str, size: Size) -> ScenarioResult:
    """Run a listed scenario at an allowed size."""
    found = CATALOGUE[name].run(size)
    holds = not found.broken
    return ScenarioResult(
        name, size.nodes, size.blocks, size.seed, holds, found.broken, found.figures
    )


def shrink(failing: ScenarioResult) -> Iterator[ScenarioResult]:
    """Yield smaller runs that still fail: half the nodes, then half the blocks, repeatedly."""
    name = failing.scenario
    least = CATALOGUE[name].least
    size = Size(failing.nodes, failing.blocks, failing.seed)
    while True:
        fewer = replace(size, nodes=max(size.nodes // 2, least.nodes))
        shorter = replace(size, blocks=max(size.blocks // 2, least.blocks))
        for smaller in (fewer, shorter):
            if smaller == size:
                continue
            outcome = play(name, smaller)
            if not outcome.holds:
                size = smaller
                yield outcome
                break
        else:
            return
