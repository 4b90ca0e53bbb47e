"""What a scenario is given, and what it found."""

from dataclasses import dataclass, field

from chain.simulator.invariants import broken_invariants
from chain.simulator.node import SimNode
from chain.simulator.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Size:
    """How large a scenario is: all that its course depends on."""

    nodes: int
    blocks: int
    seed: int = 1


@dataclass(slots=True)
class Findings:
    """Figures, and what did not hold."""

    figures: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def require(self, what: str, *, holds: bool) -> None:
        """Note `what` if it does not hold."""
        if not holds:
            self.broken.append(what)

    def at_most(self, name: str, value: float, limit: float) -> None:
        """Note a figure that must not exceed its limit."""
        self.figures[name] = round(value, 3)
        if value > limit:
            self.broken.append(f"{name} is {value:.6g}, more than {limit:.6g}")

    def at_least(self, name: str, value: float, limit: float) -> None:
        """Note a figure that must reach its limit."""
        self.figures[name] = round(value, 3)
        if value < limit:
            self.broken.append(f"{name} is {value:.6g}, less than {limit:.6g}")

    def at_rest(self, scenario: Scenario, among: list[SimNode] | None = None) -> None:
        """Note what does not hold in a network at rest."""
        self.broken += broken_invariants(scenario, among)
