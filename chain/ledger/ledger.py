"""The ledger: validates headers and blocks, stores them, and follows the most work."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry, fork_point
from chain.consensus.errors import InvalidError
from chain.consensus.header import check_header_work
from chain.consensus.params import Params
from chain.ledger.background_check import BackgroundCheck
from chain.ledger.chain_tip import ChainTip
from chain.ledger.chainstate import Chainstate
from chain.ledger.commit_hook import CommitHook
from chain.ledger.db.archive import Archive
from chain.ledger.db.engine import (
    dispose,
    guard_epoch,
    open_engine,
    other_writer,
    reading_once,
)
from chain.ledger.db.exclusion import check_exclusion
from chain.ledger.db.failures import open_failure
from chain.ledger.db.index.row_sums import compile_sums
from chain.ledger.db.loading import LoadedState, load
from chain.ledger.db.lock import FileLock
from chain.ledger.db.node_state import Version, begin_epoch
from chain.ledger.db.url import Database, check_take_over, database_file, is_in_memory
from chain.ledger.header_store import HELD_BLOCKS
from chain.ledger.migrate import upgrade
from chain.ledger.outcomes import BlockAdded, ChainMove, HeadersAdded, Verdict
from chain.ledger.pipeline import Clock, Pipeline
from chain.ledger.signature_verifier import VerifiedSpends, Verifier
from chain.ledger.timing import BlockTiming
from chain.ledger.writer import Writer
from chain.ledger.writer_watch import WriterWatch
from chain.primitives.block import Block, Header, RawHeaders
from chain.primitives.compiled_block import compile_reader
from chain.primitives.numbers import Hash32, OutPoint
from chain.primitives.signature_batch import compile_loop

_SYNC_HEADERS_MIN: Final = 1_000  # so many come together only in a sync
_BUFFERED_HEADERS_MAX: Final = 10_000  # of a sync; in one commit they touch fewer pages

T = TypeVar("T")


class Ledger:
    """The chain on disk. For one thread, except where a method allows any.

    After DatabaseFailedError every call fails: what was committed is safe, open the ledger again.
    """

    def __init__(
        self,
        database: Database,
        params: Params,
        *,
        verify_threads: int,
        held_blocks: int = HELD_BLOCKS,
        take_over: bool = False,
    ) -> None:
        """Open a ledger; create or migrate it if necessary.

        A large one is checked further in the background: see `check`. `held_blocks`, the number of
        blocks whose headers are not put into columns, is smaller only in tests. With `take_over`,
        another node that has it open on PostgreSQL loses it.

        Raises LedgerError: LockedError, StandbyError, WrongNetworkError, SchemaTooNewError,
        DamagedError.
        """
        self.params = params
        self.verifier = Verifier(verify_threads)
        self._has_compiled = False
        with ExitStack() as stack:  # closes what was opened if a later step fails
            stack.callback(self.verifier.close)
            file = _file_of(database, take_over=take_over)
            if file is not None:
                stack.callback(FileLock(file).release)
            engine = open_engine(database, take_over=take_over)
            stack.callback(dispose, engine)
            try:
                upgrade(engine)
                writer = Writer(engine.connect(), database)
                stack.callback(writer.close)
                loaded, version = _load(writer.connection, params, held_blocks)
            except SQLAlchemyError as error:
                raise open_failure(database, engine, error) from error
            self.check = _begin_check(database, loaded, stack)
            self.watch = _begin_watch(writer.connection, stack)
            opened = stack.pop_all()
        self.tree, self._connection = loaded.tree, writer.connection
        self._archive = Archive(self._connection, loaded.next_number, loaded.next_sequence)
        self._chain = ChainTip(writer, params, self.verifier, self._archive, loaded.tip)
        self._chain.coins.revert(loaded.coins)
        self._chain.commits.version = version
        self._chainstate = Chainstate(
            self._connection, params, self.tree, self._chain, self._read_again
        )
        checks = (self.check, self.watch)
        self._pipeline = Pipeline(self._chainstate, self._chain, writer, opened, checks)
        self._writing, self._reading = self._pipeline.changing, self._pipeline.reading

    @property
    def is_usable(self) -> bool:
        """Whether the ledger is open and has not failed."""
        return self._pipeline.is_usable

    @property
    def timing_listeners(self) -> list[Callable[[BlockTiming], None]]:
        """Called for each connected block once it is committed, on the ledger's thread."""
        return self._chain.timer.listeners

    @property
    def version(self) -> Version:
        """The version of the last commit; each has another one."""
        return self._chain.commits.version

    def leave_out_indexes(self) -> None:
        """Index neither transactions nor histories: nobody may read this ledger or open it again.

        It must be a new one.
        """
        assert self.tip == self.tree.genesis, "blocks were indexed already"
        self._chain.leave_out_indexes()

    def set_commit_hook(self, hook: CommitHook) -> None:
        """Call `hook` before each commit from now on; its rows are committed with the tip."""
        self._chain.commits.set_hook(hook)

    @property
    def tip(self) -> BlockTreeEntry:
        """The last block of the best chain; during `add_blocks` it may still be unverified."""
        return self._chain.tip

    @property
    def verified(self) -> VerifiedSpends:
        """The transactions with signatures known to be valid; callers may add some."""
        return self._chain.verified

    def add_headers(self, headers: Sequence[Header], now: int) -> HeadersAdded:
        """Add headers, parents first, up to the first that breaks a rule.

        They are committed on return; during an `add_blocks` that is not pipelined, together with
        its blocks. Thousands of a sync may wait for the next commit, for more of them, or for
        `note`: without one of these they are lost, but peers have them.
        """
        if len(headers) >= _SYNC_HEADERS_MIN:
            last = self._add_run(RawHeaders.of(headers), now)
            if last is not None:
                return HeadersAdded(last, len(headers), len(headers), None)
        last, accepted, added = None, 0, 0
        error: InvalidError | None = None
        new: BlockTreeEntry | None = None  # the last one, unless it was known
        is_durable = len(headers) < _SYNC_HEADERS_MIN
        with self._writing(may_join=True, is_durable=is_durable):
            for header in headers:
                # The tree has the parents of all that it has: what builds on a new header is new.
                # But it knows excluded ones by their ids, even if their headers were forgotten.
                is_upon_new = new is not None and header.previous == new.id
                parent = new if is_upon_new and not self.tree.excluded else None
                try:
                    entry = None if parent is not None else self._chainstate.known(header)
                    new = None
                    if entry is None:
                        check_header_work(header, self.params)
                        entry = new = self._chainstate.add_header(header, now, parent)
                        added += 1
                except InvalidError as refused:
                    error = refused
                    break
                last = entry
                accepted += 1
        return HeadersAdded(last, accepted, added, error)

    def add_block(self, block: Block, now: int) -> BlockAdded:
        """Add a block in one transaction, any reorganisation included (Bitcoin: ProcessNewBlock).

        A block is accepted if every check that is possible now passed: it is then connected, or
        stored on a side branch, or stored until the body of an ancestor arrives. Raises
        InvalidError: those of check_block (the block's id is not blamed), KNOWN_INVALID,
        PARENT_MISSING, PARENT_INVALID (also when an ancestor fails while it is being connected),
        those of check_header_context, check_block_context and connect_block, SCRIPT.
        """
        [verdict] = self.add_blocks([block], now, pipelined=False)
        return verdict.result()

    def add_blocks(
        self, blocks: Iterable[Block], now: int | Clock, *, pipelined: bool = True
    ) -> Generator[Verdict]:
        """Add blocks as add_block does, and yield the verdict on each, in order.

        A verdict is final when it is yielded: later blocks do not change it. It is committed once
        the iterator has ended or was closed; a crash before that leaves the ledger as it was after
        some earlier block. `now` is in unix seconds, or a clock that is read for each block. Other
        changes must wait until the iterator has ended or was closed.

        Signatures are verified, and batches of rows are written, while the next blocks are
        connected. So eight blocks that extend the tip, or UNVERIFIED_BLOCKS_MAX small ones, are
        read from `blocks` before their verdicts are yielded; after any other block, none is read
        before its verdict was yielded. With `pipelined` false, each verdict is yielded before the
        next block is read.
        """
        clock = now if callable(now) else lambda: now
        return self._pipeline.add_blocks(blocks, clock, pipelined=pipelined)

    def invalidate(self, entry: BlockTreeEntry) -> ChainMove:
        """Exclude a block and its descendants until `reconsider`, as if they were invalid.

        Their bodies are kept, and the exclusion survives a restart. Raises ExclusionError.
        """
        return self._exclude([*self.tree.excluded, entry])

    def reconsider(self, entry: BlockTreeEntry) -> ChainMove:
        """Undo the exclusion of a block, its ancestors and its descendants."""
        return self._exclude(
            [e for e in self.tree.excluded if fork_point(e, entry) not in {e, entry}]
        )

    def mark_precious(self, entry: BlockTreeEntry) -> ChainMove:
        """Follow a block as if it came before others with equal work (Bitcoin: PreciousBlock)."""
        with self._writing():
            return self._chainstate.mark_precious(entry)

    def blocks(self, block_ids: Sequence[Hash32], bytes_max: int) -> list[bytes | None]:
        """Return the first of these stored raw blocks, in the best chain or not; None: not stored.

        At least one, and of the others as many as fit into `bytes_max` with it.
        """
        with self._reading():
            return self._archive.blocks(block_ids, bytes_max)

    def get(self, point: OutPoint) -> Coin | None:
        """Return the coin that is unspent at the tip, or None."""
        with self._reading():
            return self._chain.coins.get(point)

    def preload(self, points: Iterable[OutPoint]) -> None:
        """Read many coins at a time into the cache of `get`."""
        with self._reading():
            self._chain.coins.find(points)

    def read(self, query: Callable[[Connection], T]) -> T:
        """Return what `query` reads of tables beside the ledger's own."""
        with self._reading():
            return query(self._connection)

    def save(self, *, is_durable: bool) -> None:
        """Commit the rows that the hook has now, between two blocks.

        A power cut may lose them unless `is_durable`; a kill of the process loses nothing. What
        is lost are the last such commits: no block, and nothing before the last block.
        """
        self._pipeline.save(is_durable=is_durable)

    def note(self, values: Mapping[str, bytes]) -> None:
        """Write values to the table node_state that belong to no version.

        A power cut may lose them. A node does this every second, so headers wait no longer.
        """
        if self._archive.buffered_headers:
            self._commit_headers()
        self._pipeline.note(values)

    def close(self) -> None:
        """Close the database; of what was returned, at most headers of a sync are not committed."""
        self._pipeline.close()

    def _add_run(self, headers: RawHeaders, now: int) -> BlockTreeEntry | None:
        """Add headers of a sync together; None: they have to be added one by one."""
        with self._pipeline.buffering():
            last = self._chainstate.add_headers(headers, now)
        if last is not None and not self._has_compiled:
            self._has_compiled = True
            self.verifier.run_beside(_compile)
        if self._archive.buffered_headers >= _BUFFERED_HEADERS_MAX:
            self._commit_headers()
        return last

    def _commit_headers(self) -> None:
        with self._writing(may_join=True, is_durable=False):
            pass  # what is buffered is written with each commit

    def _exclude(self, roots: Sequence[BlockTreeEntry]) -> ChainMove:
        with self._reading():
            check_exclusion(self._connection, self.tip, roots)
        with self._writing():
            return self._chainstate.exclude(roots)

    def _read_again(self, entry: BlockTreeEntry) -> Block:
        with self._reading():
            return self._chain.read(entry)


def _file_of(database: Database, *, take_over: bool) -> Path | None:
    """Return the file of a database, if it has one. Raises DatabaseURLError."""
    check_take_over(database, take_over=take_over)
    return database_file(database)


def _load(connection: Connection, params: Params, held_blocks: int) -> tuple[LoadedState, Version]:
    """Load the ledger, and begin the epoch of a new writer."""
    with connection.begin(), reading_once(connection):
        loaded, version = load(connection, params, held_blocks), begin_epoch(connection)
        guard_epoch(connection, version.epoch)
    return loaded, version


def _compile() -> None:
    """Compile what the first blocks would wait for, some 75 ms."""
    compile_reader()
    compile_loop()
    compile_sums()


def _begin_check(
    database: Database, loaded: LoadedState, stack: ExitStack
) -> BackgroundCheck | None:
    """Begin the check of what was loaded without one; None if all of it was checked."""
    if is_in_memory(database) or not (loaded.tree.columns or loaded.sums_coins_in_background):
        return None
    check = BackgroundCheck(database, loaded)
    stack.callback(check.close)
    return check


def _begin_watch(connection: Connection, stack: ExitStack) -> WriterWatch | None:
    """Begin to look for another database of the ledger, if there can be one."""
    look = other_writer(connection)
    if look is None:
        return None
    connection.rollback()
    watch = WriterWatch(look)
    stack.callback(watch.close)
    return watch
