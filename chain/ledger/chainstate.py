"""Block tree and best chain: validates and stores headers and blocks, and follows the most work.

Bitcoin: Chainstate. Except for `extend`, the caller has opened a transaction and waited for all
signatures. Nothing here begins or commits a transaction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Final

from sqlalchemy import Connection

from chain.consensus.block_validation import check_block, check_block_context
from chain.consensus.entry import BlockTreeEntry, fork_point
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.header import check_header_context, check_header_work
from chain.consensus.header_run import are_valid
from chain.consensus.params import Params
from chain.ledger.chain_tip import ChainTip
from chain.ledger.db.exclusion import read_sequences, write_excluded
from chain.ledger.outcomes import BlockAdded, ChainMove, MovedBlocks, RefusedError
from chain.ledger.signature_verifier import Verification
from chain.ledger.timing import BlockTiming, Lap
from chain.ledger.tree import HeaderTree
from chain.primitives.block import Block, Header, RawHeaders
from chain.primitives.compact import work_from_bits
from chain.primitives.numbers import id_text


@dataclass(slots=True)
class Extension:
    """A block that became the tip before its signatures were verified."""

    added: Final[BlockAdded]
    is_header_new: Final[bool]  # added together with the block
    verification: Final[Verification]
    timing: Final[BlockTiming]


class Chainstate:
    """The header tree, the stored blocks and the best chain among them, kept consistent."""

    def __init__(
        self,
        connection: Connection,
        params: Params,
        tree: HeaderTree,
        chain: ChainTip,
        read_again: Callable[[BlockTreeEntry], Block],
    ) -> None:
        """Follow `chain`; `read_again` reads a moved block that is no longer in memory."""
        self._connection = connection
        self._params = params
        self._tree = tree
        self._chain = chain
        self._archive = chain.archive
        self._read_again = read_again

    @property
    def tip(self) -> BlockTreeEntry:
        """The last block of the best chain."""
        return self._chain.tip

    def known(self, header: Header) -> BlockTreeEntry | None:
        """Return a header's entry, or None if it is new. Raises InvalidError: KNOWN_INVALID."""
        if self._tree.is_invalid(header.id):
            raise InvalidError(Reason.KNOWN_INVALID)
        return self._tree.get(header.id)

    def add_header(
        self, header: Header, now: int, parent: BlockTreeEntry | None = None
    ) -> BlockTreeEntry:
        """Add a header whose proof of work was checked; `parent`, if it was just added.

        Raises InvalidError: PARENT_MISSING, PARENT_INVALID, those of check_header_context.
        """
        entry = self._new_entry(header, now, parent or self._valid_parent(header))
        self._store_header(entry)
        return entry

    def add_headers(self, headers: RawHeaders, now: int) -> BlockTreeEntry | None:
        """Add new headers upon the best one, and return the last; None: add them one by one."""
        parent = self._tree.best_header
        # The tree knows excluded headers by their ids, even if it has forgotten the headers.
        if self._tree.excluded or self._tree.get(headers.ids[0]) is not None:
            return None
        if not are_valid(headers, parent, now, self._params):
            return None
        own_work = (work_from_bits(bits) for _, _, bits in headers.columns())
        _, *works = accumulate(own_work, initial=parent.chain_work)
        self._archive.add_headers(headers, parent.height + 1, works)
        self._tree.add_run(parent, headers.raw)
        return self._tree.best_header

    def find(self, block: Block) -> BlockAdded | None:
        """Return the outcome of a block that is stored already, or None; nothing changes.

        Raises InvalidError: those of check_block, KNOWN_INVALID.
        """
        lap = Lap()
        check_block(block, self._params)
        self._chain.timer.of(block.id).check_s += lap()
        entry = self.known(block.header)
        if entry is not None and self._tree.is_stored(entry.id):
            return BlockAdded(entry, is_new=False)
        return None

    def add_block(self, block: Block, now: int) -> BlockAdded:
        """Add a block for which `find` returned None, and follow the most work.

        Raises InvalidError: those of add_header, check_block_context and connect_block, SCRIPT.
        """
        entry = self.known(block.header) or self.add_header(block.header, now)
        assert entry.parent is not None, "genesis is stored"
        lap = Lap()
        try:
            check_block_context(block, entry.parent)
        except InvalidError as refused:
            if not refused.reason.is_mutation:
                self._mark_invalid(entry)
            raise
        self._chain.timer.of(block.id).check_s += lap()
        self._store_body(block, entry)
        return self._activate_best(block, entry)

    def extends_tip(self, block: Block) -> bool:
        """Return whether a block is a new child of the tip without stored descendants."""
        if block.header.previous != self._chain.tip.id or self._tree.is_awaited(block.id):
            return False
        return not self._tree.is_stored(block.id)

    def extend(self, block: Block, now: int) -> Extension:
        """Connect a block that `extends_tip`, and start to verify its signatures.

        Needs no transaction. Raises InvalidError as find and add_block do, except SCRIPT; then
        nothing was changed.
        """
        timing, lap = self._chain.timer.of(block.id), Lap()
        check_block(block, self._params)
        known = self.known(block.header)
        entry = known or self._new_entry(block.header, now, self.tip)
        check_block_context(block, self.tip)
        timing.check_s += lap()
        verification = self._chain.connect(block, entry, deferred=True)
        if known is None:
            self._store_header(entry)
        self._store_body(block, entry)
        added = BlockAdded(entry, is_new=True, move=block)
        return Extension(added, known is None, verification, timing)

    def extend_run(self, blocks: Sequence[Block], times: Sequence[int]) -> list[Extension] | None:
        """Connect small blocks, one upon the other, as `extend` does; `times` are those of `now`.

        None: nothing was changed, and they have to be added one by one.
        """
        parent, entries, are_new = self.tip, [], []
        try:
            for block, now in zip(blocks, times, strict=True):
                known = self.known(block.header)
                if known is None:
                    check_header_work(block.header, self._params)
                are_new.append(known is None)
                parent = known or self._new_entry(block.header, now, parent)
                entries.append(parent)
        except InvalidError:
            return None
        if not self._tree.can_store_run(entries):
            return None
        connected = self._chain.connect_run(blocks, entries)
        if connected is None:
            return None
        extensions = []
        for block, entry, is_new, pending in zip(blocks, entries, are_new, connected, strict=True):
            if is_new:
                self._store_header(entry)
            self._archive.add_block(block)
            self._archive.complete(entry)
            added = BlockAdded(entry, is_new=True, move=block)
            extensions.append(Extension(added, is_new, *pending))
        self._tree.store_run(entries)  # only now that other threads find their headers
        return extensions

    def disconnect_invalid(self, entry: BlockTreeEntry, unseen: Sequence[BlockTreeEntry]) -> None:
        """Disconnect a block with a wrong signature, and the blocks that build on it.

        The block and its descendants are marked as invalid, but the headers `unseen` are forgotten
        as if they had never been received.
        """
        self._chain.flush()
        while self.tip != entry.parent:
            self._chain.disconnect()
        self._mark_invalid(entry, unseen)

    def exclude(self, roots: Sequence[BlockTreeEntry]) -> ChainMove:
        """Exclude only these blocks and their descendants; follow the most work elsewhere."""
        disconnected = MovedBlocks()
        self._chain.flush()
        for root in roots:
            if root.is_ancestor_of(self.tip):
                self._disconnect_to(self.tip.ancestor(root.height - 1), disconnected)
        self._tree.exclude(roots)
        write_excluded(self._connection, [root.id for root in self._tree.excluded])
        self._chain.flush()
        first = self._tree.first_received(self._rivals(), self.tip)
        self._disconnect_to(fork_point(self.tip, first), disconnected)
        self._tree.add_candidates(self._rivals(), self.tip)
        moved, _ = self._follow_best(None)
        return ChainMove(disconnected + moved.disconnected, moved.connected)

    def mark_precious(self, entry: BlockTreeEntry) -> ChainMove:
        """Follow a block as if it had been received before others with the same work."""
        self._tree.mark_precious(entry, self.tip)
        return self._follow_best(None)[0]

    def bury(self) -> None:
        """Move headers far below the tip into the tree's columns; their pages are written later."""
        unchanged = self._tree.bury(self.tip)
        self._archive.add_pages(unchanged, self._tree.columns.pages)

    def _rivals(self) -> list[tuple[BlockTreeEntry, int]]:
        return read_sequences(self._connection, self._tree.rivals(self.tip))

    def _valid_parent(self, header: Header) -> BlockTreeEntry:
        parent = self._tree.get(header.previous)
        if parent is None:
            raise InvalidError(Reason.PARENT_MISSING, id_text(header.previous))
        if self._tree.is_invalid(parent.id):
            raise InvalidError(Reason.PARENT_INVALID, id_text(parent.id))
        return parent

    def _new_entry(self, header: Header, now: int, parent: BlockTreeEntry) -> BlockTreeEntry:
        check_header_context(header, parent, now, self._params)
        return BlockTreeEntry(header, parent)

    def _store_header(self, entry: BlockTreeEntry) -> None:
        self._tree.add(entry)
        self._archive.add_header(entry)

    def _store_body(self, block: Block, entry: BlockTreeEntry) -> None:
        self._archive.add_block(block)
        for complete in self._tree.store(entry):
            sequence = self._archive.complete(complete)
            if complete != self.tip and complete.chain_work > self.tip.chain_work:
                self._tree.add_candidate(complete, sequence)

    def _activate_best(self, block: Block, entry: BlockTreeEntry) -> BlockAdded:
        """Move to the valid chain with the most work; `entry`'s block was just added.

        Raises InvalidError: the block or an ancestor of it is invalid. Bitcoin: ActivateBestChain.
        """
        moved, refusals = self._follow_best(block)
        for refused in refusals:
            if refused.entry == entry:
                raise refused.cause
        for refused in refusals:
            if refused.entry.is_ancestor_of(entry):
                detail = f"{id_text(refused.entry.id)}: {refused.cause}"
                raise InvalidError(Reason.PARENT_INVALID, detail)
        return BlockAdded(entry, is_new=True, move=moved)

    def _follow_best(self, new_block: Block | None) -> tuple[ChainMove, list[RefusedError]]:
        """Follow the valid candidate with the most work; also return the blocks found invalid."""
        moved, refusals = ChainMove(), []
        while (target := self._tree.best_candidate(self.tip)) is not None:
            try:
                moved = self._advance(target, new_block)
            except RefusedError as refused:
                self._mark_invalid(refused.entry)
                refusals.append(refused)
        return moved, refusals

    def _advance(self, target: BlockTreeEntry, new_block: Block | None) -> ChainMove:
        """Make `target` the tip; return the disconnected and the connected blocks.

        Raises RefusedError; then nothing was changed.
        """
        if new_block and target.parent == self.tip and target.id == new_block.id:
            self._connect(new_block, target)
            return ChainMove(connected=MovedBlocks([new_block]))
        with self._chain.savepoint():
            return self._reorganise(target, new_block)

    def _reorganise(self, target: BlockTreeEntry, new_block: Block | None) -> ChainMove:
        fork = fork_point(self.tip, target)
        moved = ChainMove()
        self._disconnect_to(fork, moved.disconnected)
        for height in range(fork.height + 1, target.height + 1):
            entry = target.ancestor(height)
            block = new_block if new_block and entry.id == new_block.id else self._chain.read(entry)
            self._connect(block, entry)
            moved.connected.add(block, partial(self._read_again, entry))
            self._flush_if_large()
        return moved

    def _disconnect_to(self, entry: BlockTreeEntry, disconnected: MovedBlocks) -> None:
        while (old := self.tip) != entry:
            disconnected.add(self._chain.disconnect(), partial(self._read_again, old))
            self._flush_if_large()

    def _connect(self, block: Block, entry: BlockTreeEntry) -> None:
        try:
            self._chain.connect(block, entry)
        except InvalidError as error:
            raise RefusedError(entry, error) from error

    def _mark_invalid(self, entry: BlockTreeEntry, unseen: Sequence[BlockTreeEntry] = ()) -> None:
        self._archive.forget(self._tree.forget_above(entry))
        self._archive.mark_invalid(self._tree.mark_invalid(entry))
        self._archive.forget(other.id for other in self._tree.forget(unseen))
        self._archive.forget(other.id for other in self._tree.forget_invalid())

    def _flush_if_large(self) -> None:
        if self._chain.is_large:
            self._chain.flush()
