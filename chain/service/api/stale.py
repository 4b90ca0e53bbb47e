"""The limit on late blocks that miners may submit.

Where blocks are easy to find, a miner may submit thousands whose parent has a child already. A
chain of blocks on a side branch is worth storing, as it may win; siblings are not.
"""

import asyncio
from collections import OrderedDict
from typing import Final

from chain.primitives.numbers import Hash32

BROTHERS_MAX: Final = 8  # late blocks per parent
PARENTS_MAX: Final = 1_000  # parents remembered; the least recently used is dropped first


class StaleBlocks:
    """Counts late blocks by parent. For the event loop; hold `lock` while one is judged."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._counts: OrderedDict[Hash32, int] = OrderedDict()

    def admit(self, parent: Hash32) -> bool:
        """Count one more late child of `parent`; False if the limit is reached."""
        count = self._counts.pop(parent, 0)
        self._counts[parent] = min(count + 1, BROTHERS_MAX)
        if len(self._counts) > PARENTS_MAX:
            self._counts.popitem(last=False)
        return count < BROTHERS_MAX
