"""Taking in block files: as fast as it goes, or with a verdict on each block."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from chain.consensus.errors import InvalidError
from chain.ledger.blockfile import BlockFileError, read_frames
from chain.ledger.ledger import Ledger
from chain.primitives.block import HEADER_BYTES, Block, decode_block, decode_header
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32, Height, id_text

WAITING_BYTES_MAX: Final = 256_000_000  # of blocks that came before their parents
MALFORMED: Final = "malformed-block"  # the verdict on bytes that are no block at all

Clock = Callable[[], int]  # unix seconds


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is."""

    blocks: int
    transactions: int
    bytes_read: int
    height: Height


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did."""

    blocks: int  # new ones that broke no rule
    transactions: int  # in them, coinbases included
    seconds: float  # to the last commit
    tip: Hash32
    height: Height
    refused: int
    first_refusal: str | None  # which block, and why
    waiting: int  # blocks whose parent never came

    @property
    def transactions_per_second(self) -> float:
        """Transactions by time."""
        return self.transactions / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ledger said to one block, and where the best chain ended after it."""

    accepted: bool
    reason: str | None  # Bitcoin's text; MALFORMED for what is no block
    height: Height
    tip: Hash32


def import_blocks(
    ledger: Ledger,
    stream: BinaryIO,
    clock: Clock,
    progress: Callable[[Progress], None] | None = None,
) -> ImportResult:
    """Validate and add every block of a block file, in whatever order they come.

    Blocks that break a rule are counted and left out. Everything that was read is committed even if
    an error ends the import. Raises BlockFileError: also for too many blocks without a parent.
    """
    importing = _Importing(ledger, clock)
    started = time.perf_counter()
    with ledger.batch():
        for raw in read_frames(stream, ledger.params):
            importing.take(raw)
            if progress is not None:
                progress(importing.progress())
    return importing.result(time.perf_counter() - started)


def import_verdicts(ledger: Ledger, stream: BinaryIO, clock: Clock) -> Iterator[Verdict]:
    """Yield what the ledger says to each block of a file, in order; blocks wait for nothing.

    Raises BlockFileError.
    """
    with ledger.batch():
        for raw in read_frames(stream, ledger.params):
            reason = _reason_against(ledger, raw, clock)
            yield Verdict(reason is None, reason, ledger.tip.height, ledger.tip.id)


def _reason_against(ledger: Ledger, raw: bytes, clock: Clock) -> str | None:
    try:
        block = decode_block(raw)
    except DecodeError:
        return MALFORMED
    if block.id == ledger.tree.genesis.id:
        return None
    try:
        ledger.add_block(block, clock())
    except InvalidError as error:
        return error.reject_reason
    return None


class _Importing:
    """An import under way: its counts, and the blocks that wait for their parent."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._waiting: defaultdict[Hash32, list[bytes]] = defaultdict(list)  # by parent
        self._waiting_bytes = 0
        self._bytes_read = 0
        self._blocks = 0
        self._transactions = 0
        self._refused = 0
        self._first_refusal: str | None = None

    def take(self, raw: bytes) -> None:
        """Add a block and those that waited for it, or let it wait."""
        self._bytes_read += len(raw)
        if len(raw) < HEADER_BYTES:
            self._refuse(raw, MALFORMED)
            return
        header = decode_header(raw[:HEADER_BYTES])
        if header.id == self._ledger.tree.genesis.id:
            return
        if self._ledger.tree.get(header.previous) is None:
            self._wait(header.previous, raw)
            return
        ready = [raw]
        while ready:
            block_id = self._add(ready.pop())
            children = self._waiting.pop(block_id, [])
            self._waiting_bytes -= sum(map(len, children))
            ready += reversed(children)

    def progress(self) -> Progress:
        """Return how far it is."""
        height = self._ledger.tip.height
        return Progress(self._blocks, self._transactions, self._bytes_read, height)

    def result(self, seconds: float) -> ImportResult:
        """Return what was done, after the last commit."""
        tip = self._ledger.tip
        return ImportResult(
            blocks=self._blocks,
            transactions=self._transactions,
            seconds=seconds,
            tip=tip.id,
            height=tip.height,
            refused=self._refused,
            first_refusal=self._first_refusal,
            waiting=sum(map(len, self._waiting.values())),
        )

    def _wait(self, parent_id: Hash32, raw: bytes) -> None:
        self._waiting[parent_id].append(raw)
        self._waiting_bytes += len(raw)
        if self._waiting_bytes > WAITING_BYTES_MAX:
            first = next(iter(self._waiting))
            raise BlockFileError(
                f"over {WAITING_BYTES_MAX} bytes of blocks wait for parents: {id_text(first)} first"
            )

    def _add(self, raw: bytes) -> Hash32:
        block_id = decode_header(raw[:HEADER_BYTES]).id
        try:
            block: Block = decode_block(raw)
            added = self._ledger.add_block(block, self._clock())
        except DecodeError:
            self._refuse(raw, MALFORMED)
        except InvalidError as error:
            self._refuse(raw, error.reject_reason)
        else:
            if added.is_new:
                self._blocks += 1
                self._transactions += len(block.transactions)
        return block_id

    def _refuse(self, raw: bytes, reason: str) -> None:
        self._refused += 1
        if self._first_refusal is None:
            name = (
                id_text(decode_header(raw[:HEADER_BYTES]).id) if len(raw) >= HEADER_BYTES else "?"
            )
            self._first_refusal = f"{name}: {reason}"
