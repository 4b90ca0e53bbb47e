"""The ledger: takes headers and blocks, says which are right, and follows the most work."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from chain.consensus.block import check_block, check_block_context
from chain.consensus.coin import Coin
from chain.consensus.entry import Entry, fork_point
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.header import check_header_context, check_header_work
from chain.consensus.params import Params
from chain.ledger.activechain import ActiveChain
from chain.ledger.archive import Archive
from chain.ledger.engine import database_file, dispose, open_engine, shown_url
from chain.ledger.errors import DamagedError, DatabaseFailedError, first_line
from chain.ledger.exclusion import check_exclusion, read_sequences, write_excluded
from chain.ledger.loading import load
from chain.ledger.lock import FileLock
from chain.ledger.migrate import upgrade
from chain.ledger.moved import MovedBlocks
from chain.ledger.outcomes import BlockAdded, HeadersAdded, Moved, RefusedError, TakenBackError
from chain.ledger.verified import Verified
from chain.ledger.verifier import Verifier
from chain.ledger.writer import Writer
from chain.primitives.block import Block, Header
from chain.primitives.numbers import Hash32, OutPoint, id_text

BATCH_ROWS_MAX: Final = 250_000  # that wait in memory in a batch, about 300 bytes each
BATCH_BYTES_MAX: Final = 64_000_000  # of blocks and undo data that wait
UNSETTLED_BLOCKS_MAX: Final = 8  # whose signatures are verified while others are connected


class Ledger:
    """The chain on disk. One thread uses it, except where a method says any may.

    After DatabaseFailedError nothing works any more: what was committed is safe, open it anew.
    """

    def __init__(self, url: str, params: Params, *, verify_threads: int) -> None:
        """Open a ledger, making or migrating it if need be.

        Raises LedgerError: LockedError, WrongNetworkError, SchemaTooNewError, DamagedError.
        """
        self.params = params
        self.verifier = Verifier(verify_threads)
        self.is_usable = True  # False once it was closed or has failed
        self._batching = False
        self._early = False  # whether signatures may be verified after a block was connected
        self._taken_back: TakenBackError | None = None
        self._latest: deque[Entry] = deque(maxlen=UNSETTLED_BLOCKS_MAX + 1)  # headers added early
        with ExitStack() as opened:  # closes what was opened if something fails on the way
            opened.callback(self.verifier.close)
            file = database_file(url)
            if file is not None:
                opened.callback(FileLock(file).release)
            engine = open_engine(url)
            opened.callback(dispose, engine)
            try:
                upgrade(engine)
                writer = Writer(engine.connect(), url)
                opened.callback(writer.close)
                self._connection = writer.connection
                with self._connection.begin():
                    loaded = load(self._connection, params)
            except SQLAlchemyError as error:
                why = first_line(error)
                raise DamagedError(f"cannot read the ledger {shown_url(url)}: {why}") from error
            self._opened = opened.pop_all()
        self.tree = loaded.tree
        self._archive = Archive(self._connection, loaded.next_number, loaded.next_sequence)
        self._chain = ActiveChain(writer, params, self.verifier, self._archive, loaded.tip)
        self._chain.coins.revert(loaded.coins)

    @property
    def tip(self) -> Entry:
        """The last block of the best chain."""
        return self._chain.tip

    @property
    def verified(self) -> Verified:
        """Transactions whose signatures need not be verified again; add those that were."""
        return self._chain.verified

    def add_headers(self, headers: Sequence[Header], now: int) -> HeadersAdded:
        """Take headers in, parents first, up to the first that breaks a rule."""
        last, added = None, 0
        error: InvalidError | None = None
        with self._writing():
            for header in headers:
                try:
                    entry = self._known(header)
                    if entry is None:
                        check_header_work(header, self.params)
                        entry = self._add_header(header, now)
                        added += 1
                except InvalidError as refused:
                    error = refused
                    break
                last = entry
        return HeadersAdded(last, added, error)

    def add_block(self, block: Block, now: int) -> BlockAdded:
        """Take a block in, in one transaction, reorganisation included (Bitcoin: ProcessNewBlock).

        Accepted is a block of which nothing that could be checked now failed: it may be connected,
        or stored on a side branch, or stored until a body before it arrives. Raises InvalidError:
        those of check_block (the block's id is not blamed), KNOWN_INVALID, PARENT_MISSING,
        PARENT_INVALID (also when an earlier block of its branch fails now that it is connected),
        those of check_header_context, check_block_context and connect_block, SCRIPT.
        """
        self.settle()
        return self._add_block(block, now)

    def add_block_early(self, block: Block, now: int) -> BlockAdded:
        """Add a block of a batch, while signatures of it and those before are being verified.

        Until `settle` returns, it may turn out that one is wrong. Raises InvalidError as add_block;
        TakenBackError, after which that block's successors and this one are to be added again.
        """
        assert self._batching, "nothing is committed with signatures unverified"
        has_to_do_with_others = self.tree.is_stored(block.id) or self.tree.is_awaited(block.id)
        if has_to_do_with_others or block.header.previous != self.tip.id:
            return self.add_block(block, now)  # whatever is no plain extension waits for the rest
        self._early = True
        try:
            added = self._add_block(block, now)
        except InvalidError:
            self.settle()  # with a wrong signature before, this block is wrong for another reason
            raise
        finally:
            self._early = False
        self._raise_taken_back()
        return added

    def settle(self) -> None:
        """Return when every signature of blocks added early is verified. Raises TakenBackError."""
        if self._batching:
            with self._writing():
                self._settle()
            self._raise_taken_back()

    def _add_block(self, block: Block, now: int) -> BlockAdded:
        check_block(block, self.params)
        entry = self._known(block.header)
        if entry is not None and self.tree.is_stored(entry.id):
            return BlockAdded(entry, is_new=False)
        with self._writing():
            try:
                entry = entry or self._add_header(block.header, now)
            except InvalidError as refused:
                outcome: BlockAdded | InvalidError = refused
            else:
                outcome = self._add_body(block, entry)
        if isinstance(outcome, InvalidError):
            raise outcome
        return outcome

    def invalidate(self, entry: Entry) -> Moved:
        """Leave out a block and all that builds on it until `reconsider`, as if it were invalid.

        Their bodies are kept, and a restart remembers. Raises ExclusionError.
        """
        return self._exclude([*self.tree.excluded, entry])

    def reconsider(self, entry: Entry) -> Moved:
        """Let in again what was left out with or for a block, below and above it."""
        return self._exclude(
            [e for e in self.tree.excluded if fork_point(e, entry) not in {e, entry}]
        )

    def prefer(self, entry: Entry) -> Moved:
        """Follow a block as if it had come before others of its work (Bitcoin: PreciousBlock)."""
        with self._writing():
            self.tree.prefer(entry, self.tip)
            return self._follow_best(None)[0]

    def _exclude(self, roots: Sequence[Entry]) -> Moved:
        assert not self._batching, "nobody is told what a batch takes off"
        with self._reading():
            check_exclusion(self._connection, self.tip, roots)
        disconnected = MovedBlocks()
        with self._writing():
            self._chain.flush()
            for root in roots:
                if root.is_ancestor_of(self.tip):
                    self._disconnect_to(self.tip.ancestor(root.height - 1), disconnected)
            self.tree.exclude(roots)
            write_excluded(self._connection, [root.id for root in self.tree.excluded])
            self._chain.flush()
            first = self.tree.first_of_equals(read_sequences(self._connection, self.tree), self.tip)
            self._disconnect_to(fork_point(self.tip, first), disconnected)
            self.tree.offer_again(read_sequences(self._connection, self.tree), self.tip)
            moved, _ = self._follow_best(None)
        return Moved(disconnected + moved.disconnected, moved.connected)

    def block(self, block_id: Hash32) -> bytes | None:
        """Return a raw block, in the best chain or not, or None."""
        with self._reading():
            return self._archive.block(block_id)

    def get(self, point: OutPoint) -> Coin | None:
        """Return the coin that is unspent at the tip, or None."""
        with self._reading():
            return self._chain.coins.get(point)

    def preload(self, points: Iterable[OutPoint]) -> None:
        """Read coins that `get` will be asked for, many at a time."""
        with self._reading():
            self._chain.coins.find(points)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Commit only every so often inside, and at the end: for imports.

        A crash inside leaves the ledger as it was after some earlier block.
        """
        assert not self._batching, "batches do not nest"
        self._batching = True
        try:
            yield
        finally:
            self._batching = False
            if self.is_usable:
                with self._writing():
                    pass  # its end commits
                self._raise_taken_back()

    def close(self) -> None:
        """Let go of the database; what add_block returned from is committed."""
        self.is_usable = False
        self._opened.close()

    def _known(self, header: Header) -> Entry | None:
        if self.tree.is_invalid(header.id):
            raise InvalidError(Reason.KNOWN_INVALID)
        return self.tree.get(header.id)

    def _add_header(self, header: Header, now: int) -> Entry:
        parent = self.tree.get(header.previous)
        if parent is None:
            raise InvalidError(Reason.PARENT_MISSING, id_text(header.previous))
        if self.tree.is_invalid(parent.id):
            raise InvalidError(Reason.PARENT_INVALID, id_text(parent.id))
        check_header_context(header, parent, now, self.params)
        entry = Entry(header, parent)
        self.tree.add(entry)
        self._archive.add_header(entry)
        if self._early:
            self._latest.append(entry)
        return entry

    def _add_body(self, block: Block, entry: Entry) -> BlockAdded | InvalidError:
        assert entry.parent is not None, "genesis is stored"
        try:
            check_block_context(block, entry.parent)
        except InvalidError as refused:
            if not refused.reason.is_mutation:
                self._condemn(entry)
            return refused
        self._archive.add_block(block)
        for complete in self.tree.store(entry):
            sequence = self._archive.complete(complete)
            if complete.chain_work > self.tip.chain_work:
                self.tree.offer(complete, sequence)
        return self._activate_best(block, entry)

    def _activate_best(self, block: Block, entry: Entry) -> BlockAdded | InvalidError:
        """Move to the chain with the most work that holds; `entry`'s block just arrived.

        Bitcoin: ActivateBestChain.
        """
        moved, refusals = self._follow_best(block)
        error: InvalidError | None = None
        for refused in refusals:
            if refused.entry is entry:
                error = refused.cause
            elif refused.entry.is_ancestor_of(entry) and error is None:
                detail = f"{id_text(refused.entry.id)}: {refused.cause}"
                error = InvalidError(Reason.PARENT_INVALID, detail)
        return error or BlockAdded(entry, is_new=True, moved=moved)

    def _follow_best(self, arrived: Block | None) -> tuple[Moved, list[RefusedError]]:
        """Follow the candidate with the most work that holds; return who did not hold, too."""
        moved, refusals = Moved(), []
        while (target := self.tree.best_candidate(self.tip)) is not None:
            try:
                moved = self._advance(target, arrived)
            except RefusedError as refused:
                self._condemn(refused.entry)
                refusals.append(refused)
        return moved, refusals

    def _advance(self, target: Entry, arrived: Block | None) -> Moved:
        """Make `target` the tip; return what was disconnected and connected.

        Raises RefusedError; then everything is as it was.
        """
        if arrived and target.parent is self.tip and target.id == arrived.id:
            self._connect(arrived, target, early=self._early)
            return Moved(connected=MovedBlocks([arrived]))
        self._chain.own()
        self._chain.flush()
        tip, coins = self.tip, self._chain.coins.summed
        savepoint = self._connection.begin_nested()
        try:
            moved = self._reorganise(target, arrived)
            self._chain.flush()
        except RefusedError:
            savepoint.rollback()
            self._chain.revert(tip, coins)
            raise
        savepoint.commit()
        return moved

    def _reorganise(self, target: Entry, arrived: Block | None) -> Moved:
        fork = fork_point(self.tip, target)
        moved = Moved()
        self._disconnect_to(fork, moved.disconnected)
        for height in range(fork.height + 1, target.height + 1):
            entry = target.ancestor(height)
            block = arrived if arrived and entry.id == arrived.id else self._chain.read(entry)
            self._connect(block, entry)
            moved.connected.add(block, partial(self._read_again, entry))
            self._flush_if_large()
        return moved

    def _disconnect_to(self, entry: Entry, disconnected: MovedBlocks) -> None:
        while (old := self.tip) is not entry:
            disconnected.add(self._chain.disconnect(), partial(self._read_again, old))
            self._flush_if_large()

    def _read_again(self, entry: Entry) -> Block:
        with self._reading():
            return self._chain.read(entry)

    def _connect(self, block: Block, entry: Entry, *, early: bool = False) -> None:
        try:
            self._chain.connect(block, entry, early=early)
        except InvalidError as error:
            raise RefusedError(entry, error) from error

    def _condemn(self, entry: Entry, never_came: Sequence[Entry] = ()) -> None:
        self._chain.own()
        self._archive.condemn(self.tree.condemn(entry))
        self._archive.forget(self.tree.forget(never_came))
        self._archive.forget(self.tree.forget_invalid())

    def _settle(self, at_most: int = 0) -> None:
        refused = self._chain.settle(at_most)
        if refused is None:
            return
        entry, error = refused
        self._chain.own()
        self._chain.flush()
        while self.tip is not entry.parent:
            self._chain.disconnect()
        never_came = [e for e in self._latest if entry is not e and entry.is_ancestor_of(e)]
        self._latest.clear()
        self._condemn(entry, never_came)
        self._taken_back = TakenBackError(entry, error)

    def _raise_taken_back(self) -> None:
        if self._taken_back is not None:
            error, self._taken_back = self._taken_back, None
            raise error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Run one change as one transaction, or as part of a batch's; fail for good if it fails."""
        self._check_usable()
        with ExitStack() as failing:
            failing.callback(self.close)  # whatever it is that goes wrong
            try:
                if not self._early:
                    self._chain.own()
                yield
                self._settle(UNSETTLED_BLOCKS_MAX)
                if not self._batching or (self._is_large() and not self._chain.hand_over()):
                    self._commit()
            except (SQLAlchemyError, DamagedError, MemoryError) as error:
                raise DatabaseFailedError(f"the ledger failed: {first_line(error)}") from error
            failing.pop_all()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Run reads, leaving no transaction open behind them that was not open before."""
        self._check_usable()
        try:
            self._chain.finish_writing()
            was_open = self._connection.in_transaction()
            yield
            if not was_open:
                self._connection.rollback()
        except (SQLAlchemyError, DamagedError) as error:
            self.close()
            raise DatabaseFailedError(f"the ledger failed: {first_line(error)}") from error

    def _commit(self) -> None:
        self._chain.own()
        self._chain.flush()
        self._settle()
        self._chain.flush()
        self._chain.commit()

    def _check_usable(self) -> None:
        if not self.is_usable:
            raise DatabaseFailedError("the ledger was closed, or failed before: open it anew")

    def _is_large(self) -> bool:
        rows, size = self._chain.waiting, self._archive.waiting_bytes
        return rows >= BATCH_ROWS_MAX or size >= BATCH_BYTES_MAX

    def _flush_if_large(self) -> None:
        if self._is_large():
            self._chain.flush()
