"""The blocks that a change took off the best chain or put on it, however many they are."""

from collections.abc import Callable, Iterable, Iterator, Reversible, Sized
from dataclasses import dataclass
from typing import Final

from chain.primitives.block import Block
from chain.primitives.numbers import Hash32

HELD_BYTES_MAX: Final = 32_000_000  # of raw blocks, some ten times as much as objects


@dataclass(frozen=True, slots=True)
class MovedBlock:
    """What is kept of each block."""

    id: Hash32
    time: int  # unix seconds, the header's
    tx_count: int


class MovedBlocks(Reversible[Block], Sized):
    """Blocks in the order in which they were moved.

    The first are in memory, up to HELD_BYTES_MAX; those after them are read again each time, which
    only the thread that uses the ledger may do.
    """

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        """Hold these blocks, whatever their size: the caller holds them, too."""
        self.told: list[MovedBlock] = []  # of all; any thread may look
        self._items: list[Block | Callable[[], Block]] = []  # the latter read one again
        self._held_bytes = 0
        for block in blocks:
            self._append(block, block)

    def add(self, block: Block, again: Callable[[], Block]) -> None:
        """Append a block that `again` returns again."""
        is_held = self._held_bytes + len(block.raw) <= HELD_BYTES_MAX
        self._append(block, block if is_held else again)

    def __add__(self, other: "MovedBlocks") -> "MovedBlocks":
        """Return the blocks of both; no more than HELD_BYTES_MAX for each are in memory."""
        both = MovedBlocks()
        both.told = self.told + other.told
        both._items = self._items + other._items
        both._held_bytes = self._held_bytes + other._held_bytes
        return both

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._items)

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks."""
        return map(_block, self._items)

    def __reversed__(self) -> Iterator[Block]:
        """Yield the blocks, the last first."""
        return map(_block, reversed(self._items))

    def _append(self, block: Block, item: Block | Callable[[], Block]) -> None:
        self.told.append(MovedBlock(block.id, block.header.time, len(block.transactions)))
        self._items.append(item)
        self._held_bytes += len(block.raw)


def _block(item: Block | Callable[[], Block]) -> Block:
    return item if isinstance(item, Block) else item()
