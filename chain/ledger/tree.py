"""The tree of all known headers in memory: which are invalid, and which chain to follow."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.ledger.header_columns import PAGE_HEADERS, HeaderBranch, HeaderColumns
from chain.ledger.header_store import HELD_BLOCKS, HeaderStore, height_of
from chain.primitives.numbers import Hash32

PRECIOUS_MAX: Final = 1_000  # most recent precious blocks
INVALID_MAX: Final = 10_000  # remembered invalid headers; a forgotten one is validated again


class HeaderTree(HeaderStore):
    """The tree of headers. The ledger's thread changes it, any thread may read it.

    A block is *stored* if the ledger has its body, and *complete* if it also has those of all its
    ancestors.
    """

    def __init__(
        self,
        genesis: BlockTreeEntry,
        columns: HeaderColumns | None = None,
        connected_pages: int = 0,
        *,
        held_blocks: int = HELD_BLOCKS,
    ) -> None:
        """Start as a HeaderStore does, with nothing invalid or excluded."""
        super().__init__(genesis, columns, connected_pages, held_blocks=held_blocks)
        self._invalid: dict[Hash32, BlockTreeEntry] = {}  # oldest first
        # Stored blocks that are not complete, by the parent that is not.
        self._incomplete: dict[Hash32, list[BlockTreeEntry]] = {}
        # The sequences of complete blocks that were better than the tip when they were added.
        self._candidates: dict[BlockTreeEntry, int] = {}
        self._precious: dict[Hash32, int] = {}  # sequences of precious blocks, below 0
        # Excluded by the user; `_excluded` has their descendants, too, those in branches excepted.
        self.excluded: tuple[BlockTreeEntry, ...] = ()
        self._excluded: frozenset[Hash32] = frozenset()

    def is_invalid(self, block_id: Hash32) -> bool:
        """Return whether a block or an ancestor of it broke a rule or is excluded."""
        return (
            block_id in self._invalid
            or block_id in self._excluded
            or self._is_in_excluded_branch(block_id)
        )

    def is_awaited(self, block_id: Hash32) -> bool:
        """Return whether children of a block are stored, but are not complete because of it."""
        return block_id in self._incomplete

    def add(self, entry: BlockTreeEntry) -> None:
        """Add a header whose parent is known and valid."""
        self._entries[entry.id] = entry
        if entry.chain_work > self.best_header.chain_work:
            self.best_header = entry

    def add_invalid(self, entry: BlockTreeEntry) -> None:
        """Add a header that is already known to be invalid."""
        self._entries[entry.id] = entry
        self._invalid[entry.id] = entry

    def store(self, entry: BlockTreeEntry) -> list[BlockTreeEntry]:
        """Record that a body is stored; return the blocks that it completes, parents first."""
        parent = entry.parent
        assert parent is not None, "genesis is stored from the start"
        self._stored.add(entry.id)
        if not self._is_complete(parent):
            self._incomplete.setdefault(parent.id, []).append(entry)
            return []
        done = [entry]
        for now_complete in done:  # grows during the iteration
            done += self._incomplete.pop(now_complete.id, ())
        return done

    def can_store_run(self, entries: Iterable[BlockTreeEntry]) -> bool:
        """Return whether none of these blocks, all above the border, is stored or awaited."""
        ids = [entry.id for entry in entries]
        return self._stored.isdisjoint(ids) and self._incomplete.keys().isdisjoint(ids)

    def store_run(self, entries: Iterable[BlockTreeEntry]) -> None:
        """Record bodies as stored, each upon the one before, the first upon the tip."""
        self._stored.update(entry.id for entry in entries)

    def add_candidate(self, entry: BlockTreeEntry, sequence: int) -> None:
        """Make a complete block a candidate for the tip; in a tie the lower sequence wins.

        Not an excluded one: it becomes a candidate when the exclusion is taken back.
        """
        if not self.is_invalid(entry.id):
            self._candidates[entry] = self._precious.get(entry.id, sequence)

    def mark_precious(self, entry: BlockTreeEntry, tip: BlockTreeEntry) -> None:
        """Treat a complete block as if it had been received before all others with the same work.

        Ignores a block with less work than the tip. This is not stored on disk.
        """
        if entry.chain_work < tip.chain_work or not self._is_complete(entry):
            return
        lowest = min(self._precious.values(), default=0) - 1
        self._precious.pop(entry.id, None)
        self._precious[entry.id] = lowest
        if len(self._precious) > PRECIOUS_MAX:
            del self._precious[next(iter(self._precious))]
        if not self.is_invalid(entry.id):
            self._candidates[entry] = lowest

    def rivals(self, tip: BlockTreeEntry) -> list[BlockTreeEntry]:
        """Return the tip, and the complete valid blocks with its work or more."""
        return [tip] + [
            entry
            for entry in [*self._stored_ahead(), *self._entries.values()]
            if entry.chain_work >= tip.chain_work
            and entry != tip
            and entry.id in self._stored
            and self._is_complete(entry)
            and not self.is_invalid(entry.id)
        ]

    def add_candidates(
        self, rivals: Iterable[tuple[BlockTreeEntry, int]], tip: BlockTreeEntry
    ) -> None:
        """Add the tip's rivals with more work than it as candidates."""
        for entry, sequence in rivals:
            if entry.chain_work > tip.chain_work:
                self.add_candidate(entry, sequence)

    def first_received(
        self, rivals: Iterable[tuple[BlockTreeEntry, int]], tip: BlockTreeEntry
    ) -> BlockTreeEntry:
        """Return the block with the lowest sequence among rivals with the same work as the tip."""
        equals = {
            self._precious.get(entry.id, sequence): entry
            for entry, sequence in rivals
            if entry.chain_work == tip.chain_work and not self.is_invalid(entry.id)
        }
        return equals[min(equals)] if equals else tip

    def exclude(self, roots: Iterable[BlockTreeEntry]) -> None:
        """Exclude these blocks and their descendants, and no others.

        Their bodies stay. The candidates are cleared: the caller must add them again.
        """
        self.excluded = tuple(dict.fromkeys(roots))
        for root in self.excluded:
            self._hold_from(root)
        for branch in self._branches:
            lowest = branch.lowest
            branch.is_excluded = any(root.is_ancestor_of(lowest) for root in self.excluded)
        ids = {root.id for root in self.excluded}
        for entry in sorted(self._entries.values(), key=height_of):  # parents before children
            below = entry.parent
            if below is not None and (below.id in ids or self._is_in_excluded_branch(below.id)):
                ids.add(entry.id)
        self._excluded = frozenset(ids)
        self._candidates.clear()
        self._find_best_header()

    def best_candidate(self, tip: BlockTreeEntry) -> BlockTreeEntry | None:
        """Return the block that should replace the tip, or None.

        It has more work than the tip, or the same work and is precious.
        """
        for entry in [e for e in self._candidates if not self._is_better(e, tip)]:
            del self._candidates[entry]
        return max(
            self._candidates,
            key=lambda entry: (entry.chain_work, -self._candidates[entry]),
            default=None,
        )

    def forget_above(self, entry: BlockTreeEntry) -> Iterable[Hash32]:
        """Forget headers in columns far above one that is about to be marked as invalid.

        There may be a million, and as entries they would take 350 bytes each. The next ones stay,
        so that there are fewer than INVALID_MAX. Returns ids, children before parents.
        """
        few = INVALID_MAX // 5  # so many, twice, and the last of the chain, which are held
        far = self._far_above(entry, 1 + few // PAGE_HEADERS)
        if sum(map(len, far)) <= few:
            return ()
        lowest = [branch.lowest for branch in far]
        others = [*self._stored_ahead(), *self._entries.values()]
        removed = [one for one in others if any(low.is_ancestor_of(one) for low in lowest)]
        for branch in far:
            self._drop(branch)
        for other in removed:
            self._drop_body(other)
            self._invalid.pop(other.id, None)
        held = [other.id for other in removed if self._entries.pop(other.id, None) is not None]
        self._find_best_header()
        return chain(reversed(held), *map(_ids, far))

    def mark_invalid(self, entry: BlockTreeEntry) -> list[BlockTreeEntry]:
        """Mark a block and its descendants as invalid; return those newly marked, lowest first."""
        self._hold_from(entry)
        for branch in self._branches:
            if entry.is_ancestor_of(branch.lowest):
                self._hold_pages(branch.columns, branch.first_page, len(branch.columns.pages))
                self._drop(branch)
        invalid = [
            other
            for other in self._entries.values()
            if other.height >= entry.height
            and other.id not in self._invalid
            and entry.is_ancestor_of(other)
        ]
        invalid.sort(key=height_of)
        for other in invalid:
            self._invalid[other.id] = other
            self._drop_body(other)
        if self.is_invalid(self.best_header.id):
            self._find_best_header()
        return invalid

    def forget_invalid(self) -> list[BlockTreeEntry]:
        """Forget the oldest invalid headers if there are too many; children before parents."""
        forgotten: list[BlockTreeEntry] = []
        while len(self._invalid) > INVALID_MAX:
            oldest = next(iter(self._invalid.values()))
            branch = [e for e in self._invalid.values() if oldest.is_ancestor_of(e)]
            for entry in branch:
                del self._invalid[entry.id]
                del self._entries[entry.id]
            forgotten += branch
        return sorted(forgotten, key=lambda entry: -entry.height)

    def forget(self, entries: Sequence[BlockTreeEntry]) -> list[BlockTreeEntry]:
        """Forget invalid headers as if never added; return them, children before parents."""
        for entry in entries:
            if self._invalid.pop(entry.id, None) is not None:  # not forgotten already
                del self._entries[entry.id]
        return sorted(entries, key=lambda entry: -entry.height)

    def _find_best_header(self) -> None:
        last = self.columns.last
        valid = [] if last is None else [last]
        valid += [branch.last for branch in self._branches if not branch.is_excluded]
        valid += [e for e in self._entries.values() if not self.is_invalid(e.id)]
        self.best_header = max(valid, key=lambda e: e.chain_work)  # the first received in a tie

    def _is_better(self, entry: BlockTreeEntry, tip: BlockTreeEntry) -> bool:
        if entry.chain_work != tip.chain_work:
            return entry.chain_work > tip.chain_work
        return self._precious.get(entry.id, 0) < self._precious.get(tip.id, 0)

    def _is_complete(self, entry: BlockTreeEntry) -> bool:
        if entry.id not in self._stored or entry.parent is None:
            return self.is_stored(entry.id)  # blocks in the columns are complete
        return entry not in self._incomplete.get(entry.parent.id, ())

    def _drop_body(self, entry: BlockTreeEntry) -> None:
        self._candidates.pop(entry, None)
        self._precious.pop(entry.id, None)
        self._stored.discard(entry.id)
        self._incomplete.pop(entry.id, None)
        assert entry.parent is not None, "genesis is never invalid"
        siblings = self._incomplete.get(entry.parent.id)
        if siblings and entry in siblings:
            siblings.remove(entry)
            if not siblings:
                del self._incomplete[entry.parent.id]


def _ids(branch: HeaderBranch) -> Iterator[Hash32]:
    """Yield the ids of a branch, children before parents."""
    lowest = branch.first_page * PAGE_HEADERS
    return map(branch.columns.id_at, range(len(branch.columns) - 1, lowest - 1, -1))
