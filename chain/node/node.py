"""The node's core: ledger and mempool, changed and published together."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError
from chain.consensus.params import identity_before_scripts, network_identity
from chain.ledger.db.pool_rows import PoolChanges, read_saved_rows
from chain.ledger.garbage import rare_collections
from chain.ledger.ledger import Ledger
from chain.ledger.outcomes import BlockAdded, ChainMove, HeadersAdded, MovedBlock
from chain.node.admission import INPUTS_MAX, Candidate, missing_parents
from chain.node.entry import PoolEntry
from chain.node.fees import BLOCKS_REMEMBERED, block_feerate_min
from chain.node.mempool import Mempool, Removal, RemovalReason, Reorganisation
from chain.node.policy import Policy, PolicyError, PolicyReason
from chain.node.pool import Pool, PoolCoins
from chain.node.pool_file import decode_pool, encode_pool
from chain.node.pool_store import PoolStore, SavedEntry, saved_deltas
from chain.node.proposal import check_proposal
from chain.node.saved_state import NodeState, SavedState, decode_state
from chain.node.selection import select
from chain.node.template import TEMPLATE_ROOM, Template, find_invalid_entry, template_time
from chain.primitives.block import Block, Header, RawHeaders
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction

HEADERS_READ_MAX: Final = 2000  # Bitcoin: MAX_HEADERS_RESULTS


@dataclass(frozen=True, slots=True)
class View:
    """Tip and mempool at one instant, for any thread. `pool` is valid on top of `tip`."""

    tip: BlockTreeEntry
    best_header: BlockTreeEntry
    pool: Pool
    sequence: int  # increases with each view
    block_feerates: tuple[int, ...] = ()  # block_feerate_min of the last blocks, newest first


@dataclass(frozen=True, slots=True)
class ChainStateUpdate:
    """The changes that led to a new view."""

    view: View
    connected: tuple[MovedBlock, ...] = ()  # in chain order
    disconnected: tuple[MovedBlock, ...] = ()  # tip first
    added: tuple[PoolEntry, ...] = ()
    removed: tuple[Removal, ...] = ()
    dropped: tuple[Hash32, ...] = ()  # txids of disconnected blocks that were not readmitted
    has_other_fees: bool = False  # the owner set a fee delta, or a block removed some


@dataclass(frozen=True, slots=True)
class PoolLoaded:
    """The result of loading transactions from the database or a pool file."""

    added: int
    expired: int
    refused: int  # confirmed since, or no longer valid


@dataclass(slots=True)
class _Unpublished:
    """Changes of chain and pool in the commits of one call, until they are published."""

    connected: list[MovedBlock] = field(default_factory=list)
    disconnected: list[MovedBlock] = field(default_factory=list)
    added: list[PoolEntry] = field(default_factory=list)
    removed: list[Removal] = field(default_factory=list)
    dropped: list[Hash32] = field(default_factory=list)
    has_other_fees: bool = False

    def move(self, move: ChainMove) -> None:
        """Add a move; a block that only this call connected leaves no trace."""
        for block in move.disconnected.summaries:
            if self.connected:
                self.connected.pop()
            else:
                self.disconnected.append(block)
        self.connected += move.connected.summaries

    def update(self, view: View) -> ChainStateUpdate:
        """Return what led to `view`."""
        return ChainStateUpdate(
            view,
            tuple(self.connected),
            tuple(self.disconnected),
            tuple(self.added),
            tuple(self.removed),
            tuple(self.dropped),
            has_other_fees=self.has_other_fees,
        )


class Node:
    """All changes of ledger and mempool; one thread calls it, any thread reads `view`.

    `listeners` are called on that thread, after each publication. The pool's rows are in the
    ledger's database: a commit that moves the tip has the rows of the pool on it, and `save_pool`
    commits what came in between.
    """

    def __init__(self, ledger: Ledger, policy: Policy) -> None:
        self.listeners: list[Callable[[ChainStateUpdate], None]] = []
        self._ledger = ledger
        self._params = ledger.params
        self._identity = network_identity(ledger.params)
        self._mempool = Mempool(ledger.params, policy)
        self._block_feerates: tuple[int, ...] = ()
        self._selected: tuple[int, tuple[PoolEntry, ...]] = (-1, ())  # a view's, and what it gave
        self.view = self._next_view(0)
        self._store = PoolStore()
        self._unpublished: _Unpublished | None = None
        self._now = 0  # of the call under way
        self.pool_copy = b""  # pool_checksum of a pool file that is not to be loaded
        ledger.set_commit_hook(self)

    @property
    def policy(self) -> Policy:
        """The owner's limits."""
        return self._mempool.policy

    def feerate_min(self, now: int) -> int:
        """Return the lowest feerate that the pool accepts now, in grains per 1000 vB."""
        return self._mempool.feerate_min(now)

    def submit_headers(self, headers: Sequence[Header], now: int) -> HeadersAdded:
        """Add headers to the tree, each the child of the one before."""
        self._now = now
        added = self._ledger.add_headers(headers, now)
        self._publish_header()
        return added

    def submit_block(self, block: Block, now: int) -> BlockAdded:
        """Add a block; publish the new tip and its mempool, if the tip changed.

        Raises InvalidError; the header may have been added nevertheless.
        """
        self._now = now
        try:
            return self._ledger.add_block(block, now)
        finally:
            if self._ledger.is_usable:
                self._publish_move()

    def submit_blocks(
        self, blocks: Sequence[Block], now: int, is_stopping: Callable[[], bool] = lambda: False
    ) -> list[InvalidError | None]:
        """Add blocks in order; return for each the error, or None if it was accepted.

        Blocks that extend the tip are committed and published together. Once `is_stopping` returns
        true, what was begun is committed, the other blocks are left out, and the list is shorter.
        """
        refusals: list[InvalidError | None] = []
        while (rest := blocks[len(refusals) :]) and not is_stopping():
            chain_refusals = self._extend(rest, now, is_stopping) if len(rest) > 1 else []
            refusals += chain_refusals or [self._refusal(rest[0], now)]
        return refusals

    def invalidate_block(self, entry: BlockTreeEntry, now: int) -> None:
        """Exclude a block and its descendants; publish the best remaining chain.

        Raises ExclusionError.
        """
        self._now = now
        self._ledger.invalidate(entry)
        self._publish_move()

    def reconsider_block(self, entry: BlockTreeEntry, now: int) -> None:
        """Undo the exclusion of a block, its ancestors and descendants; publish the best chain."""
        self._now = now
        self._ledger.reconsider(entry)
        self._publish_move()

    def mark_precious(self, entry: BlockTreeEntry, now: int) -> None:
        """Treat a block as if it had arrived before others of equal work, until a restart.

        A branch that turns out to be invalid when it is connected is not followed.
        """
        self._now = now
        self._ledger.mark_precious(entry)
        self._publish_move()

    def submit_transaction(self, transaction: Transaction, now: int) -> PoolEntry:
        """Add a transaction to the mempool. Raises InvalidError or PolicyError."""
        expired = self._mempool.expire(now)
        if expired:
            self._publish_removals(expired)
        candidate = self._examine(transaction, now)
        return self._add(candidate, now)

    def prioritise(self, txid: Hash32, grains: int) -> None:
        """Add to a transaction's fee delta; the transaction may arrive later.

        Deltas add up. Raises DeltasFullError.
        """
        self._mempool.prioritise(txid, grains)
        self._store.reprice(self._mempool.deltas.take_changed())
        self._publish(ChainStateUpdate(self._next_view(), has_other_fees=True))

    def deltas(self) -> dict[Hash32, int]:
        """Return the fee deltas by txid. Any thread."""
        return self._mempool.deltas.all()

    def test_transaction(self, transaction: Transaction, now: int) -> PoolEntry:
        """Return what submit_transaction would add, or raise what it would; changes nothing.

        It does not detect that a full pool would evict the newcomer itself.
        """
        return self._examine(transaction, now).entry

    def test_block(self, block: Block, now: int) -> None:
        """Raise what submit_block would for a child of the tip if it had its work; change nothing.

        Raises InvalidError; PARENT_MISSING also for a child of another block.
        """
        check_proposal(block, self._ledger, now)

    def missing_parents(self, transaction: Transaction) -> list[Hash32]:
        """Return the txids of the spent coins that neither pool nor ledger knows."""
        return missing_parents(transaction, PoolCoins(self._mempool.pool, self._ledger))

    def template(self, script: bytes, now: int) -> Template:
        """Return the best-paying valid block on the tip, its coinbase paying to `script`.

        Raises InvalidError: TIME_TOO_NEW, if no block can be made until the clock advances.
        """
        time = template_time(self.view.tip, now, self._params)
        while True:
            template = Template(self._params, self.view.tip, script, self._select(), time)
            if self._selected[0] == self.view.sequence:
                return template
            invalid_entry = find_invalid_entry(template, self._ledger)
            if invalid_entry is None:
                self._selected = (self.view.sequence, template.entries)
                return template
            removed = self._mempool.drop(invalid_entry.txid)  # mine on without it
            self._publish_removals(removed)

    def read_blocks(self, block_ids: Sequence[Hash32], bytes_max: int) -> list[bytes | None]:
        """Return the bytes of the first of these blocks, on any branch; None: not stored.

        At least one, and of the others as many as fit into `bytes_max` with it.
        """
        return self._ledger.blocks(block_ids, bytes_max)

    def read_headers(
        self, locator: Sequence[Hash32], stop: Hash32, limit: int = HEADERS_READ_MAX
    ) -> Sequence[Header]:
        """Return headers of the best chain after the first id of `locator` that is on it.

        From genesis if none is; up to and including `stop`, and at most `limit`. An empty locator
        asks for the header `stop` itself. Bitcoin: getheaders in ProcessMessage.
        """
        tree, tip = self._ledger.tree, self.view.tip
        if not locator:
            requested = tree.get(stop)
            return () if requested is None else (requested.header,)
        known = (tree.get(block_id) for block_id in locator)
        start = next((e for e in known if e is not None and e.is_ancestor_of(tip)), tree.genesis)
        last = tip.ancestor(min(start.height + limit, tip.height))
        end = tree.get(stop)
        if end is not None and end.height > start.height and end.is_ancestor_of(last):
            last = end
        return RawHeaders(last.raw_headers(start.height))

    @property
    def unsaved(self) -> int:
        """How many changes of the pool are not in the database yet. Any thread."""
        return self._store.pending

    @property
    def unsaved_bytes(self) -> int:
        """How large the transactions among these changes are. Any thread."""
        return self._store.pending_bytes

    def save_pool(self, now: int, *, is_durable: bool) -> None:
        """Commit the pool's changes since the last commit.

        Unless it `is_durable`, a power cut may lose them; a kill of the process does not.
        """
        self._now = now
        self._ledger.save(is_durable=is_durable)

    def before_commit(self, move: ChainMove, sequence: int) -> PoolChanges:
        """Move the pool with the tip; return the rows of both: the ledger's CommitHook."""
        if move.connected or move.disconnected:
            self._move(move)
        self._store.reprice(self._mempool.deltas.take_changed())
        return self._store.take(sequence, self._now, self._state().encode())

    def restore_pool(self, now: int) -> PoolLoaded:
        """Load the pool of the database, with its original times, fee deltas and fee rates.

        For a node that was just opened. What is refused is deleted with the next commit.
        """
        saved = self._ledger.read(read_saved_rows)
        entries = self._store.resume(saved)
        for txid, grains in saved_deltas(saved).items():  # first: fees are compared with them
            self._mempool.prioritise(txid, grains)
        self._mempool.deltas.take_changed()  # the database has them
        added = expired = refused = 0
        for entry in entries:
            if entry.transaction is not None and entry.time <= now - self.policy.expiry_s:
                self._store.drop(entry, RemovalReason.EXPIRED)
                expired += 1
            elif self._restore(entry, now):
                added += 1
            else:
                self._store.drop(entry, RemovalReason.REORGANISED)
                refused += 1
        self._resume(decode_state(saved.state))
        return PoolLoaded(added, expired, refused)

    def dump_pool(self) -> bytes:
        """Return the bytes of mempool.dat."""
        return encode_pool(self.view.pool.entries(), self._identity, self.deltas())

    def load_pool(self, data: bytes, now: int) -> PoolLoaded:
        """Add the transactions of a mempool.dat, with their original times.

        A fee delta that is set already stays. Raises, with nothing changed, DecodeError or
        WrongPoolNetworkError; DeltasFullError: the file's deltas do not fit beside those already
        set.
        """
        loaded = decode_pool(data, {self._identity, identity_before_scripts(self._params)})
        for txid, grains in loaded.deltas.items():  # first: fees are compared with them
            if not self._mempool.deltas.get(txid):
                self._mempool.prioritise(txid, grains)
        added = expired = refused = 0
        for saved in loaded.transactions:
            if saved.time <= now - self.policy.expiry_s:
                expired += 1
                continue
            try:
                candidate = self._examine(saved.transaction, now)
                candidate.entry.time = min(saved.time, now)
                self._add(candidate, now)
            except (InvalidError, PolicyError):
                refused += 1
            else:
                added += 1
        return PoolLoaded(added, expired, refused)

    def _extend(
        self, blocks: Sequence[Block], now: int, is_stopping: Callable[[], bool]
    ) -> list[InvalidError | None]:
        """Add those of `blocks` that extend the tip one after the other."""
        last_ids = (self._ledger.tip.id, *[block.id for block in blocks])
        pairs = zip(blocks, last_ids, strict=False)
        extending = takewhile(
            lambda pair: pair[0].header.previous == pair[1] and not is_stopping(), pairs
        )
        self._now = now
        with rare_collections() if len(blocks) > 1 else nullcontext():
            verdicts = list(self._ledger.add_blocks((block for block, _ in extending), now))
        self._publish_move()
        return [verdict.error for verdict in verdicts]

    def _refusal(self, block: Block, now: int) -> InvalidError | None:
        try:
            self.submit_block(block, now)
        except InvalidError as refused:
            return refused
        return None

    def _examine(self, transaction: Transaction, now: int) -> Candidate:
        if len(transaction.inputs) <= INPUTS_MAX:  # others are refused before their coins matter
            self._ledger.preload([txin.outpoint for txin in transaction.inputs])
        return self._mempool.examine(transaction, self.view.tip, self._ledger, now)

    def _restore(self, saved: SavedEntry, now: int) -> bool:
        """Add a transaction that has a row already; return whether it is still allowed."""
        if saved.transaction is None:
            return False
        try:
            candidate = self._examine(saved.transaction, now)
            entry = candidate.entry
            entry.time, entry.height = min(saved.time, now), min(saved.height, self.view.tip.height)
            entry.row = saved.number
            self._add(candidate, now)
        except (InvalidError, PolicyError):
            return False
        self._store.restore(entry, saved)
        return True

    def _resume(self, saved: SavedState) -> None:
        """Continue from an earlier node's state; its feerates are valid only at its tip."""
        self.pool_copy = saved.pool_copy
        if saved.pool_tip == self._ledger.tip.id:
            self._block_feerates = saved.block_feerates
            self._mempool.rolling.restore(saved.rolling_rate, saved.rolling_since)
            self._publish(ChainStateUpdate(self._next_view()))

    def _add(self, candidate: Candidate, now: int) -> PoolEntry:
        """Add a candidate and publish. Raises PolicyError: POOL_FULL."""
        entry = candidate.entry
        removed = self._mempool.add(candidate, now)
        is_added = all(removal.entry is not entry for removal in removed)
        others_removed = tuple(removal for removal in removed if removal.entry is not entry)
        self._store.remove(others_removed)
        if is_added:
            self._store.add(entry)
        if is_added or others_removed:
            added = (entry,) if is_added else ()
            self._publish(ChainStateUpdate(self._next_view(), added=added, removed=others_removed))
        if not is_added:
            raise PolicyError(PolicyReason.POOL_FULL)
        self._ledger.verified.add(entry.wtxid)  # its block will connect faster
        return entry

    def _move(self, move: ChainMove) -> None:
        """Move the pool to the ledger's new tip, which is committed and published afterwards."""
        ledger, now = self._ledger, self._now
        returned: list[PoolEntry] = []
        dropped: list[Hash32] = []
        delta_count = len(self._mempool.deltas)
        unpublished = self._unpublished = self._unpublished or _Unpublished()
        if move.disconnected:
            # What this call itself connected may have wrong signatures: verify them again.
            is_verified = not unpublished.connected
            change = Reorganisation(
                move.disconnected, move.connected, ledger.tip, ledger, is_verified
            )
            returned, removed, dropped = self._mempool.reorganise(change, now)
        else:
            removed = self._mempool.connect(move.connected, ledger.tip, now)
        self._record_block_feerate(move, removed)
        removed += self._mempool.expire(now)
        self._store.move(*(map(_id_of, of.summaries) for of in (move.disconnected, move.connected)))
        self._store.confirm(move.connected)
        self._store.remove(removed)
        self._store.note_dropped(dropped)
        self._store.prepend(returned)
        unpublished.move(move)
        unpublished.added += returned
        unpublished.removed += removed
        unpublished.dropped += dropped
        unpublished.has_other_fees |= len(self._mempool.deltas) < delta_count

    def _publish_move(self) -> None:
        """Publish the tip that the ledger has committed, with its pool."""
        unpublished, self._unpublished = self._unpublished, None
        if unpublished is None:
            self._publish_header()
        else:
            self._publish(unpublished.update(self._next_view()))

    def _publish_removals(self, removed: Sequence[Removal]) -> None:
        self._store.remove(removed)
        self._publish(ChainStateUpdate(self._next_view(), removed=tuple(removed)))

    def _state(self) -> NodeState:
        rate, since = self._mempool.rolling.state
        return NodeState(
            pool_tip=self._ledger.tip.id,
            best_header=self._ledger.tree.best_header.id,
            block_feerates=self._block_feerates,
            rolling_rate=rate,
            rolling_since=since,
            policy=self.policy,
            pool_copy=self.pool_copy,
        )

    def _record_block_feerate(self, move: ChainMove, removed: Sequence[Removal]) -> None:
        confirmed = {r.entry.txid: r.entry for r in removed if r.reason is RemovalReason.CONFIRMED}
        remaining = self._block_feerates[len(move.disconnected) :]
        newest = islice(reversed(move.connected), BLOCKS_REMEMBERED)
        new = tuple(block_feerate_min(block, confirmed) for block in newest)
        self._block_feerates = (*new, *remaining)[:BLOCKS_REMEMBERED]

    def _select(self) -> tuple[PoolEntry, ...]:
        """Return the entries of the next block; the same until the view changes."""
        sequence, entries = self._selected
        if sequence == self.view.sequence:
            return entries
        return tuple(select(self._mempool.pool, TEMPLATE_ROOM))

    def _publish_header(self) -> None:
        """Publish a new best header; the blocks are unchanged."""
        if self._ledger.tree.best_header != self.view.best_header:
            self._publish(ChainStateUpdate(self._next_view()))

    def _next_view(self, sequence: int | None = None) -> View:
        return View(
            tip=self._ledger.tip,
            best_header=self._ledger.tree.best_header,
            pool=self._mempool.pool,
            sequence=self.view.sequence + 1 if sequence is None else sequence,
            block_feerates=self._block_feerates,
        )

    def _publish(self, change: ChainStateUpdate) -> None:
        self.view = change.view
        for listener in tuple(self.listeners):
            listener(change)


def _id_of(block: MovedBlock) -> Hash32:
    return block.id
