"""Taking in block files: as fast as it goes, or with a verdict on each block."""

import gc
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final

from chain.consensus.errors import InvalidError
from chain.ledger.blockfile import BlockFileError, read_frames
from chain.ledger.ledger import UNSETTLED_BLOCKS_MAX, Ledger
from chain.ledger.outcomes import TakenBackError
from chain.primitives.block import HEADER_BYTES, Block, decode_block, decode_header
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32, Height, id_text

WAITING_BYTES_MAX: Final = 256_000_000  # of blocks that came before their parents
_COLLECT_AFTER: Final = (1_000_000, 50, 50)  # new objects, then young and middle collections
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
    with ledger.batch(), _rare_collections():
        try:
            for raw in read_frames(stream, ledger.params):
                importing.take(raw)
                if progress is not None:
                    progress(importing.progress())
        finally:
            if ledger.is_usable:  # else what is under way says why
                importing.settle()
    return importing.result(time.perf_counter() - started)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let Python look for cyclic garbage rarely: hardly any is made among millions of coins."""
    before = gc.get_threshold()
    gc.set_threshold(*_COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)


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
        self._recent: deque[Block] = deque(maxlen=UNSETTLED_BLOCKS_MAX + 1)

    def take(self, raw: bytes) -> None:
        """Add a block and those that waited for it, or let it wait."""
        self._bytes_read += len(raw)
        self._place(raw)

    def settle(self) -> None:
        """Return when every signature is verified."""
        while True:
            try:
                self._ledger.settle()
            except TakenBackError as error:
                self._take_again(error)
            else:
                return

    def _place(self, raw: bytes) -> None:
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
        self.settle()
        self._waiting[parent_id].append(raw)
        self._waiting_bytes += len(raw)
        if self._waiting_bytes > WAITING_BYTES_MAX:
            first = next(iter(self._waiting))
            raise BlockFileError(
                f"over {WAITING_BYTES_MAX} bytes of blocks wait for parents: {id_text(first)} first"
            )

    def _add(self, raw: bytes) -> Hash32:
        try:
            block = decode_block(raw)
        except DecodeError:
            self._refuse(raw, MALFORMED)
            return decode_header(raw[:HEADER_BYTES]).id
        # With blocks that wait for parents, what comes next depends on each verdict.
        add = self._ledger.add_block if self._waiting else self._ledger.add_block_early
        try:
            added = add(block, self._clock())
        except InvalidError as error:
            self._refuse(raw, error.reject_reason)
        except TakenBackError as error:
            self._take_again(error, block)
        else:
            if added.is_new:
                self._blocks += 1
                self._transactions += len(block.transactions)
                self._recent.append(block)
        return block.id

    def _take_again(self, error: TakenBackError, *uncounted: Block) -> None:
        """Count a block that was added early as refused, and add again what came after it."""
        counted = list(self._recent)
        self._recent.clear()
        while counted and counted[0].id != error.entry.id:
            del counted[0]
        self._blocks -= len(counted)
        self._transactions -= sum(len(block.transactions) for block in counted)
        refused, *later = [*counted, *uncounted]
        self._refuse(refused.raw, error.cause.reject_reason)
        for block in later:
            self._place(block.raw)

    def _refuse(self, raw: bytes, reason: str) -> None:
        self.settle()  # what came before is told before
        self._refused += 1
        if self._first_refusal is None:
            name = (
                id_text(decode_header(raw[:HEADER_BYTES]).id) if len(raw) >= HEADER_BYTES else "?"
            )
            self._first_refusal = f"{name}: {reason}"
