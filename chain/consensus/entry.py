"""An entry of the block tree: a header, its height, and sums over its chain (CBlockIndex)."""

from chain.primitives.block import Header
from chain.primitives.compact import work_from_bits
from chain.primitives.numbers import Hash32, Height

MEDIAN_SPAN = 11  # Bitcoin: CBlockIndex::nMedianTimeSpan
LOCATOR_ENTRIES_MAX = 101  # Bitcoin: MAX_LOCATOR_SZ
_LOCATOR_DENSE = 10


class BlockTreeEntry:
    """A header in the tree; immutable, and holds its whole ancestry through `parent`.

    `skip` points far back, so that any ancestor is reached in about log2(height) steps.
    """

    __slots__ = (
        "anchor_time",  # block 1's time on this branch: where ASERT counts from; 0 in genesis
        "chain_work",  # expected hashes from genesis to here, this header's included
        "header",
        "height",
        "id",
        "median_time_past",  # of the last 11 headers, this one included (BIP113)
        "parent",
        "skip",
    )

    def __init__(self, header: Header, parent: "BlockTreeEntry | None") -> None:
        self.header = header
        self.id: Hash32 = header.id
        self.parent = parent
        work = work_from_bits(header.bits)
        if parent is None:
            self.height = Height(0)
            self.chain_work = work
            self.skip: BlockTreeEntry = self
            self.anchor_time = 0
        else:
            self.height = Height(parent.height + 1)
            self.chain_work = parent.chain_work + work
            self.skip = parent.ancestor(_skip_height(self.height))
            self.anchor_time = parent.anchor_time if parent.height else header.time
        self.median_time_past = _median_time(self)

    def ancestor(self, height: int) -> "BlockTreeEntry":
        """Return the entry at `height` (at most this one's) on the way to genesis."""
        assert 0 <= height <= self.height, "an ancestor is not above its descendant"
        entry = self
        while entry.height > height:
            skipped, parent = entry.skip, entry.parent
            assert parent is not None, "only genesis has no parent"
            near = _skip_height(parent.height)
            if skipped.height == height or (
                skipped.height > height and not (near < skipped.height - 2 and near >= height)
            ):
                entry = skipped
            else:
                entry = parent
        return entry

    def is_ancestor_of(self, other: "BlockTreeEntry") -> bool:
        """Return whether `other` is this entry or builds on it."""
        return other.height >= self.height and other.ancestor(self.height) is self

    def locator(self) -> list[Hash32]:
        """Return a block locator: ten ids in a row from here, then ever sparser, genesis last."""
        ids, entry, step = [self.id], self, 1
        while entry.height:
            entry = entry.ancestor(max(entry.height - step, 0))
            ids.append(entry.id)
            if len(ids) >= _LOCATOR_DENSE:
                step *= 2
        return ids


def fork_point(one: BlockTreeEntry, other: BlockTreeEntry) -> BlockTreeEntry:
    """Return the last entry that both branches share."""
    height = min(one.height, other.height)
    one, other = one.ancestor(height), other.ancestor(height)
    while one is not other:
        if one.skip is not other.skip:
            one, other = one.skip, other.skip
        else:
            assert one.parent is not None, "two branches share genesis"
            assert other.parent is not None, "two branches share genesis"
            one, other = one.parent, other.parent
    return one


def _median_time(entry: BlockTreeEntry) -> int:
    times: list[int] = []
    at: BlockTreeEntry | None = entry
    while at is not None and len(times) < MEDIAN_SPAN:
        times.append(at.header.time)
        at = at.parent
    times.sort()
    return times[len(times) // 2]


def _skip_height(height: int) -> int:
    """Return where `skip` of an entry at `height` points (Bitcoin: GetSkipHeight)."""
    if height < 2:
        return 0
    if height & 1:
        return _clear_lowest_bit(_clear_lowest_bit(height - 1)) + 1
    return _clear_lowest_bit(height)


def _clear_lowest_bit(number: int) -> int:
    return number & (number - 1)
