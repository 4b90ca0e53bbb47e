"""Import of block files: at full speed, or with a verdict on each block."""

import gc
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final

from chain.ledger.ledger import Ledger
from chain.ledger.offline.blockfile import BlockFileError, read_frames
from chain.ledger.outcomes import Verdict
from chain.ledger.pipeline import Clock
from chain.primitives.block import HEADER_BYTES, Block, decode_block, decode_header
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32, Height, id_text

WAITING_BYTES_MAX: Final = 256_000_000  # of blocks that precede their parents
_COLLECT_AFTER: Final = (1_000_000, 50, 50)  # new objects, then young and middle collections
MALFORMED: Final = "malformed-block"  # the verdict on bytes that are not a block


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of an import."""

    blocks: int
    transactions: int
    bytes_read: int
    height: Height


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The result of an import."""

    blocks: int  # new valid blocks
    transactions: int  # in those blocks, coinbases included
    seconds: float  # until the last commit
    tip: Hash32
    height: Height
    refused: int
    first_refusal: str | None  # which block, and why
    waiting: int  # blocks whose parent was not found

    @property
    def transactions_per_second(self) -> float:
        """Transactions per second."""
        return self.transactions / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class ImportVerdict:
    """The verdict on one block, and the tip of the best chain after it."""

    accepted: bool
    reason: str | None  # Bitcoin's reject reason; MALFORMED for bytes that are not a block
    height: Height
    tip: Hash32


def import_blocks(
    ledger: Ledger,
    stream: BinaryIO,
    clock: Clock,
    progress: Callable[[Progress], None] | None = None,
) -> ImportResult:
    """Validate and add every block of a block file, in any order.

    Blocks that break a rule are counted and skipped. Everything that was read is committed even if
    an error ends the import. Raises BlockFileError: also for too many blocks without a parent.
    """
    importing = _Importing(ledger, progress)
    started = time.perf_counter()
    with _rare_collections(), closing(ledger.add_blocks(importing.read(stream), clock)) as verdicts:
        for verdict in verdicts:
            importing.count(verdict)
    return importing.result(time.perf_counter() - started)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Run Python's cyclic garbage collector rarely: little of it arises among millions of coins."""
    before = gc.get_threshold()
    gc.set_threshold(*_COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def import_verdicts(ledger: Ledger, stream: BinaryIO, clock: Clock) -> Iterator[ImportVerdict]:
    """Yield the ledger's verdict on each block of a file, in order, without waiting for parents.

    No frame is read before the verdict on the previous one was yielded. Raises BlockFileError.
    """
    blocks = _Decoded(read_frames(stream, ledger.params))
    while not blocks.is_at_end:
        with closing(ledger.add_blocks(blocks, clock, pipelined=False)) as verdicts:
            for verdict in verdicts:
                error = verdict.error
                yield _import_verdict(ledger, None if error is None else error.reject_reason)
        if not blocks.is_at_end:
            yield _import_verdict(ledger, MALFORMED)


class _Decoded:
    """The blocks of a file; each iteration ends at the next frame that is not a block."""

    def __init__(self, frames: Iterator[bytes]) -> None:
        self._frames = frames
        self.is_at_end = False

    def __iter__(self) -> Iterator[Block]:
        """Yield blocks; at the end, record why the iteration ended."""
        for raw in self._frames:
            try:
                block = decode_block(raw)
            except DecodeError:
                return
            yield block
        self.is_at_end = True


def _import_verdict(ledger: Ledger, reason: str | None) -> ImportVerdict:
    return ImportVerdict(reason is None, reason, ledger.tip.height, ledger.tip.id)


class _Importing:
    """An import in progress: its counts, and the blocks that wait for their parent.

    Counts and waiting blocks are the same as if each verdict came before the next block.
    """

    def __init__(self, ledger: Ledger, progress: Callable[[Progress], None] | None) -> None:
        self._ledger = ledger
        self._progress = progress
        self._waiting: defaultdict[Hash32, list[bytes]] = defaultdict(list)  # by parent
        self._waiting_bytes = 0
        self._asked: deque[tuple[int, bool]] = deque()  # of blocks whose verdicts are pending
        self._asked_too_soon: set[Hash32] = set()  # of waiting blocks
        self._places = 0  # one for each frame, in the order of validation
        self._bytes_read = 0
        self._blocks = 0
        self._transactions = 0
        self._refused = 0
        self._first_refusal: tuple[int, str] | None = None  # its place, and the verdict on it

    def read(self, stream: BinaryIO) -> Iterator[Block]:
        """Yield the blocks of a file, each after its parent. Raises BlockFileError."""
        for raw in read_frames(stream, self._ledger.params):
            self._bytes_read += len(raw)
            if len(raw) < HEADER_BYTES:
                self._refuse(self._next_place(), raw, MALFORMED)
                continue
            header = decode_header(raw[:HEADER_BYTES])
            if header.id == self._ledger.tree.genesis.id:
                continue
            if self._ledger.tree.get(header.previous) is None:
                self._wait(header.previous, raw)
                continue
            yield from self._family(raw)

    def count(self, verdict: Verdict) -> None:
        """Count the ledger's verdict on the next block."""
        place, has_waited = self._asked.popleft()
        block = verdict.block
        if verdict.error is None:
            is_new = verdict.result().is_new
            self._blocks += is_new
            self._transactions += is_new * len(block.transactions)
        elif self._lost_its_parent(block, has_waited=has_waited):
            self._asked_too_soon.add(block.id)
            self._wait(block.header.previous, block.raw)
        else:
            self._refuse(place, block.raw, verdict.error.reject_reason)
        self._tell()

    def result(self, seconds: float) -> ImportResult:
        """Return the result, after the last commit."""
        tip = self._ledger.tip
        return ImportResult(
            blocks=self._blocks,
            transactions=self._transactions,
            seconds=seconds,
            tip=tip.id,
            height=tip.height,
            refused=self._refused,
            first_refusal=self._first_refusal and self._first_refusal[1],
            waiting=sum(map(len, self._waiting.values())),
        )

    def _lost_its_parent(self, block: Block, *, has_waited: bool) -> bool:
        """Return whether the block would have waited for its parent, given all earlier verdicts.

        It was passed to the ledger because its parent's header was known; that header was then
        forgotten together with an invalid block.
        """
        parent_id = block.header.previous
        if has_waited and parent_id not in self._asked_too_soon:
            return False  # its parent was refused, so it has nothing left to wait for
        return self._ledger.tree.get(parent_id) is None

    def _family(self, raw: bytes) -> Iterator[Block]:
        """Yield a block, those that waited for it, those that waited for these, and so on."""
        ready = [(raw, False)]
        while ready:
            raw, has_waited = ready.pop()
            place = self._next_place()
            try:
                block = decode_block(raw)
            except DecodeError:
                self._refuse(place, raw, MALFORMED)
            else:
                self._asked.append((place, has_waited))
                self._asked_too_soon.discard(block.id)
                yield block
            children = self._waiting.pop(decode_header(raw[:HEADER_BYTES]).id, [])
            self._waiting_bytes -= sum(map(len, children))
            ready += [(child, True) for child in reversed(children)]

    def _wait(self, parent_id: Hash32, raw: bytes) -> None:
        self._waiting[parent_id].append(raw)
        self._waiting_bytes += len(raw)
        if self._waiting_bytes > WAITING_BYTES_MAX:
            first = next(iter(self._waiting))
            raise BlockFileError(
                f"over {WAITING_BYTES_MAX} bytes of blocks wait for parents: {id_text(first)} first"
            )
        self._tell()

    def _next_place(self) -> int:
        self._places += 1
        return self._places

    def _refuse(self, place: int, raw: bytes, reason: str) -> None:
        self._refused += 1
        if self._first_refusal is None or place < self._first_refusal[0]:
            name = (
                id_text(decode_header(raw[:HEADER_BYTES]).id) if len(raw) >= HEADER_BYTES else "?"
            )
            self._first_refusal = (place, f"{name}: {reason}")

    def _tell(self) -> None:
        if self._progress is not None:
            height = self._ledger.tip.height
            self._progress(Progress(self._blocks, self._transactions, self._bytes_read, height))
