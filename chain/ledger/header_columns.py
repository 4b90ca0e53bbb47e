"""The long lower part of a chain of headers as columns, some 90 bytes each instead of 1,200.

A page holds 64 consecutive raw headers, and the chain's work before them. A header's id is read
from the next header's `previous`; only that of a page's last header is stored. A hash table with
open addressing maps the first 32 bits of an id to its height. See docs/decisions/0008.
"""

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.primitives.block import HEADER_BYTES, PREVIOUS, Header, decode_header
from chain.primitives.compact import work_from_bits
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Hash32

PAGE_HEADERS: Final = 64
PAGE_BYTES: Final = PAGE_HEADERS * HEADER_BYTES
_PREFIXES: Final = struct.Struct(f"<4xI{HEADER_BYTES - 8}x")  # of the previous header's id
_TIME: Final = struct.Struct("<I")
_TIME_AT: Final = 68
_ALL_BITS: Final = struct.Struct(f"<72xI{HEADER_BYTES - 76}x")
_SLOTS_MIN: Final = 1 << 10
_SLOTS_MIN_MOVING: Final = 1 << 15  # if pages are added above while others go below
_LOAD_FACTOR_MAX: Final = (2, 3)  # of the hash table: above it, a miss takes too many steps


def pages_below(height: int, held_blocks: int) -> int:
    """Return how many pages are deep below a height: `held_blocks` at least."""
    return max(height - held_blocks, 0) // PAGE_HEADERS


@dataclass(frozen=True, slots=True)
class Page:
    """The headers of PAGE_HEADERS consecutive heights."""

    raw: bytes
    work: int  # of the chain before them
    last_id: Hash32

    @classmethod
    def of(cls, raw: bytes, work: int) -> "Page":
        """Return a page of these headers; the caller has checked that each continues the last."""
        return cls(raw, work, sha256d(raw[-HEADER_BYTES:]))

    @property
    def previous_id(self) -> Hash32:
        """The id of the header before the page; 32 zero bytes before genesis."""
        return Hash32(self.raw[PREVIOUS])

    @property
    def work_at_end(self) -> int:
        """The work of the chain up to and including the page's last header."""
        return self.work + self.work_of(PAGE_HEADERS)

    def work_of(self, count: int) -> int:
        """Return the work of the page's first `count` headers."""
        return sum(map(work_from_bits, self.bits(count)))

    def bits(self, count: int = PAGE_HEADERS) -> Iterator[int]:
        """Yield the bits of the page's first `count` headers."""
        some = memoryview(self.raw)[: count * HEADER_BYTES]
        return (bits for (bits,) in _ALL_BITS.iter_unpack(some))

    def header(self, place: int) -> bytes:
        """Return a raw header."""
        return self.raw[place * HEADER_BYTES : (place + 1) * HEADER_BYTES]

    def id(self, place: int) -> Hash32:
        """Return a header's id."""
        if place == PAGE_HEADERS - 1:
            return self.last_id
        start = (place + 1) * HEADER_BYTES
        return Hash32(self.raw[start + PREVIOUS.start : start + PREVIOUS.stop])

    def prefixes(self) -> Iterator[int]:
        """Yield the first 32 bits of each header's id."""
        others = _PREFIXES.iter_unpack(memoryview(self.raw)[HEADER_BYTES:])
        yield from (prefix for (prefix,) in others)
        yield _prefix(self.last_id)


class HeaderColumns:
    """The headers of one chain from genesis to the end of a page: a HeaderChain.

    The ledger's thread appends, any thread reads. Headers are never replaced or removed: a branch
    that forks off below the end gets other columns, from `cut`.
    """

    def __init__(self, pages: Sequence[Page] = ()) -> None:
        self._pages = list(pages)
        self._indexed = 0  # from this page on
        self._slots, self._used = self._new_index()  # heights + 1, or 0 for a free slot

    def __len__(self) -> int:
        """Return the number of headers, which is also the first height beyond them."""
        return len(self._pages) * PAGE_HEADERS

    @property
    def pages(self) -> Sequence[Page]:
        """All pages; not to be changed."""
        return self._pages

    @property
    def last(self) -> BlockTreeEntry | None:
        """The entry of the highest header, or None if the columns are empty."""
        return BlockTreeEntry.buried(self, len(self) - 1) if self._pages else None

    def append(self, page: Page) -> None:
        """Add the next page. The caller has checked that it continues the chain."""
        used, slots = _LOAD_FACTOR_MAX
        if (self._used + PAGE_HEADERS) * slots > len(self._slots) * used:
            self._slots, self._used = self._new_index()
        _fill(self._slots, page, len(self))  # before the page: `find` ignores heights beyond it
        self._used += PAGE_HEADERS
        self._pages.append(page)

    def cut(self, pages: int) -> "HeaderColumns":
        """Return columns of the first `pages` pages. The two share these pages and the index.

        Call `drop_index` here before anything is appended there.
        """
        other = HeaderColumns()
        other._pages = self._pages[:pages]
        other._slots, other._used = self._slots, self._used  # `find` ignores heights beyond its end
        return other

    def index_from(self, page: int) -> None:
        """Find only ids from page number `page` on, with an index that no other columns share."""
        self._indexed = page
        self._slots, self._used = self._new_index()

    def need_index_from(self, page: int) -> None:
        """Leave ids below page number `page` out of the next index."""
        self._indexed = page

    def drop_index(self) -> None:
        """Find no ids any longer; entries that were buried here can still read their headers."""
        self._slots = array("I", bytes(4))

    def find(self, block_id: Hash32) -> int | None:
        """Return the height of a header, or None if it is not in the columns."""
        slots = self._slots
        mask = len(slots) - 1
        slot = _prefix(block_id) & mask
        while held := slots[slot]:
            if held <= len(self) and self.id_at(held - 1) == block_id:
                return held - 1
            slot = slot + 1 & mask
        return None

    def entry(self, height: int) -> BlockTreeEntry:
        """Return the entry of the header at `height`, a new one each time."""
        return BlockTreeEntry.buried(self, height)

    def entries(self, first: int) -> Iterator[BlockTreeEntry]:
        """Yield the entries from height `first` on, which is where a page begins; each new."""
        for number in range(first // PAGE_HEADERS, len(self._pages)):
            work = self._pages[number].work
            for place, bits in enumerate(self._pages[number].bits()):
                work += work_from_bits(bits)
                yield BlockTreeEntry.buried(self, number * PAGE_HEADERS + place, work)

    def id_at(self, height: int, /) -> Hash32:
        return self._pages[height // PAGE_HEADERS].id(height % PAGE_HEADERS)

    def header_at(self, height: int, /) -> Header:
        return decode_header(self._pages[height // PAGE_HEADERS].header(height % PAGE_HEADERS))

    def time_at(self, height: int, /) -> int:
        """Return the time of the header at `height`, in unix seconds."""
        page, place = divmod(height, PAGE_HEADERS)
        (time,) = _TIME.unpack_from(self._pages[page].raw, place * HEADER_BYTES + _TIME_AT)
        return int(time)

    def chain_work_at(self, height: int, /) -> int:
        """Return the work of the chain up to `height`."""
        page = self._pages[height // PAGE_HEADERS]
        return page.work + page.work_of(height % PAGE_HEADERS + 1)

    def raw_headers(self, heights: range, /) -> bytes:
        first, end = heights.start // PAGE_HEADERS, (heights.stop - 1) // PAGE_HEADERS + 1
        start = (heights.start - first * PAGE_HEADERS) * HEADER_BYTES
        pages = b"".join(page.raw for page in self._pages[first:end])
        return pages[start : start + len(heights) * HEADER_BYTES]

    def _new_index(self) -> "tuple[array[int], int]":
        """Return a new index with free slots for more pages, and the number of used slots."""
        used, of_slots = _LOAD_FACTOR_MAX
        first = self._indexed
        indexed = len(self) - first * PAGE_HEADERS
        least = (indexed + PAGE_HEADERS) * of_slots // used
        at_least = _SLOTS_MIN_MOVING if first else _SLOTS_MIN
        slots = array("I", bytes(4 << max(least, at_least - 1).bit_length()))
        for number in range(first, len(self._pages)):
            _fill(slots, self._pages[number], number * PAGE_HEADERS)
        return slots, indexed


@dataclass(slots=True)
class HeaderBranch:
    """The upper part of columns that are of a side branch: their pages from `first_page` on.

    The ledger's thread raises `first_page` as it moves pages elsewhere, any thread reads.
    """

    columns: HeaderColumns
    first_page: int
    is_excluded: bool = False

    def __len__(self) -> int:
        """Return the number of its headers."""
        return max(len(self.columns) - self.first_page * PAGE_HEADERS, 0)

    @property
    def lowest(self) -> BlockTreeEntry:
        """The entry of its lowest header."""
        return self.columns.entry(self.first_page * PAGE_HEADERS)

    @property
    def last(self) -> BlockTreeEntry:
        """The entry of its highest header."""
        return self.columns.entry(len(self.columns) - 1)

    def find(self, block_id: Hash32) -> int | None:
        """Return the height of one of its headers, or None if it is not among them."""
        height = self.columns.find(block_id)
        return None if height is None or height < self.first_page * PAGE_HEADERS else height


def _fill(slots: "array[int]", page: Page, first: int) -> None:
    mask = len(slots) - 1
    for height, prefix in enumerate(page.prefixes(), first + 1):
        slot = prefix & mask
        while slots[slot]:
            slot = slot + 1 & mask
        slots[slot] = height


def _prefix(block_id: Hash32) -> int:
    return int.from_bytes(block_id[:4], "little")
