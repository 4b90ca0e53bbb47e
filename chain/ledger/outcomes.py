"""Results of adding headers and blocks to the ledger."""

from collections.abc import Callable, Iterable, Iterator, Reversible, Sized
from dataclasses import dataclass, field
from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError
from chain.primitives.block import Block
from chain.primitives.numbers import Hash32

HELD_BYTES_MAX: Final = 32_000_000  # of raw blocks; as objects they take about ten times as much


@dataclass(slots=True)
class MovedBlock:
    """A summary of a connected or disconnected block."""

    id: Final[Hash32]
    time: Final[int]  # unix seconds, from the header
    tx_count: Final[int]


class MovedBlocks(Reversible[Block], Sized):
    """Blocks in the order in which they were connected or disconnected.

    The first HELD_BYTES_MAX of them are in memory; the others are read again on each access, which
    only the ledger's thread may do.
    """

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        """Hold these blocks in memory, of any size: the caller holds them as well."""
        self.summaries: list[MovedBlock] = []  # of all blocks; any thread may read it
        self._items: list[Block | Callable[[], Block]] = []  # a function reads its block again
        self._held_bytes = 0
        for block in blocks:
            self._append(block, block)

    def add(self, block: Block, read_again: Callable[[], Block]) -> None:
        """Append a block, which `read_again` reads whenever it is not in memory."""
        is_held = self._held_bytes + len(block.raw) <= HELD_BYTES_MAX
        self._append(block, block if is_held else read_again)

    def __add__(self, other: "MovedBlocks") -> "MovedBlocks":
        """Return the blocks of both; of each, at most HELD_BYTES_MAX are in memory."""
        both = MovedBlocks()
        both.summaries = self.summaries + other.summaries
        both._items = self._items + other._items
        both._held_bytes = self._held_bytes + other._held_bytes
        return both

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._items)

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks."""
        return map(_block, self._items)

    def __reversed__(self) -> Iterator[Block]:
        """Yield the blocks in reverse."""
        return map(_block, reversed(self._items))

    def drop_last(self) -> None:
        """Remove the last block."""
        item = self._items.pop()
        self.summaries.pop()
        if isinstance(item, Block):
            self._held_bytes -= len(item.raw)

    def _append(self, block: Block, item: Block | Callable[[], Block]) -> None:
        self.summaries.append(MovedBlock(block.id, block.header.time, block.transaction_count))
        self._items.append(item)
        self._held_bytes += len(block.raw) if isinstance(item, Block) else 0


def _block(item: Block | Callable[[], Block]) -> Block:
    return item if isinstance(item, Block) else item()


@dataclass(slots=True)
class ChainMove:
    """A change of the best chain."""

    disconnected: Final[MovedBlocks] = field(default_factory=MovedBlocks)  # tip first
    connected: Final[MovedBlocks] = field(default_factory=MovedBlocks)  # in chain order


class PendingMove:
    """The change of the best chain since the last commit.

    A block that is connected and disconnected again leaves no trace.
    """

    def __init__(self) -> None:
        self.is_wanted = False  # nothing is recorded until someone wants it: it takes memory
        self._move = ChainMove()

    def connected(self, block: Block, again: Callable[[], Block]) -> None:
        """Record a block that became the tip."""
        if self.is_wanted:
            self._move.connected.add(block, again)

    def disconnected(self, block: Block, again: Callable[[], Block]) -> None:
        """Record a block that was the tip."""
        if not self.is_wanted:
            return
        if len(self._move.connected):
            self._move.connected.drop_last()
        else:
            self._move.disconnected.add(block, again)

    def take(self) -> ChainMove:
        """Return the change, and forget it."""
        move, self._move = self._move, ChainMove()
        return move

    def saved(self) -> ChainMove:
        """Return a copy for `restore`."""
        nothing = MovedBlocks()
        return ChainMove(self._move.disconnected + nothing, self._move.connected + nothing)

    def restore(self, saved: ChainMove) -> None:
        """Discard what was recorded since `saved`."""
        self._move = saved


@dataclass(slots=True)
class BlockAdded:
    """The result of adding a valid block."""

    entry: Final[BlockTreeEntry]
    is_new: Final[bool]  # False: the ledger had it already
    move: Final[ChainMove | Block | None] = None  # a Block was connected, and nothing else moved

    @property
    def moved(self) -> ChainMove:
        """The change of the best chain."""
        if isinstance(self.move, Block):
            return ChainMove(connected=MovedBlocks([self.move]))
        return self.move or ChainMove()

    @property
    def disconnected(self) -> MovedBlocks:
        """The blocks that left the best chain, tip first; empty unless it reorganised."""
        return self.moved.disconnected

    @property
    def connected(self) -> MovedBlocks:
        """The blocks that joined the best chain, in order; empty if the block was only stored."""
        return self.moved.connected

    @property
    def is_connected(self) -> bool:
        """Whether this block is one of those that joined the best chain. Any thread."""
        return any(block.id == self.entry.id for block in self.connected.summaries)


@dataclass(slots=True)
class Verdict:
    """The ledger's decision on a block: the result, or the rule it breaks."""

    block: Final[Block]
    added: Final[BlockAdded | None]  # exactly one of the two is None
    error: Final[InvalidError | None]

    def result(self) -> BlockAdded:
        """Return the result. Raises InvalidError: the block was refused."""
        if self.error is not None:
            raise self.error
        assert self.added is not None, "a block is added or refused"
        return self.added


@dataclass(frozen=True, slots=True)
class HeadersAdded:
    """The result of adding a list of headers."""

    last: BlockTreeEntry | None  # last header that was accepted or already known
    accepted: int  # accepted or already known, counted from the first
    added: int  # how many of these are new
    error: InvalidError | None  # why the next header was refused


class RefusedError(Exception):
    """A block between the fork and a candidate broke a rule."""

    def __init__(self, entry: BlockTreeEntry, cause: InvalidError) -> None:
        super().__init__(str(cause))
        self.entry = entry
        self.cause = cause
