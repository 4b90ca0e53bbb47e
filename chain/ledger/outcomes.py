"""What comes of handing headers and blocks to the ledger."""

from dataclasses import dataclass, field

from chain.consensus.entry import Entry
from chain.consensus.errors import InvalidError
from chain.ledger.moved import MovedBlocks
from chain.primitives.block import Block


@dataclass(frozen=True, slots=True)
class Moved:
    """How the best chain changed."""

    disconnected: MovedBlocks = field(default_factory=MovedBlocks)  # tip first
    connected: MovedBlocks = field(default_factory=MovedBlocks)  # in chain order


@dataclass(frozen=True, slots=True)
class BlockAdded:
    """What became of a block that broke no rule."""

    entry: Entry
    is_new: bool  # False: the ledger had it already
    moved: Moved = field(default_factory=Moved)

    @property
    def disconnected(self) -> MovedBlocks:
        """What left the best chain, tip first; empty unless it reorganised."""
        return self.moved.disconnected

    @property
    def connected(self) -> MovedBlocks:
        """What entered the best chain, in its order; empty if the block was only stored."""
        return self.moved.connected

    @property
    def is_connected(self) -> bool:
        """Whether this block is one of those that entered the best chain. Any thread."""
        return any(block.id == self.entry.id for block in self.connected.told)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ledger says to a block: what became of it, or which rule it breaks."""

    block: Block
    added: BlockAdded | None  # one of the two is None, never both
    error: InvalidError | None

    def result(self) -> BlockAdded:
        """Return what became of the block. Raises InvalidError: it was refused."""
        if self.error is not None:
            raise self.error
        assert self.added is not None, "a block is added or refused"
        return self.added


@dataclass(frozen=True, slots=True)
class HeadersAdded:
    """How far a list of headers was right."""

    last: Entry | None  # the last header that was accepted or already known
    accepted: int  # how many, from the first on; or already known
    added: int  # how many of these are new
    error: InvalidError | None  # why the next one was refused


class RefusedError(Exception):
    """A block on the way to a candidate broke a rule."""

    def __init__(self, entry: Entry, cause: InvalidError) -> None:
        super().__init__(str(cause))
        self.entry = entry
        self.cause = cause
