"""What comes of handing headers and blocks to the ledger."""

from dataclasses import dataclass

from chain.consensus.entry import Entry
from chain.consensus.errors import InvalidError
from chain.primitives.block import Block
from chain.primitives.numbers import id_text


@dataclass(frozen=True, slots=True)
class BlockAdded:
    """What became of a block that broke no rule."""

    entry: Entry
    is_new: bool  # False: the ledger had it already
    disconnected: tuple[Block, ...]  # tip first; empty unless it reorganised
    connected: tuple[Block, ...]  # in chain order; empty if the block was only stored


@dataclass(frozen=True, slots=True)
class Moved:
    """How the best chain changed."""

    disconnected: tuple[Block, ...]  # tip first
    connected: tuple[Block, ...]  # in chain order


@dataclass(frozen=True, slots=True)
class HeadersAdded:
    """How far a list of headers was right."""

    last: Entry | None  # the last header that was accepted or already known
    added: int
    error: InvalidError | None  # why the next one was refused


class TakenBackError(Exception):
    """A block that was added early has a wrong signature.

    The ledger is as if it had been refused at once, and as if nothing after it had come yet.
    """

    def __init__(self, entry: Entry, cause: InvalidError) -> None:
        super().__init__(f"{id_text(entry.id)}: {cause}")
        self.entry = entry
        self.cause = cause


class RefusedError(Exception):
    """A block on the way to a candidate broke a rule."""

    def __init__(self, entry: Entry, cause: InvalidError) -> None:
        super().__init__(str(cause))
        self.entry = entry
        self.cause = cause
