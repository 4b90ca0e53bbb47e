"""The table of pages of headers: what a start reads instead of a row for each header.

It has all pages of the tree's columns. Those deep below the tip are of connected blocks, the others
of headers ahead (chain/ledger/header_store.py).
"""

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Connection

from chain.ledger.db.engine import read_rows, stream_rows, write_rows
from chain.ledger.db.schema import HeaderStatus
from chain.ledger.errors import DamagedError
from chain.ledger.header_columns import PAGE_BYTES, PAGE_HEADERS, Page
from chain.primitives.block import BITS, HEADER_BYTES, PREVIOUS
from chain.primitives.compact import work_from_bits
from chain.primitives.hashes import sha256, sha256d
from chain.primitives.numbers import NULL_HASH, Hash32

WORK_BYTES: Final = 32
PAGES_AT_ONCE: Final = 64  # read from `headers` in one statement: 4,096 headers

_SELECT: Final = (
    "SELECT number, raw, work, checksum FROM header_pages"
    " WHERE number >= ? AND number < ? ORDER BY number"
)
_INSERT: Final = "INSERT INTO header_pages (number, raw, work, checksum) VALUES (?, ?, ?, ?)"
_DELETE: Final = "DELETE FROM header_pages WHERE number >= ?"
_CHAIN: Final = "SELECT height, id FROM chain WHERE height >= ? AND height < ? ORDER BY height"
# In the order of their rows: looked up by their ids, they would be all over the table.
_HEADERS: Final = (
    "SELECT id, height, raw, work, status, coalesce(sequence, -1)"
    " FROM headers WHERE height >= ? AND height < ?"
)
_HEADER_TYPES: Final = (bytes, int, bytes, bytes, int, int)
_BODIES: Final = (
    "SELECT count(*) FROM chain c JOIN blocks b ON b.id = c.id WHERE c.height >= ? AND c.height < ?"
)
_READ_AT_ONCE: Final = 256
_ALL: Final = 1 << 40  # more pages than there can be

# A header's status, and whether its chain is complete.
_CONNECTED: Final = frozenset({(HeaderStatus.STORED, True)})
_AHEAD: Final = _CONNECTED | {(HeaderStatus.STORED, False), (HeaderStatus.HEADER, False)}

_HeaderRow = tuple[bytes, int, bytes, bytes, int, int]


def read_pages(connection: Connection, below: Sequence[Page] = (), end: int = _ALL) -> list[Page]:
    """Return the pages after those `below`, up to before number `end`, or as many as there are.

    Each is as it was written, and the successor of the one before. Raises DamagedError.
    """
    pages: list[Page] = []
    first = len(below)
    before = below[-1].last_id if below else NULL_HASH
    types = (int, bytes, bytes, bytes)
    for rows in stream_rows(connection, _SELECT, types, _READ_AT_ONCE, (first, end)):
        for number, raw, work, checksum in rows:
            if (
                number != first + len(pages)
                or len(raw) != PAGE_BYTES
                or checksum != page_checksum(number, raw, work)
            ):
                raise _damaged(first + len(pages))
            page = Page.of(raw, int.from_bytes(work, "big"))
            if page.previous_id != before:
                raise _damaged(number)
            before = page.last_id
            pages.append(page)
    return pages


def write_pages(connection: Connection, first: int, pages: Sequence[Page]) -> None:
    """Replace the pages from number `first` on by these."""
    write_rows(connection, _DELETE, [(first,)])
    rows = [(n, page.raw, encode_work(page.work)) for n, page in enumerate(pages, first)]
    write_rows(connection, _INSERT, [(*row, page_checksum(*row)) for row in rows])


def make_pages(
    connection: Connection, before: Page | None, first: int, count: int
) -> Iterator[Page]:
    """Yield `count` pages from number `first` on, made from the tables of headers.

    `before` is the page below. Each header is checked: that it hashes to its id, follows the one
    before, has the height and the work that follow, and that its block is stored. Raises
    DamagedError.
    """
    for at in range(first, first + count, PAGES_AT_ONCE):
        end = min(at + PAGES_AT_ONCE, first + count)
        bounds = (at * PAGE_HEADERS, end * PAGE_HEADERS)
        rows = _best_rows(connection, bounds)
        if read_rows(connection, _BODIES, bounds) != [(bounds[1] - bounds[0],)]:
            raise DamagedError(f"a block from height {bounds[0]} to {bounds[1] - 1} is missing")
        for number in range(at, end):
            some = rows[(number - at) * PAGE_HEADERS : (number - at + 1) * PAGE_HEADERS]
            before = _page(some, number * PAGE_HEADERS, before, is_connected=True)
            yield before


def _best_rows(connection: Connection, bounds: tuple[int, int]) -> list[_HeaderRow]:
    """Return the rows of the best chain's headers from one height up to before another."""
    rows = {row[0]: row for row in read_rows(connection, _HEADERS, bounds, _HEADER_TYPES)}
    found = []
    for height, (at, block_id) in enumerate(
        read_rows(connection, _CHAIN, bounds, (int, bytes)), bounds[0]
    ):
        row = rows.get(block_id)
        if at != height or row is None:
            raise DamagedError(f"the best chain is damaged at height {height}")
        found.append(row)
    return found


def compare_pages(
    connection: Connection, before: Page | None, first: int, pages: Sequence[Page]
) -> None:
    """Check pages of connected blocks, from number `first` on, against the tables of headers.

    `before` is the page below. Raises DamagedError.
    """
    made = make_pages(connection, before, first, len(pages))
    for number, (right, page) in enumerate(zip(made, pages, strict=True), first):
        if right != page:
            raise _damaged(number)


def compare_pages_ahead(
    connection: Connection, before: Page | None, first: int, pages: Sequence[Page]
) -> None:
    """Check pages of headers ahead, from number `first` on, against the table of headers.

    `before` is the page below. Their blocks may be connected meanwhile. Raises DamagedError.
    """
    for at in range(0, len(pages), PAGES_AT_ONCE):
        some = pages[at : at + PAGES_AT_ONCE]
        bounds = ((first + at) * PAGE_HEADERS, (first + at + len(some)) * PAGE_HEADERS)
        rows = {row[0]: row for row in read_rows(connection, _HEADERS, bounds, _HEADER_TYPES)}
        for number, page in enumerate(some, first + at):
            found = [row for row in map(rows.get, map(page.id, range(PAGE_HEADERS))) if row]
            if _page(found, number * PAGE_HEADERS, before, is_connected=False) != page:
                raise _damaged(number)
            before = page


def _page(
    rows: Sequence[_HeaderRow], first: int, before: Page | None, *, is_connected: bool
) -> Page:
    """Return the page of these rows, which should be of the heights from `first` on."""
    name = "best chain" if is_connected else "chain of headers"
    previous, start = (NULL_HASH, 0) if before is None else (before.last_id, before.work_at_end)
    parts, work = [], start
    for height, row in enumerate(rows, first):
        block_id, known_height, raw, known_work, status, sequence = row
        if (
            known_height != height
            or (status, sequence >= 0) not in (_CONNECTED if is_connected else _AHEAD)
            or len(raw) != HEADER_BYTES
            or sha256d(raw) != block_id
            or raw[PREVIOUS] != previous
        ):
            raise DamagedError(f"the {name} is damaged at height {height}")
        work += work_from_bits(int.from_bytes(raw[BITS], "little"))
        if known_work != encode_work(work):
            raise DamagedError(f"the {name} is damaged at height {height}")
        previous = Hash32(block_id)
        parts.append(raw)
    if len(rows) != PAGE_HEADERS:
        end = first + PAGE_HEADERS - 1
        raise DamagedError(f"the {name} lacks a header from height {first} to {end}")
    return Page.of(b"".join(parts), start)


def _damaged(number: int) -> DamagedError:
    return DamagedError(f"page {number} of the headers is damaged")


def page_checksum(number: int, raw: bytes, work: bytes) -> bytes:
    """Return the checksum stored beside a page to detect any changed bit."""
    return sha256(number.to_bytes(8, "little") + raw + work)


def encode_work(work: int) -> bytes:
    """Return a chain's work as stored: big-endian, so that it compares as bytes."""
    return work.to_bytes(WORK_BYTES, "big")
