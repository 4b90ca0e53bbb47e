"""The node's core: ledger and mempool, changed and published together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError
from chain.consensus.params import identity_before_scripts, network_identity
from chain.ledger.ledger import Ledger
from chain.ledger.outcomes import BlockAdded, ChainMove, HeadersAdded, MovedBlock, MovedBlocks
from chain.node.admission import INPUTS_MAX, Candidate, missing_parents
from chain.node.entry import PoolEntry
from chain.node.fees import BLOCKS_REMEMBERED, block_feerate_min
from chain.node.mempool import Mempool, Removal, RemovalReason, Reorganisation
from chain.node.policy import Policy, PolicyError, PolicyReason
from chain.node.pool import Pool, PoolCoins
from chain.node.pool_file import decode_pool, encode_pool
from chain.node.proposal import check_proposal
from chain.node.selection import select
from chain.node.template import TEMPLATE_ROOM, Template, find_invalid_entry, template_time
from chain.primitives.block import Block, Header
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
    has_other_fees: bool = False  # the owner set a fee delta, or a block removed some


@dataclass(frozen=True, slots=True)
class PoolLoaded:
    """The result of loading a pool file."""

    added: int
    expired: int
    refused: int  # confirmed since, or no longer valid


class Node:
    """All changes of ledger and mempool; one thread calls it, any thread reads `view`.

    `listeners` are called on that thread, after each publication.
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

    @property
    def policy(self) -> Policy:
        """The owner's limits."""
        return self._mempool.policy

    def feerate_min(self, now: int) -> int:
        """Return the lowest feerate that the pool accepts now, in grains per 1000 vB."""
        return self._mempool.feerate_min(now)

    def submit_headers(self, headers: Sequence[Header], now: int) -> HeadersAdded:
        """Add headers to the tree, each the child of the one before."""
        added = self._ledger.add_headers(headers, now)
        self._publish_header()
        return added

    def submit_block(self, block: Block, now: int) -> BlockAdded:
        """Add a block; publish the new tip and its mempool, if the tip changed.

        Raises InvalidError; the header may have been added nevertheless.
        """
        try:
            added = self._ledger.add_block(block, now)
        except InvalidError:
            assert self._ledger.tip == self.view.tip, "a block that is refused moves no tip"
            self._publish_header()
            raise
        self._move(added.moved, now)
        return added

    def submit_blocks(self, blocks: Sequence[Block], now: int) -> list[InvalidError | None]:
        """Add blocks in order; return for each the error, or None if it was accepted.

        Blocks that extend the tip are committed and published together.
        """
        refusals: list[InvalidError | None] = []
        while rest := blocks[len(refusals) :]:
            chain_refusals = self._extend(rest, now) if len(rest) > 1 else []
            refusals += chain_refusals or [self._refusal(rest[0], now)]
        return refusals

    def invalidate_block(self, entry: BlockTreeEntry, now: int) -> None:
        """Exclude a block and its descendants; publish the best remaining chain.

        Raises ExclusionError.
        """
        self._move(self._ledger.invalidate(entry), now)

    def reconsider_block(self, entry: BlockTreeEntry, now: int) -> None:
        """Undo the exclusion of a block, its ancestors and descendants; publish the best chain."""
        self._move(self._ledger.reconsider(entry), now)

    def mark_precious(self, entry: BlockTreeEntry, now: int) -> None:
        """Treat a block as if it had arrived before others of equal work, until a restart.

        A branch that turns out to be invalid when it is connected is not followed.
        """
        self._move(self._ledger.mark_precious(entry), now)

    def submit_transaction(self, transaction: Transaction, now: int) -> PoolEntry:
        """Add a transaction to the mempool. Raises InvalidError or PolicyError."""
        expired = self._mempool.expire(now)
        if expired:
            self._publish(ChainStateUpdate(self._next_view(), removed=tuple(expired)))
        candidate = self._examine(transaction, now)
        return self._add(candidate, now)

    def prioritise(self, txid: Hash32, grains: int) -> None:
        """Add to a transaction's fee delta; the transaction may arrive later.

        Deltas add up. Raises DeltasFullError.
        """
        self._mempool.prioritise(txid, grains)
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
            self._publish(ChainStateUpdate(self._next_view(), removed=tuple(removed)))

    def read_block(self, block_id: Hash32) -> bytes | None:
        """Return the bytes of a stored block, on any branch."""
        return self._ledger.block(block_id)

    def read_headers(
        self, locator: Sequence[Hash32], stop: Hash32, limit: int = HEADERS_READ_MAX
    ) -> list[Header]:
        """Return headers of the best chain after the first id of `locator` that is on it.

        From genesis if none is; up to and including `stop`, and at most `limit`. An empty locator
        asks for the header `stop` itself. Bitcoin: getheaders in ProcessMessage.
        """
        tree, tip = self._ledger.tree, self.view.tip
        if not locator:
            requested = tree.get(stop)
            return [] if requested is None else [requested.header]
        known = (tree.get(block_id) for block_id in locator)
        start = next((e for e in known if e is not None and e.is_ancestor_of(tip)), tree.genesis)
        last = tip.ancestor(min(start.height + limit, tip.height))
        found = []
        while last != start:
            found.append(last.header)
            assert last.parent is not None, "the start is on the way to genesis"
            last = last.parent
        found.reverse()
        for index, header in enumerate(found):
            if header.id == stop:
                return found[: index + 1]
        return found

    def dump_pool(self) -> bytes:
        """Return the bytes of mempool.dat."""
        return encode_pool(self.view.pool.entries(), self._identity, self.deltas())

    def load_pool(self, data: bytes, now: int) -> PoolLoaded:
        """Add the transactions of a mempool.dat, with their original times.

        For a node that was just opened. Raises, with nothing changed, DecodeError or
        WrongPoolNetworkError; DeltasFullError: the file's deltas do not fit beside those already
        set.
        """
        loaded = decode_pool(data, {self._identity, identity_before_scripts(self._params)})
        for txid, grains in loaded.deltas.items():  # first: fees are compared with them
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

    def _extend(self, blocks: Sequence[Block], now: int) -> list[InvalidError | None]:
        """Add those of `blocks` that extend the tip one after the other."""
        extending = takewhile(lambda block: block.header.previous == self._ledger.tip.id, blocks)
        verdicts = list(self._ledger.add_blocks(extending, now))
        added = [verdict.added for verdict in verdicts if verdict.added is not None]
        assert not any(one.disconnected for one in added), "what leads on takes nothing off"
        connected = sum((one.connected for one in added), MovedBlocks())
        self._move(ChainMove(connected=connected), now)
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

    def _add(self, candidate: Candidate, now: int) -> PoolEntry:
        """Add a candidate and publish. Raises PolicyError: POOL_FULL."""
        entry = candidate.entry
        removed = self._mempool.add(candidate, now)
        is_added = all(removal.entry is not entry for removal in removed)
        others_removed = tuple(removal for removal in removed if removal.entry is not entry)
        if is_added or others_removed:
            added = (entry,) if is_added else ()
            self._publish(ChainStateUpdate(self._next_view(), added=added, removed=others_removed))
        if not is_added:
            raise PolicyError(PolicyReason.POOL_FULL)
        self._ledger.verified.add(entry.wtxid)  # its block will connect faster
        return entry

    def _move(self, move: ChainMove, now: int) -> None:
        if move.connected or move.disconnected:
            self._change_tip(move, now)
        else:
            self._publish_header()

    def _change_tip(self, move: ChainMove, now: int) -> None:
        """Publish a tip that the ledger has committed, with its pool."""
        ledger = self._ledger
        returned: list[PoolEntry] = []
        delta_count = len(self._mempool.deltas)
        if move.disconnected:
            change = Reorganisation(move.disconnected, move.connected, ledger.tip, ledger)
            returned, removed = self._mempool.reorganise(change, now)
        else:
            removed = self._mempool.connect(move.connected, ledger.tip, now)
        self._record_block_feerate(move, removed)
        expired = self._mempool.expire(now)
        self._publish(
            ChainStateUpdate(
                self._next_view(),
                tuple(move.connected.summaries),
                tuple(move.disconnected.summaries),
                tuple(returned),
                (*removed, *expired),
                has_other_fees=len(self._mempool.deltas) < delta_count,
            )
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
