"""The explorer's charts, as numbers and paths for inline SVG."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import segno

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.transaction import BLOCK_WEIGHT_MAX
from chain.node.policy import RATE_VBYTES
from chain.node.pool import Pool
from chain.primitives.compact import difficulty
from chain.primitives.transaction import WITNESS_SCALE
from chain.service.api.pages.text import duration, rate
from chain.service.api.queries.hash_rate import network_rate

CHART_BLOCKS: Final = 120
RATE_BLOCKS: Final = 20  # over which the hash rate is averaged at each point
WIDTH: Final = 300  # in a chart's own units
HEIGHT: Final = 70
NEXT_BLOCKS_MAX: Final = 6  # the last one has the rest of the mempool
QR_BORDER: Final = 2
BAND_STARTS: Final = (0, 1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 500, 800, 1200)
_BLOCK_VBYTES: Final = BLOCK_WEIGHT_MAX // WITNESS_SCALE


@dataclass(frozen=True, slots=True)
class Chart:
    """A line or bars over the last blocks, from zero to the highest value."""

    title: str
    path: str  # SVG, in a box of WIDTH by HEIGHT
    last: str
    highest: str
    blocks: int


@dataclass(frozen=True, slots=True)
class Band:
    """Mempool transactions with fee rates from `start` up to the next band's."""

    start: int  # grains per vbyte
    count: int
    vsize: int
    share: float  # of the largest band's size


@dataclass(frozen=True, slots=True)
class NextBlock:
    """A block that could be made from the mempool."""

    count: int
    vsize: int
    fees: int
    lowest: float  # grains per vbyte
    highest: float

    @property
    def fullness(self) -> float:
        """The share of a block's size; more than 1 in the last, which holds the rest."""
        return self.vsize / _BLOCK_VBYTES


def charts(tip: BlockTreeEntry) -> list[Chart]:
    """Return hash rate, difficulty and time between blocks up to `tip`; empty for a new chain."""
    entries = [tip]
    while len(entries) <= CHART_BLOCKS and (parent := entries[-1].parent) is not None:
        entries.append(parent)
    entries.reverse()
    if len(entries) < 3:
        return []
    spans = [
        float(max(later.header.time - earlier.header.time, 0))
        for earlier, later in pairwise(entries)
        if earlier.height  # nobody waited for block 1: the genesis block may be years older
    ]
    shown = entries[1:]
    rates = [network_rate(entry, RATE_BLOCKS) for entry in shown]
    hardness = [difficulty(entry.header.bits) for entry in shown]
    return [
        _chart("Network hash rate", rates, line, rate),
        _chart("Difficulty", hardness, line, "{:.4g}".format),
        _chart("Time between blocks", spans, bars, duration),
    ]


def line(values: Sequence[float]) -> str:
    """Return the SVG path of a line through two values or more."""
    step = WIDTH / (len(values) - 1)
    points = (f"{i * step:.1f} {y:.1f}" for i, y in enumerate(_heights(values)))
    return "M" + "L".join(points)


def bars(values: Sequence[float]) -> str:
    """Return the SVG path of a bar for each value."""
    step = WIDTH / len(values)
    tops = enumerate(_heights(values))
    return "".join(f"M{(i + 0.5) * step:.1f} {HEIGHT}V{y:.1f}" for i, y in tops)


def next_blocks(pool: Pool) -> list[NextBlock]:
    """Return the blocks that the mempool would fill, the best-paying first."""
    by_feerate = sorted(pool.entries(), key=lambda entry: -entry.mining_feerate)
    blocks: list[NextBlock] = []
    start = 0
    while start < len(by_feerate):
        end, vsize = start, 0
        is_last = len(blocks) == NEXT_BLOCKS_MAX - 1
        while end < len(by_feerate) and (is_last or vsize + by_feerate[end].vsize <= _BLOCK_VBYTES):
            vsize += by_feerate[end].vsize
            end += 1
        held = by_feerate[start:end]
        low, high = held[-1].mining_feerate, held[0].mining_feerate
        fees = sum(entry.fee for entry in held)
        blocks.append(NextBlock(len(held), vsize, fees, low / RATE_VBYTES, high / RATE_VBYTES))
        start = end
    return blocks


def fee_bands(pool: Pool) -> list[Band]:
    """Return the mempool's fee-rate bands, the highest first."""
    counts, sizes = [0] * len(BAND_STARTS), [0] * len(BAND_STARTS)
    for entry in pool.entries():
        band = bisect_right(BAND_STARTS, entry.mining_feerate / RATE_VBYTES) - 1
        counts[band] += 1
        sizes[band] += entry.vsize
    held = [band for band, count in enumerate(counts) if count]
    if not held:
        return []
    return [
        Band(BAND_STARTS[band], counts[band], sizes[band], sizes[band] / max(sizes))
        for band in range(held[-1], held[0] - 1, -1)
    ]


def qr(text: str) -> tuple[str, int]:
    """Return the SVG path of a QR code, and its width and height in units."""
    code = segno.make(text, error="m", micro=False)
    rows = [list(row) for row in code.matrix_iter(border=QR_BORDER)]
    dots = (f"M{x} {y}h1v1h-1z" for y, row in enumerate(rows) for x, dot in enumerate(row) if dot)
    return "".join(dots), len(rows)


def _chart(
    title: str,
    values: Sequence[float],
    draw: Callable[[Sequence[float]], str],
    show: Callable[[float], str],
) -> Chart:
    return Chart(title, draw(values), show(values[-1]), show(max(values)), len(values))


def _heights(values: Sequence[float]) -> list[float]:
    """Return each value's distance from the top, the highest a little below it."""
    most = max(values) or 1.0
    return [HEIGHT - value / most * (HEIGHT - 4) for value in values]
