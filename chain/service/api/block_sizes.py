"""A cache of the sizes of blocks, which never change, and need a read of the whole block."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chain.primitives.block import Block
from chain.primitives.numbers import Hash32

REMEMBERED_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class BlockSizes:
    """The sizes of a block, which its header does not hold."""

    tx_count: int
    size: int  # bytes, witnesses included
    base_size: int
    weight: int


class BlockSizesCache:
    """Caches the sizes of the most recently requested blocks; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._facts: OrderedDict[Hash32, BlockSizes] = OrderedDict()

    def get(self, block_id: Hash32, read: Callable[[], Block]) -> BlockSizes:
        """Return a block's sizes; reads the block only if they are not in the cache."""
        with self._lock:
            facts = self._facts.get(block_id)
            if facts is not None:
                self._facts.move_to_end(block_id)
                return facts
        block = read()
        facts = BlockSizes(block.transaction_count, len(block.raw), block.base_size, block.weight)
        with self._lock:
            self._facts[block_id] = facts
            while len(self._facts) > REMEMBERED_MAX:
                self._facts.popitem(last=False)
        return facts
