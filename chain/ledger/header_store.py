"""Where the tree's headers are in memory: in columns, in branches, or held as entries.

The columns hold one chain of headers from genesis on; nearly all other headers are in a dictionary,
and are *held*. The columns have two parts, and a header goes through up to three states:

* *Held*: the last headers of the chain, side branches, everything invalid or excluded.
* *Ahead*: in the columns, above the *border*, deep below the best header. It is valid as a header,
  nothing is said of its block: that is in `_stored` and in the sets of the HeaderTree, by id, as
  for a held one. In a first sync, these are all headers that wait for their blocks.
* *Connected*: in the columns, below the border, deep below the tip. Its block is stored, complete
  and on the best chain, so no set names it.

The pages of both parts are written to the database.

The border rises with the tip, page by page, through the headers ahead. Both parts lead to the tip
as far as the border; the part ahead leads to the best header, which may be on another branch than
the tip. Whatever makes a header of the columns invalid or excluded, or takes it from the chain that
the columns follow, first holds it and all above it again: so no walk over "all that may change"
needs more than the held ones, and what becomes wrong is never in the columns. If thousands are
above it, these become a *branch* instead: columns of headers that are all excluded, or none is. It
takes a quarter of the memory of as many entries; its pages are not in the database.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from chain.consensus.entry import BlockTreeEntry, fork_point
from chain.ledger.header_columns import (
    PAGE_BYTES,
    PAGE_HEADERS,
    HeaderBranch,
    HeaderColumns,
    Page,
    pages_below,
)
from chain.primitives.block import HEADER_BYTES, decode_header
from chain.primitives.numbers import Hash32

HELD_BLOCKS: Final = 5_000  # at least: the newest of the best chain, which are not in the columns


class HeaderStore:
    """All headers, and which of their blocks are stored.

    The ledger's thread changes it, any thread may read it.
    """

    def __init__(
        self,
        genesis: BlockTreeEntry,
        columns: HeaderColumns | None = None,
        connected_pages: int = 0,
        *,
        held_blocks: int = HELD_BLOCKS,
    ) -> None:
        """Start with a chain of valid headers as it is in the database, or with only genesis.

        The first `connected_pages` pages are those of connected blocks. `held_blocks` must exceed
        the number of blocks whose signatures may still be unverified.
        """
        self.genesis = genesis
        self.columns = HeaderColumns() if columns is None else columns
        self.held_blocks = held_blocks
        # Valid, with the most work; the first received in a tie.
        self.best_header = self.columns.last or genesis
        self._entries: dict[Hash32, BlockTreeEntry] = {}
        if not self.columns:
            self._entries[genesis.id] = genesis
        self._branches: list[HeaderBranch] = []  # another list with each change
        self._branch_pages = max(held_blocks // PAGE_HEADERS, 1)  # what becomes a branch has these
        self._stored: set[Hash32] = set() if connected_pages else {genesis.id}
        self._border = connected_pages  # pages below it are of connected blocks
        self._unchanged_pages = len(self.columns.pages)  # since the last `bury`

    def __len__(self) -> int:
        return len(self.columns) + sum(map(len, self._branches)) + len(self._entries)

    def __iter__(self) -> Iterator[BlockTreeEntry]:
        """Yield all entries. For the ledger's thread only."""
        yield from map(self.columns.entry, range(len(self.columns)))
        for branch in self._branches:
            yield from branch.columns.entries(branch.lowest.height)
        yield from self._entries.values()

    @property
    def connected(self) -> int:
        """How many headers of the columns are below the border: those of connected blocks."""
        return self._border * PAGE_HEADERS

    @property
    def connected_pages(self) -> Sequence[Page]:
        """The pages of the columns below the border."""
        return self.columns.pages[: self._border]

    @property
    def is_best_on_connected(self) -> bool:
        """Whether the best header builds on all connected pages."""
        if not self._border:
            return True
        return self.columns.entry(self.connected - 1).is_ancestor_of(self.best_header)

    def held(self) -> Iterable[BlockTreeEntry]:
        """Return the entries that are in neither columns nor branches."""
        return self._entries.values()

    def latest(self, count: int) -> list[BlockTreeEntry]:
        """Return the last held headers, newest first, and the last one of each branch.

        For the ledger's thread only.
        """
        last = list(islice(reversed(self._entries.values()), count))
        return last + [branch.last for branch in self._branches]

    def get(self, block_id: Hash32) -> BlockTreeEntry | None:
        """Return the entry of a header, valid or not, or None if it is unknown."""
        while True:
            columns, branches = self.columns, self._branches
            held = self._entries.get(block_id)
            if held is not None:
                return held
            height = columns.find(block_id)
            if height is not None:
                return columns.entry(height)
            for branch in branches:
                height = branch.find(block_id)
                if height is not None:
                    return branch.columns.entry(height)
            height = columns.find(block_id) if branches else None  # it may come from a branch
            if height is not None:
                return columns.entry(height)
            if columns is self.columns and branches is self._branches:
                return None  # otherwise another thread just moved headers: retry

    def is_stored(self, block_id: Hash32) -> bool:
        """Return whether the ledger has the body. It has none of a block that broke a rule."""
        while True:
            columns = self.columns
            if block_id in self._stored:
                return True
            height = columns.find(block_id)
            if height is not None and height < self.connected:
                return True
            if columns is self.columns:  # as in `get`
                return False

    def has_data(self, entry: BlockTreeEntry) -> bool:
        """Return whether the ledger has an entry's body, as `is_stored`, but without a search."""
        while True:
            columns, height = self.columns, entry.height
            if entry.id in self._stored:
                return True
            is_below = height < min(self.connected, len(columns))
            if is_below and columns.id_at(height) == entry.id:
                return True
            if columns is self.columns:  # as in `get`
                return False

    def bury(self, tip: BlockTreeEntry) -> int:
        """Move ancestors far below `tip` into the columns, and headers of other branches out.

        Returns how many pages are unchanged since the last call. All ancestors of `tip` must have
        been connected.
        """
        wanted = self._pages_below(tip)
        self._cut_for(tip, max(wanted, self._border))
        while len(self.columns.pages) < wanted:
            self._bury_page(tip)
        self._raise_border(wanted)
        self.bury_ahead()
        unchanged, self._unchanged_pages = self._unchanged_pages, len(self.columns.pages)
        return unchanged

    def bury_ahead(self) -> None:
        """Put what is deep below the best header into the columns, with or without its block.

        Nothing, while the best header does not build on all connected pages.
        """
        best = self.best_header
        if not self.is_best_on_connected:
            return
        self._cut_for(best, len(self.columns.pages))
        self.bury_upon_columns()

    def bury_upon_columns(self) -> None:
        """Do as `bury_ahead` if the best header builds on all pages, else nothing."""
        last, best = self.columns.last, self.best_header
        if last is None or last.is_ancestor_of(best):
            while len(self.columns.pages) < self._pages_below(best):
                self._bury_page(best)

    def add_run(self, base: BlockTreeEntry, raw: bytes) -> None:
        """Add consecutive valid headers upon a valid one, without an entry for each.

        With what is held below, they become a branch, or more of one, except those that fill no
        page.
        """
        held: list[BlockTreeEntry] = []
        at: BlockTreeEntry | None = base
        while at is not None and at.id in self._entries:
            held.append(at)
            at = at.parent
        branch = self._branch_upon(at)
        columns = branch.columns
        lead = b"" if at is None else at.raw_headers(len(columns) - 1)
        whole = lead + b"".join(entry.header.encode() for entry in reversed(held)) + raw
        end = len(whole) - len(whole) % PAGE_BYTES
        work = columns.pages[-1].work_at_end if columns else 0
        for start in range(0, end, PAGE_BYTES):
            columns.append(Page.of(whole[start : start + PAGE_BYTES], work))
            work = columns.pages[-1].work_at_end
        last, tail = base, raw
        if end:
            self._take_into(branch, held, -1 if at is None else at.height)
            last, tail = columns.entry(len(columns) - 1), whole[end:]
        for start in range(0, len(tail), HEADER_BYTES):
            last = BlockTreeEntry(decode_header(tail[start : start + HEADER_BYTES]), last)
            self._entries[last.id] = last
        if last.chain_work > self.best_header.chain_work:
            self.best_header = last

    def _branch_upon(self, at: BlockTreeEntry | None) -> HeaderBranch:
        """Return the branch that ends with an entry, or a new one, empty, for a fork above it.

        Below a fork in the middle of a page, the branch begins with the next page.
        """
        if at is None:
            return HeaderBranch(HeaderColumns(), 0)
        source = self.columns
        for branch in self._branches:
            if branch.find(at.id) is not None:
                if branch.last == at:
                    return branch
                source = branch.columns
        shared, rest = divmod(at.height + 1, PAGE_HEADERS)
        columns = source.cut(shared)
        columns.index_from(shared)
        return HeaderBranch(columns, shared + (rest > 0))

    def _take_into(self, branch: HeaderBranch, held: list[BlockTreeEntry], below: int) -> None:
        """Let a branch have what its new pages have, but hold its part of the page of a fork."""
        columns, lowest = branch.columns, branch.first_page * PAGE_HEADERS
        for height in range(below + 1, lowest):
            entry = columns.entry(height)
            self._entries.setdefault(entry.id, entry)
        if len(branch) and not any(one is branch for one in self._branches):
            self._branches = [*self._branches, branch]
        for entry in held:  # only now: other threads must find it in one of the two
            if entry.height < len(columns):
                entry.bury(columns)
                if entry.height >= lowest:
                    del self._entries[entry.id]

    def _pages_below(self, entry: BlockTreeEntry) -> int:
        """Return how many pages are deep below an entry."""
        return pages_below(entry.height, self.held_blocks)

    def _cut_for(self, entry: BlockTreeEntry, pages: int) -> None:
        """Hold what is in the first `pages` pages and not on the way to `entry`, and all above."""
        pages = min(pages, len(self.columns.pages))
        if not pages:
            return
        last = self.columns.entry(pages * PAGE_HEADERS - 1)
        if not last.is_ancestor_of(entry):
            self._hold(fork_point(last, entry).height + 1)

    def _raise_border(self, pages: int) -> None:
        """Count the first `pages` pages as those of connected blocks."""
        before = self.connected
        self._border = max(pages, self._border)
        for height in range(before, self.connected):  # now that other threads need it no more
            self._stored.discard(self.columns.id_at(height))

    def _stored_ahead(self) -> list[BlockTreeEntry]:
        """Return the blocks that are stored and whose headers are in columns, but not connected."""
        found = map(self.get, self._stored - self._entries.keys())
        return sorted((entry for entry in found if entry), key=height_of)

    def _bury_page(self, tip: BlockTreeEntry) -> None:
        """Move the next PAGE_HEADERS ancestors of `tip` into the columns."""
        first = len(self.columns)
        number, last = len(self.columns.pages), tip.ancestor(first + PAGE_HEADERS - 1)
        for branch in self._branches:
            if branch.first_page == number and branch.find(last.id) is not None:
                self.columns.append(branch.columns.pages[number])
                branch.first_page += 1  # as in `_take_into`
                branch.columns.need_index_from(branch.first_page)
                if not len(branch):
                    self._branches = [one for one in self._branches if one is not branch]
                return
        self._hold_shared(tip)
        entries = [last]
        while entries[-1].height > first:
            below = entries[-1].parent
            assert below is not None, "the page is not below genesis"
            entries.append(below)
        entries.reverse()
        before = entries[0].parent
        raw = b"".join(entry.header.encode() for entry in entries)
        self.columns.append(Page.of(raw, 0 if before is None else before.chain_work))
        for entry in entries:  # as in `_take_into`
            self._entries.pop(entry.id).bury(self.columns)

    def _hold_shared(self, tip: BlockTreeEntry) -> None:
        """Hold what a branch has of the next page's headers on the way to `tip`."""
        first = len(self.columns)
        for branch in self._branches:
            if branch.lowest.height == first <= tip.height and branch.lowest == tip.ancestor(first):
                self._hold_in_branch(branch, first)

    def _hold_from(self, entry: BlockTreeEntry) -> None:
        """Hold an entry; what is above it is held, too, or in branches."""
        height = self.columns.find(entry.id)
        if height is not None:
            self._hold(height)
        for branch in self._branches:
            height = branch.find(entry.id)
            if height is not None:
                self._hold_in_branch(branch, height)

    def _hold(self, height: int) -> None:
        """Hold the columns' headers again from the start of the page of `height` on.

        If there are many, the pages above become a branch.
        """
        columns = self.columns
        start, end = height // PAGE_HEADERS, -(-height // PAGE_HEADERS)
        is_long = len(columns.pages) - end >= self._branch_pages
        if not is_long:
            end = len(columns.pages)
        connected = range(start * PAGE_HEADERS, self.connected)
        self._stored.update(map(columns.id_at, connected))
        self._hold_pages(columns, start, end)
        if is_long:
            self._branches = [*self._branches, HeaderBranch(columns, end)]
        self._cut(start, end if is_long else None)

    def _hold_in_branch(self, branch: HeaderBranch, height: int) -> None:
        """Hold at least the page of `height`; what is left and long are branches again."""
        columns, page = branch.columns, height // PAGE_HEADERS
        start, end, left = branch.first_page, len(columns.pages), []
        if page - start >= self._branch_pages:
            left.append(HeaderBranch(columns.cut(page), start, branch.is_excluded))
            start = page
        is_upper_long = end - page - 1 >= self._branch_pages
        if is_upper_long:
            left.append(HeaderBranch(columns, page + 1, branch.is_excluded))
            end = page + 1
        self._hold_pages(columns, start, end)
        self._branches = [one for one in self._branches if one is not branch] + left
        if is_upper_long:
            columns.index_from(end)
        else:
            columns.drop_index()

    def _hold_pages(self, columns: HeaderColumns, start: int, end: int) -> None:
        """Make entries of the headers of these pages."""
        some = islice(columns.entries(start * PAGE_HEADERS), (end - start) * PAGE_HEADERS)
        held = {entry.id: entry for entry in some}
        if held and not start:
            held[self.genesis.id] = self.genesis
        self._entries = held | self._entries  # the newest last

    def _cut(self, pages: int, branch_page: int | None = None) -> None:
        """Keep only the first `pages` pages of the columns.

        Those from `branch_page` on are a branch's, all others are held or dropped.
        """
        before = self.columns
        self.columns = before.cut(pages)
        self._border = min(self._border, pages)  # once `columns` is another
        if branch_page is None:
            before.drop_index()
        else:
            before.index_from(branch_page)
        self._unchanged_pages = min(self._unchanged_pages, pages)

    def _far_above(self, entry: BlockTreeEntry, pages: int) -> list[HeaderBranch]:
        """Return the headers in columns that descend from an entry, without the first `pages`."""
        far = []
        height = self.columns.find(entry.id)
        if height is not None:
            first = max(height // PAGE_HEADERS + pages, self._border)
            far.append(HeaderBranch(self.columns, first))
        for branch in self._branches:
            at = branch.find(entry.id)
            if at is not None:
                first = at // PAGE_HEADERS + pages
                far.append(HeaderBranch(branch.columns, first))
            elif entry.is_ancestor_of(branch.lowest):
                far.append(branch)
        return [branch for branch in far if len(branch) > 0]

    def _drop(self, far: HeaderBranch) -> None:
        """Remove the headers of the columns, or of a branch, from page `far.first_page` on."""
        if far.columns is self.columns:
            self._cut(far.first_page)
            return
        left = []
        for branch in self._branches:
            if branch.columns is not far.columns:
                left.append(branch)
            elif branch.first_page < far.first_page:
                columns = branch.columns.cut(far.first_page)
                first = branch.first_page
                left.append(HeaderBranch(columns, first, branch.is_excluded))
        self._branches = left
        far.columns.drop_index()

    def _is_in_excluded_branch(self, block_id: Hash32) -> bool:
        return any(b.is_excluded and b.find(block_id) is not None for b in self._branches)


def height_of(entry: BlockTreeEntry) -> int:
    """Return an entry's height, to sort by."""
    return entry.height
