"""How many late blocks miners may have stored.

Where blocks are easy to find, a miner hands in thousands that build on a parent which has a child
already. A chain of blocks on a side branch is worth storing, for it may win; brothers are not.
"""

import asyncio
from collections import OrderedDict
from typing import Final

from chain.primitives.numbers import Hash32

BROTHERS_MAX: Final = 8  # late blocks that one parent may get
PARENTS_MAX: Final = 1_000  # remembered, the one asked for longest ago forgotten first


class StaleBlocks:
    """Counts late blocks by their parent. For the event loop; holds `lock` while one is judged."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._counts: OrderedDict[Hash32, int] = OrderedDict()

    def admit(self, parent: Hash32) -> bool:
        """Count one more late child of `parent`; False if it has had as many as it may."""
        count = self._counts.pop(parent, 0)
        self._counts[parent] = min(count + 1, BROTHERS_MAX)
        if len(self._counts) > PARENTS_MAX:
            self._counts.popitem(last=False)
        return count < BROTHERS_MAX
