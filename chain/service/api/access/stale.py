"""The limit on stale blocks that miners may submit.

At low difficulty a miner may submit thousands of blocks whose parent already has a child. A chain
of blocks on a side branch is worth storing, since it may win; siblings are not.
"""

import asyncio
from collections import OrderedDict
from typing import Final

from chain.primitives.numbers import Hash32

SIBLINGS_MAX: Final = 8  # stale blocks per parent
PARENTS_MAX: Final = 1_000  # parents remembered; the least recently used is dropped first


class StaleBlocks:
    """Counts stale blocks by parent. For the event loop; hold `lock` while one is validated."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._counts: OrderedDict[Hash32, int] = OrderedDict()

    def admit(self, parent: Hash32) -> bool:
        """Count one more stale child of `parent`; return False if the limit is reached."""
        count = self._counts.pop(parent, 0)
        self._counts[parent] = min(count + 1, SIBLINGS_MAX)
        if len(self._counts) > PARENTS_MAX:
            self._counts.popitem(last=False)
        return count < SIBLINGS_MAX
