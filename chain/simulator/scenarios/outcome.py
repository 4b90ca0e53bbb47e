"""The input and the findings of a scenario."""

from dataclasses import dataclass, field

from chain.simulator.invariants import broken_invariants
from chain.simulator.node import SimNode
from chain.simulator.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Size:
    """The size and seed of a scenario, which determine the run."""

    nodes: int
    blocks: int
    seed: int = 1


@dataclass(slots=True)
class Findings:
    """Figures, and failed requirements."""

    figures: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def require(self, what: str, *, holds: bool) -> None:
        """Record `what` if it does not hold."""
        if not holds:
            self.broken.append(what)

    def at_most(self, name: str, value: float, limit: float) -> None:
        """Record a figure that must not exceed its limit."""
        self.figures[name] = round(value, 3)
        if value > limit:
            self.broken.append(f"{name} is {value:.6g}, more than {limit:.6g}")

    def at_least(self, name: str, value: float, limit: float) -> None:
        """Record a figure that must reach its limit."""
        self.figures[name] = round(value, 3)
        if value < limit:
            self.broken.append(f"{name} is {value:.6g}, less than {limit:.6g}")

    def require_invariants(self, scenario: Scenario, among: list[SimNode] | None = None) -> None:
        """Record broken invariants of the idle network."""
        self.broken += broken_invariants(scenario, among)
