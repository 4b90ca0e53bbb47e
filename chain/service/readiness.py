"""Whether the node has caught up with its peers, so that mining makes sense."""

from collections.abc import Callable
from typing import Final

from chain.node.node import View

BEHIND_BLOCKS_MIN: Final = 3  # fewer are news on their way
PATIENCE_S: Final = 10.0  # without a new block: nobody gives us what the headers promise


class Readiness:
    """Tells catching up from being held up.

    A header alone proves work, but its block may never be given to us: were that a reason to rest,
    whoever withholds one block would stop every miner. So only blocks that do come, one soon after
    the other, are waited for.
    """

    def __init__(self, view: Callable[[], View], clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds."""
        self._view = view
        self._clock = clock
        self._tip = view().tip
        self._tip_since = clock()

    def behind(self) -> tuple[int, int] | None:
        """Return the tip's height and the one to reach, while blocks are coming in; else None."""
        view = self._view()
        if view.tip is not self._tip:
            self._tip, self._tip_since = view.tip, self._clock()
        missing = view.best_header.height - view.tip.height
        if missing < BEHIND_BLOCKS_MIN or self._clock() - self._tip_since > PATIENCE_S:
            return None
        return view.tip.height, view.best_header.height
