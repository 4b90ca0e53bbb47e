"""An entry of the block tree: a header, its height, and sums over its chain (CBlockIndex)."""

from typing import Protocol

from chain.primitives.block import Header
from chain.primitives.compact import work_from_bits
from chain.primitives.numbers import Hash32, Height

MEDIAN_SPAN = 11  # Bitcoin: CBlockIndex::nMedianTimeSpan
LOCATOR_ENTRIES_MAX = 101  # Bitcoin: MAX_LOCATOR_SZ
_LOCATOR_DENSE = 10


class HeaderChain(Protocol):
    """The headers of one branch by height, from genesis on; any thread may read it.

    What it holds at a height never changes; more may be added on top.
    """

    def id_at(self, height: int, /) -> Hash32:
        """Return the id of the header at `height`."""

    def header_at(self, height: int, /) -> Header:
        """Return the header at `height`."""

    def time_at(self, height: int, /) -> int:
        """Return that header's time, in unix seconds."""

    def chain_work_at(self, height: int, /) -> int:
        """Return the expected hashes from genesis to `height`."""

    def raw_headers(self, heights: range, /) -> bytes:
        """Return the 80 bytes of each of the headers at these heights, which are in a row."""


class BlockTreeEntry:
    """A header in the tree, which reaches its whole ancestry through `parent`.

    `skip` points far back, so that any ancestor is reached in about log2(height) steps. An entry
    that is *buried* holds neither: it looks up everything in a HeaderChain. Several entries may
    stand for one header, so they are equal if their ids are; compare them with ==, never with `is`.
    """

    __slots__ = (
        "_anchor_time",
        "_buried_in",  # set before what it replaces is given up: other threads read entries
        "_chain_work",
        "_header",
        "_parent",
        "_recent_times",  # of the last MEDIAN_SPAN headers, the newest first
        "_skip",
        "height",
        "id",
    )

    def __init__(self, header: Header, parent: "BlockTreeEntry | None") -> None:
        self.id: Hash32 = header.id
        self.height: Height = Height(0 if parent is None else parent.height + 1)
        self._buried_in: HeaderChain | None = None
        self._header: Header | None = header
        self._parent = parent
        self._skip: BlockTreeEntry | None = None
        work = work_from_bits(header.bits)
        self._chain_work: int | None = work
        self._anchor_time: int | None = 0
        if parent is not None:
            self._chain_work = parent.chain_work + work
            self._skip = parent.ancestor(_skip_height(self.height))
            self._anchor_time = parent.anchor_time if parent.height else header.time
        below = () if parent is None else parent.recent_times[: MEDIAN_SPAN - 1]
        self._recent_times: tuple[int, ...] | None = (header.time, *below)

    @classmethod
    def buried(
        cls, chain: HeaderChain, height: int, chain_work: int | None = None
    ) -> "BlockTreeEntry":
        """Return the entry of the header at `height` of `chain`, which may know its work."""
        entry = cls.__new__(cls)
        entry.id = chain.id_at(height)
        entry.height = Height(height)
        entry._buried_in = chain
        entry._header = entry._parent = entry._skip = None
        entry._chain_work = chain_work
        entry._anchor_time = entry._recent_times = None
        return entry

    def bury(self, chain: HeaderChain) -> None:
        """Give up what `chain` can tell, for it holds this header and all below it."""
        self._buried_in = chain
        self._parent = self._skip = self._recent_times = None

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, BlockTreeEntry) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def header(self) -> Header:
        """The header itself."""
        return self._header or self._chain.header_at(self.height)

    @property
    def parent(self) -> "BlockTreeEntry | None":
        """The entry below; None for genesis."""
        return self._parent or (self._below(self.height - 1) if self.height else None)

    @property
    def skip(self) -> "BlockTreeEntry":
        """An ancestor far below; genesis for itself."""
        return self._skip or (self._below(_skip_height(self.height)) if self.height else self)

    @property
    def chain_work(self) -> int:
        """The expected hashes from genesis to here, this header's included."""
        known = self._chain_work
        return self._chain.chain_work_at(self.height) if known is None else known

    @property
    def anchor_time(self) -> int:
        """Block 1's time on this branch: where ASERT counts from; 0 in genesis."""
        known = self._anchor_time
        if known is None:
            return self._chain.time_at(1) if self.height else 0
        return known

    @property
    def median_time_past(self) -> int:
        """The median time of the last 11 headers, this one included (BIP113)."""
        times = sorted(self.recent_times)
        return times[len(times) // 2]

    @property
    def recent_times(self) -> tuple[int, ...]:
        """The times of the last MEDIAN_SPAN headers, this one's first; fewer near genesis."""
        known = self._recent_times
        if known is None:
            last = max(self.height - MEDIAN_SPAN, -1)
            return tuple(map(self._chain.time_at, range(self.height, last, -1)))
        return known

    def ancestor(self, height: int) -> "BlockTreeEntry":
        """Return the entry at `height` (at most this one's) on the way to genesis."""
        assert 0 <= height <= self.height, "an ancestor is not above its descendant"
        entry = self
        while entry.height > height:
            skipped, parent = entry._skip, entry._parent
            if skipped is None or parent is None:
                return entry._below(height)
            if skipped.height == height or (
                skipped.height > height
                and not (skipped.height - 2 > _skip_height(parent.height) >= height)
            ):
                entry = skipped
            else:
                entry = parent
        return entry

    def is_ancestor_of(self, other: "BlockTreeEntry") -> bool:
        """Return whether `other` is this entry or builds on it."""
        return other.height >= self.height and other.ancestor(self.height) == self

    def raw_headers(self, above: int) -> bytes:
        """Return the 80 bytes of each header from above a height up to this one, lowest first."""
        parts: list[bytes] = []
        entry = self
        while entry.height > above:
            chain = entry._buried_in
            if chain is not None:
                parts.append(chain.raw_headers(range(above + 1, entry.height + 1)))
                break
            parts.append(entry.header.encode())
            assert entry.parent is not None, "genesis is not above any height"
            entry = entry.parent
        return b"".join(reversed(parts))

    def locator(self) -> list[Hash32]:
        """Return a block locator: ten ids in a row from here, then ever sparser, genesis last."""
        ids, entry, step = [self.id], self, 1
        while entry.height:
            entry = entry.ancestor(max(entry.height - step, 0))
            ids.append(entry.id)
            if len(ids) >= _LOCATOR_DENSE:
                step *= 2
        return ids

    @property
    def _chain(self) -> HeaderChain:
        assert self._buried_in is not None, "what is not buried holds everything itself"
        return self._buried_in

    def _below(self, height: int) -> "BlockTreeEntry":
        return BlockTreeEntry.buried(self._chain, height)


def fork_point(one: BlockTreeEntry, other: BlockTreeEntry) -> BlockTreeEntry:
    """Return the last entry that both branches share."""
    height = min(one.height, other.height)
    one, other = one.ancestor(height), other.ancestor(height)
    while one != other:
        if one.skip != other.skip:
            one, other = one.skip, other.skip
        else:
            assert one.parent is not None, "two branches share genesis"
            assert other.parent is not None, "two branches share genesis"
            one, other = one.parent, other.parent
    return one


def _skip_height(height: int) -> int:
    """Return where `skip` of an entry at `height` points (Bitcoin: GetSkipHeight)."""
    if height < 2:
        return 0
    without_lowest = height & (height - 1)
    if height & 1:
        without_two = without_lowest & (without_lowest - 1)
        return (without_two & (without_two - 1)) + 1
    return without_lowest
