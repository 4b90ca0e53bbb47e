"""What either side says to one block."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one block, and the best chain after it.

    `accepted`: no check that could run on the block when it came failed. `reason` is None where
    it is accepted, where the bytes are no block, and where the side names none (see Oracle).
    """

    accepted: bool
    reason: str | None
    height: int
    tip: str  # the block id as people read it

    def __str__(self) -> str:
        said = "accepted" if self.accepted else f"refused: {self.reason}"
        return f"{said}; tip {self.height} {self.tip[:12]}"
