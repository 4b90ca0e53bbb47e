"""A plot of block propagation: the share of nodes that have a block, over time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chain.errors import ShownError

POINTS: Final = 200
AXIS_MS_MIN: Final = 1000.0


class PlotError(ShownError):
    """The plot cannot be drawn."""


def draw_spread(spread_ms: Sequence[float], file: Path) -> None:
    """Plot sorted delays as an SVG. Raises PlotError: matplotlib is missing; OSError."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, which few installs have
    except ImportError:
        raise PlotError("drawing needs matplotlib: pip install 'groat[plot]'") from None
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    step = max(len(spread_ms) // POINTS, 1)
    times_ms = [*spread_ms[::step], spread_ms[-1]]
    shares = [index / (len(times_ms) - 1) for index in range(len(times_ms))]
    axes.plot(times_ms, shares)
    for share in (0.5, 0.9):
        axes.axhline(share, linewidth=0.5, linestyle="dotted")
    axes.set(
        xlabel="milliseconds after a block was found",
        ylabel="share of nodes that have it",
        xlim=(0, max(spread_ms[-1], AXIS_MS_MIN)),
        ylim=(0, 1.01),
    )
    figure.savefig(file, format="svg", metadata={"Date": None})
