"""The delays with which blocks spread."""

from collections.abc import Collection, Iterable, Sequence

from chain.simulator.scenario import Mined


def delays_ms(mined: Iterable[Mined], among: Collection[int] | None = None) -> list[float]:
    """Return, sorted, the delay of each block to each node except its miner.

    `among` holds the numbers of the nodes to include; default all.
    """
    return sorted(
        (reached_us - block.found_us) / 1000
        for block in mined
        for number, reached_us in block.reached_us.items()
        if reached_us > block.found_us and (among is None or number in among)
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the quantile of a sorted sequence; 0 if it is empty."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def mean(values: Sequence[float]) -> float:
    """Return the mean; 0 of nothing."""
    return sum(values) / max(len(values), 1)
