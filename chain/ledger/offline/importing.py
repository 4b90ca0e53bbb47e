"""Import of block files: at full speed, or with a verdict on each block."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO, Final

from chain.ledger.garbage import rare_collections
from chain.ledger.ledger import Ledger
from chain.ledger.offline.blockfile import BlockFileError, read_frames
from chain.ledger.outcomes import Verdict
from chain.ledger.pipeline import Clock
from chain.primitives.block import HEADER_BYTES, PREVIOUS, Block, decode_block
from chain.primitives.encoding import DecodeError
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import NULL_HASH, Hash32, Height, id_text

ORPHAN_BYTES_MAX: Final = 256_000_000  # of blocks that precede their parents
MALFORMED: Final = "malformed-block"  # the verdict on bytes that are not a block


@dataclass(slots=True)
class Progress:
    """The progress of an import."""

    blocks: Final[int]
    transactions: Final[int]
    bytes_read: Final[int]
    height: Final[Height]


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
    orphaned: int  # blocks whose parent was not found

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
    with rare_collections(), closing(ledger.add_blocks(importing.read(stream), clock)) as verdicts:
        for verdict in verdicts:
            importing.count(verdict)
    return importing.result(time.perf_counter() - started)


def import_verdicts(ledger: Ledger, stream: BinaryIO, clock: Clock) -> Iterator[ImportVerdict]:
    """Yield the ledger's verdict on each block of a file, in order; orphans are refused.

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


def _id_of(raw: bytes) -> Hash32:
    """Return the id of a raw block."""
    return sha256d(raw[:HEADER_BYTES])


class _Importing:
    """An import in progress: its counts, and the orphans, which wait for their parents.

    Counts and orphans are the same as if each verdict came before the next block.
    """

    def __init__(self, ledger: Ledger, progress: Callable[[Progress], None] | None) -> None:
        self._ledger = ledger
        self._progress = progress
        self._orphans: defaultdict[Hash32, list[bytes]] = defaultdict(list)  # by parent
        self._orphan_bytes = 0
        # Blocks whose verdicts are pending: the number, and whether the block was an orphan.
        self._pending: deque[tuple[int, bool]] = deque()
        # Their ids, with the last number of each; their headers may not be known yet.
        self._pending_ids: dict[Hash32, int] = {}
        self._retried: set[Hash32] = set()  # of `_orphans`
        self._frame_count = 0  # one for each frame, in the order of validation
        self._bytes_read = 0
        self._blocks = 0
        self._transactions = 0
        self._refused = 0
        self._first_refusal: tuple[int, str] | None = None  # its number, and the verdict on it

    def read(self, stream: BinaryIO) -> Iterator[Block]:
        """Yield the blocks of a file, each after its parent. Raises BlockFileError."""
        for raw in read_frames(stream, self._ledger.params):
            self._bytes_read += len(raw)
            if len(raw) < HEADER_BYTES:
                self._refuse(self._next_number(), raw, MALFORMED)
                continue
            previous = Hash32(raw[PREVIOUS])
            if previous == NULL_HASH and _id_of(raw) == self._ledger.tree.genesis.id:
                continue
            if previous not in self._pending_ids and self._ledger.tree.get(previous) is None:
                self._add_orphan(previous, raw)
                continue
            yield from self._with_orphans(raw)

    def count(self, verdict: Verdict) -> None:
        """Count the ledger's verdict on the next block."""
        number, was_orphan = self._pending.popleft()
        block = verdict.block
        if self._pending_ids[block.id] == number:  # else the same header comes again
            del self._pending_ids[block.id]
        if verdict.error is None:
            is_new = verdict.result().is_new
            self._blocks += is_new
            self._transactions += is_new * block.transaction_count
        elif self._became_orphan(block, was_orphan=was_orphan):
            self._retried.add(block.id)
            self._add_orphan(block.header.previous, block.raw)
        else:
            self._refuse(number, block.raw, verdict.error.reject_reason)
        self._report_progress()

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
            orphaned=sum(map(len, self._orphans.values())),
        )

    def _became_orphan(self, block: Block, *, was_orphan: bool) -> bool:
        """Return whether the block is an orphan, now that all earlier verdicts are known.

        It was passed to the ledger because its parent's header was known; that header was then
        forgotten together with an invalid block.
        """
        parent_id = block.header.previous
        if was_orphan and parent_id not in self._retried:
            return False  # its parent was refused, so it will never connect
        return self._ledger.tree.get(parent_id) is None

    def _with_orphans(self, raw: bytes) -> Iterator[Block]:
        """Yield a block, the orphans that waited for it, those that waited for these, and so on."""
        ready = [(raw, False)]
        while ready:
            raw, was_orphan = ready.pop()
            number = self._next_number()
            try:
                block = decode_block(raw)
            except DecodeError:
                self._refuse(number, raw, MALFORMED)
            else:
                self._pending.append((number, was_orphan))
                self._pending_ids[block.id] = number
                self._retried.discard(block.id)
                yield block
            if not self._orphans:
                continue
            children = self._orphans.pop(_id_of(raw), [])
            self._orphan_bytes -= sum(map(len, children))
            ready += [(child, True) for child in reversed(children)]

    def _add_orphan(self, parent_id: Hash32, raw: bytes) -> None:
        self._orphans[parent_id].append(raw)
        self._orphan_bytes += len(raw)
        if self._orphan_bytes > ORPHAN_BYTES_MAX:
            first = next(iter(self._orphans))
            raise BlockFileError(
                f"over {ORPHAN_BYTES_MAX} bytes of blocks without parents, first {id_text(first)}"
            )
        self._report_progress()

    def _next_number(self) -> int:
        self._frame_count += 1
        return self._frame_count

    def _refuse(self, number: int, raw: bytes, reason: str) -> None:
        self._refused += 1
        if self._first_refusal is None or number < self._first_refusal[0]:
            name = id_text(_id_of(raw)) if len(raw) >= HEADER_BYTES else "?"
            self._first_refusal = (number, f"{name}: {reason}")

    def _report_progress(self) -> None:
        if self._progress is not None:
            height = self._ledger.tip.height
            self._progress(Progress(self._blocks, self._transactions, self._bytes_read, height))
