"""The block pipeline: verifies signatures and writes rows while later blocks are being connected.

Connecting a block, verifying its signatures and writing its rows take about equally long, and only
the first depends on the block before. So a block that extends the tip is connected before its
signatures are verified; eight such blocks may be unverified, or UNVERIFIED_BLOCKS_MAX small ones,
and the writer's thread writes whole batches of rows. If a signature turns out to be wrong, its
block and the later ones are disconnected, the block is marked as invalid, and the others are
validated again: the verdicts and the stored data are the same as if each block had been verified
before the next.

The work in progress is one State, and TRANSITIONS lists every change from one state to another.
Three things must never happen, and the table has no row for them: a commit or a disconnection while
a signature is being verified (both only in CHANGING), and two threads using the connection (BEGIN
only after the writer's thread is done).
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from chain.consensus.block_run import may_be_in_run
from chain.consensus.errors import InvalidError
from chain.ledger.background_check import BackgroundCheck
from chain.ledger.chain_tip import ChainTip
from chain.ledger.chainstate import Chainstate, Extension
from chain.ledger.db.failures import database_failed
from chain.ledger.errors import DamagedError, DatabaseFailedError, FencedError
from chain.ledger.outcomes import Verdict
from chain.ledger.timing import Lap
from chain.ledger.writer import Writer
from chain.ledger.writer_watch import WriterWatch
from chain.primitives.block import Block

# Connected while their signatures may still be unverified. With 64, the threads that verify were
# waited for while other threads had Python's lock.
UNVERIFIED_BLOCKS_MAX: Final = 256
_RUN_BLOCKS_MAX: Final = 32  # connected together: see `_add_run`
_UNVERIFIED_MIN: Final = 8  # so many of any size; more only while they are small:
_UNVERIFIED_BYTES_MAX: Final = 500_000  # of all of them

Clock = Callable[[], int]  # unix seconds


class State(Enum):
    """The work in progress, and which thread has the connection that writes."""

    IDLE = auto()  # no call is running; everything is committed
    READY = auto()  # a call is running; everything is committed
    CONNECTING = auto()  # rows are buffered, signatures may be pending; the connection is free
    WRITING = auto()  # as CONNECTING, but the writer's thread has the connection
    VERIFYING = auto()  # this thread has a transaction open; signatures may be pending
    CHANGING = auto()  # this thread has a transaction open; no signature is pending
    CLOSED = auto()  # final: closed, or failed


class Event(Enum):
    """A transition from one state to another."""

    START = auto()  # of a call
    EXTEND = auto()  # a block was connected with its signatures pending
    HAND_OVER = auto()  # the buffered rows go to the writer's thread
    WRITTEN = auto()  # and that thread has committed them
    WITHHELD = auto()  # a signature was wrong: the rows are in a transaction that is still open
    BEGIN = auto()  # a transaction on this thread
    VERIFIED = auto()  # every signature is valid
    DISCONNECT = auto()  # a signature is wrong: its block and the later ones are disconnected
    COMMIT = auto()
    END = auto()  # of the call
    CLOSE = auto()


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.IDLE, Event.START): State.READY,
    (State.READY, Event.EXTEND): State.CONNECTING,
    (State.READY, Event.BEGIN): State.CHANGING,
    (State.READY, Event.END): State.IDLE,
    (State.CONNECTING, Event.EXTEND): State.CONNECTING,
    (State.CONNECTING, Event.HAND_OVER): State.WRITING,
    (State.CONNECTING, Event.BEGIN): State.VERIFYING,
    (State.WRITING, Event.EXTEND): State.WRITING,
    (State.WRITING, Event.WRITTEN): State.CONNECTING,
    (State.WRITING, Event.WITHHELD): State.VERIFYING,
    (State.VERIFYING, Event.EXTEND): State.VERIFYING,
    (State.VERIFYING, Event.VERIFIED): State.CHANGING,
    (State.VERIFYING, Event.DISCONNECT): State.CHANGING,
    (State.CHANGING, Event.EXTEND): State.VERIFYING,
    (State.CHANGING, Event.COMMIT): State.READY,
    **{(state, Event.CLOSE): State.CLOSED for state in State},
}


@dataclass(slots=True)
class _Unverified:
    """A block that was connected before its signatures were verified."""

    block: Final[Block]
    now: Final[int]
    extension: Final[Extension]


class Pipeline:
    """Runs every call that changes the ledger, one after the other, and guards every read."""

    def __init__(
        self,
        chainstate: Chainstate,
        chain: ChainTip,
        writer: Writer,
        opened: ExitStack,
        checks: Sequence[BackgroundCheck | WriterWatch | None],
    ) -> None:
        """Own these open resources: they are closed with the pipeline or on any failure."""
        self._checks = [check for check in checks if check is not None]
        self.state = State.IDLE
        self._chainstate = chainstate
        self._chain = chain
        self._writer = writer
        self._commits = chain.commits
        self._opened = opened
        self._unverified: deque[_Unverified] = deque()  # a chain that ends at the tip
        self._unverified_bytes = 0

    @property
    def is_usable(self) -> bool:
        """Whether it is neither closed nor failed."""
        return self.state is not State.CLOSED

    def close(self) -> None:
        """Close the database; uncommitted changes are lost."""
        self._on(Event.CLOSE)
        self._opened.close()

    def add_blocks(
        self, blocks: Iterable[Block], clock: Clock, *, pipelined: bool
    ) -> Generator[Verdict]:
        """Yield the verdict on each block, in order; see Ledger.add_blocks."""
        self._check_usable()
        self._on(Event.START)
        run: list[tuple[Block, int]] = []  # with the time when each was read
        try:
            for block in blocks:
                self._check_usable()  # the iterator of blocks may have closed the ledger
                now, verdicts = clock(), []
                if run and not self._continues_run(run, block):
                    whole, run = run, []
                    verdicts = self._add_run(whole)
                if run or (pipelined and self._begins_run(block)):
                    run.append((block, now))
                else:
                    verdicts += self._add(block, now, pipelined=pipelined)
                yield from verdicts
        finally:  # also if `blocks` raises, or the caller stops early
            last = self._add_run(run) + self._end() if self.is_usable else []
        yield from last

    @contextmanager
    def changing(self, *, may_join: bool = False, is_durable: bool = True) -> Iterator[None]:
        """Run a change other than adding a block, as one transaction.

        With `may_join`, it may also run between two verdicts of add_blocks, as part of its
        transaction, while no block is unverified. If not `is_durable`, a power cut may lose it.
        """
        self._check_usable()
        joins = may_join and self.state is not State.IDLE
        assert not self._unverified, "no other change while signatures are pending"
        if not joins:
            self._on(Event.START)
        with self._closing_on_failure(), self._syncing(is_durable=is_durable or joins):
            self._begin()
            self._on_verified()
            yield
            if not joins:
                self._commit()
                self._on(Event.END)

    @contextmanager
    def buffering(self) -> Iterator[None]:
        """Run a change whose rows are written with the next commit, whichever that is."""
        self._check_usable()
        assert not self._unverified, "no other change while signatures are pending"
        with self._closing_on_failure():
            yield

    def save(self, *, is_durable: bool) -> None:
        """Commit the rows of the hook without a change of the chain.

        If not `is_durable`, they may be lost in a power cut, but not if the process is killed.
        """
        self._check_usable()
        self._on(Event.START)
        with self._closing_on_failure(), self._syncing(is_durable=is_durable):
            self._begin()
            self._commit()
            self._on(Event.END)

    def note(self, values: Mapping[str, bytes]) -> None:
        """Write values beside the chain, in a commit that is no version."""
        self._check_usable()
        self._on(Event.START)
        with self._closing_on_failure(), self._writer.without_sync():
            self._begin()
            self._writer.commit_note(values)
            self._on(Event.COMMIT)
            self._on(Event.END)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Run reads; afterwards no transaction is open that was not open before."""
        self._check_usable()
        with self._closing_on_failure():
            self._finish_writing()
        try:
            was_open = self._writer.is_open
            yield
            if not was_open:
                self._writer.connection.rollback()
        except FencedError:
            self.close()
            raise
        except (SQLAlchemyError, DamagedError) as error:
            self.close()
            raise self.failed(error, "read") from error

    def _syncing(self, *, is_durable: bool) -> AbstractContextManager[None]:
        return nullcontext() if is_durable else self._writer.without_sync()

    def _begins_run(self, block: Block) -> bool:
        has_room = self._unverified_bytes < _UNVERIFIED_BYTES_MAX
        return has_room and may_be_in_run(block) and self._chainstate.extends_tip(block)

    def _continues_run(self, run: Sequence[tuple[Block, int]], block: Block) -> bool:
        last, _ = run[-1]
        return (
            len(run) < self._run_max
            and len(run) + len(self._unverified) < UNVERIFIED_BLOCKS_MAX
            and block.header.previous == last.id
            and may_be_in_run(block)
        )

    def _add_run(self, run: Sequence[tuple[Block, int]]) -> list[Verdict]:
        """Add small blocks, each the parent of the next; return the verdicts that are final now."""
        verdicts: list[Verdict] = []
        if not run:
            return verdicts
        if not self._extend_run(run):
            for block, now in run:
                verdicts += self._add(block, now, pipelined=True)
        with self._closing_on_failure():
            at_most = min(self._unverified_max, UNVERIFIED_BLOCKS_MAX - self._run_max)
            return verdicts + self._verify(at_most) + self._write()

    def _extend_run(self, run: Sequence[tuple[Block, int]]) -> bool:
        """Connect blocks together, as `_extend` does one; return whether that was possible."""
        if len(run) < 2:
            return False
        blocks, times = zip(*run, strict=True)
        with self._closing_on_failure():
            extensions = self._chainstate.extend_run(blocks, times)
        if extensions is None:
            return False
        self._extended(map(_Unverified, blocks, times, extensions))
        return True

    def _add(self, block: Block, now: int, *, pipelined: bool) -> list[Verdict]:
        """Add a block; return the verdicts that are final now, on it or on earlier blocks."""
        with self._closing_on_failure():
            if pipelined and self._extend(block, now):
                verdicts = self._verify(self._unverified_max)
            else:
                verdicts = self._verify()
                verdicts.append(self._validate(block, now))
            return verdicts + self._write()

    def _write(self) -> list[Verdict]:
        """Have the rows written if there are many; return the verdicts that are final now."""
        verdicts: list[Verdict] = []
        if self._chain.is_large:
            if self._commits.has_hook:  # its rows could not be reverted
                verdicts += self._verify()
            if not self._hand_over():
                verdicts += self._commit()
        return verdicts

    def _extend(self, block: Block, now: int) -> bool:
        """Connect a block before its signatures are verified; return whether that was possible."""
        if not self._chainstate.extends_tip(block):
            return False
        try:
            extension = self._chainstate.extend(block, now)
        except InvalidError:
            return False  # an unverified block may be the cause: validate again after it
        self._extended([_Unverified(block, now, extension)])
        return True

    def _extended(self, connected: Iterable[_Unverified]) -> None:
        for one in connected:
            self._unverified.append(one)
            self._unverified_bytes += len(one.block.raw)
        self._on(Event.EXTEND)

    @property
    def _run_max(self) -> int:
        return min(_RUN_BLOCKS_MAX, UNVERIFIED_BLOCKS_MAX // 2)

    @property
    def _unverified_max(self) -> int:
        """How many blocks may be unverified, as large as they are."""
        is_small = self._unverified_bytes <= _UNVERIFIED_BYTES_MAX
        return UNVERIFIED_BLOCKS_MAX if is_small else min(UNVERIFIED_BLOCKS_MAX, _UNVERIFIED_MIN)

    def _validate(self, block: Block, now: int) -> Verdict:
        """Add a block whose ancestors are all verified, and wait for its signatures."""
        try:
            known = self._chainstate.find(block)
            if known is not None:
                return Verdict(block, known, None)
            self._begin()
            self._on_verified()
            return Verdict(block, self._chainstate.add_block(block, now), None)
        except InvalidError as error:
            return Verdict(block, None, error)

    def _verify(self, at_most: int = 0) -> list[Verdict]:
        """Wait until at most `at_most` blocks, the newest, are unverified; return the verdicts.

        Bitcoin Core waits for each block's signatures (CCheckQueueControl::Complete).
        """
        verdicts: list[Verdict] = []
        if len(self._unverified) <= at_most:
            return verdicts
        lap = Lap()
        while len(self._unverified) > at_most:
            oldest = self._unverified.popleft()
            self._unverified_bytes -= len(oldest.block.raw)
            error = oldest.extension.verification.finish()
            oldest.extension.timing.verify_s += lap()
            if error is not None:
                return verdicts + self._disconnect_invalid(oldest, error)
            verdicts.append(Verdict(oldest.block, oldest.extension.added, None))
        return verdicts

    def _disconnect_invalid(self, wrong: _Unverified, error: InvalidError) -> list[Verdict]:
        """Refuse a block with a wrong signature, and validate the later blocks again."""
        later = list(self._unverified)
        self._unverified.clear()
        self._unverified_bytes = 0
        for other in later:
            other.extension.verification.refused()  # no check may outlive its block
        self._begin()
        self._on(Event.DISCONNECT)
        unseen = [one.extension.added.entry for one in later if one.extension.is_header_new]
        self._chainstate.disconnect_invalid(wrong.extension.added.entry, unseen)
        refused = Verdict(wrong.block, None, error)
        return [refused, *(self._validate(one.block, one.now) for one in later)]

    def _begin(self) -> None:
        """Acquire the connection for this thread, and open a transaction on it."""
        self._finish_writing()
        if self.state in {State.READY, State.CONNECTING}:
            if not self._writer.is_open:  # a database in memory has only one connection
                self._writer.open()
            self._on(Event.BEGIN)

    def _finish_writing(self) -> None:
        """Wait until nothing is being written; a batch with a wrong signature is not committed."""
        if self.state is State.WRITING:
            self._chain.coins.written(self._writer.finish())
            self._on(Event.WITHHELD if self._writer.is_open else Event.WRITTEN)

    def _hand_over(self) -> bool:
        """Let the writer's thread write and commit all rows while the next blocks are connected.

        Returns whether that is possible; otherwise the caller has to write them itself.
        """
        lap = Lap()
        self._finish_writing()
        waited_s = lap()
        if self.state is not State.CONNECTING or not self._writer.can_begin:
            return False
        self._chainstate.bury()
        self._chain.start_gathered_checks()
        verifications = [one.extension.verification for one in self._unverified]
        last = self._commits.next()  # before `take`: the hook may read the buffered blocks
        self._writer.begin(self._chain.take(), last, verifications)
        self._on(Event.HAND_OVER)
        self._chain.timer.report(self._chain.tip, waited_s, unverified=len(self._unverified))
        return True

    def _commit(self) -> list[Verdict]:
        """Write and commit everything; return the verdicts that became final before that."""
        lap = Lap()
        self._begin()
        self._chainstate.bury()
        self._chain.flush()  # while signatures are being verified
        write_s = lap()
        verdicts = self._verify()
        self._on_verified()
        lap()
        if verdicts:  # a disconnection may have taken headers out of the pages
            self._chainstate.bury()
        self._chain.flush()  # changes made by the disconnection
        self._writer.commit(self._commits.next())
        self._on(Event.COMMIT)
        self._chain.timer.report(self._chain.tip, write_s + lap())
        return verdicts

    def _end(self) -> list[Verdict]:
        with self._closing_on_failure():
            verdicts = self._commit() if self.state is not State.READY else []
            self._on(Event.END)
            return verdicts

    def _on_verified(self) -> None:
        assert not self._unverified, "no signature is pending"
        if self.state is State.VERIFYING:
            self._on(Event.VERIFIED)

    def _on(self, event: Event) -> None:
        """Change to the next state. Every change of `state` is made here."""
        after = TRANSITIONS.get((self.state, event))
        assert after is not None, f"{event.name} in {self.state.name}"
        self.state = after

    def _closing_on_failure(self) -> "_ClosingOnFailure":
        """Close permanently on any failure inside: continuing could commit half a block."""
        return _ClosingOnFailure(self)

    def _check_usable(self) -> None:
        if not self.is_usable:
            raise DatabaseFailedError("the ledger is closed, or failed before: open it again")
        for check in self._checks:
            failure = check.failure
            if failure is not None:
                self.close()
                raise self.failed(failure, "read") from failure

    def failed(self, error: Exception, verb: str) -> DatabaseFailedError:
        """Return the exception for a failure of the database."""
        return database_failed(self._writer.connection.engine, error, verb)


class _ClosingOnFailure:
    """See Pipeline._closing_on_failure; a class of its own, for it surrounds each block."""

    __slots__ = ("_pipeline",)

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            return
        self._pipeline.close()
        if isinstance(error, (SQLAlchemyError, DamagedError, MemoryError)):
            raise self._pipeline.failed(error, "written") from error
