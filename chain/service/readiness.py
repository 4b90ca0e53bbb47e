"""Whether the node has caught up with its peers, as mining requires."""

from collections.abc import Callable
from typing import Final

from chain.gossip.events import Now
from chain.node.node import View
from chain.primitives.numbers import SECOND_US

OLD_SPACINGS: Final = 10  # block spacings; a younger tip is up to date
PATIENCE_S: Final = 10.0  # without a new block: then no peer delivers the bodies of known headers


class Readiness:
    """Distinguishes a node that is syncing from one that is being stalled.

    A header proves work, but its block may never be delivered: if mining always waited for it, a
    peer that withholds one block could stop every miner. So the miner waits for blocks only while
    the tip is old and blocks keep arriving.
    """

    def __init__(self, view: Callable[[], View], spacing_s: int, clock: Callable[[], Now]) -> None:
        self._view = view
        self._old_s = OLD_SPACINGS * spacing_s
        self._clock = clock
        self._tip = view().tip
        self._tip_since_us = clock().mono_us

    def behind(self) -> tuple[int, int] | None:
        """Return the tip's height and the one to reach, while blocks are coming in; else None."""
        view, now = self._view(), self._clock()
        if view.tip != self._tip:
            self._tip, self._tip_since_us = view.tip, now.mono_us
        waited_s = (now.mono_us - self._tip_since_us) / SECOND_US
        is_old = now.unix_s - view.tip.header.time > self._old_s
        is_missing = view.best_header.chain_work > view.tip.chain_work
        if not (is_missing and is_old) or waited_s > PATIENCE_S:
            return None
        return view.tip.height, view.best_header.height
