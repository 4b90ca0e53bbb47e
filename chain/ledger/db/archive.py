"""Headers, bodies and undo data in the database; new ones are buffered in memory until `take`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice, repeat, takewhile
from typing import Any, Final

from sqlalchemy import Connection

from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.ledger.db.engine import (
    LOOKUP_KEYS_MAX,
    delete_keys,
    insert_values,
    read_keys,
    read_rows,
    write_rows,
)
from chain.ledger.db.header_pages import encode_work, write_pages
from chain.ledger.db.large_values import BlobQuery, ReadPiece, read_values
from chain.ledger.db.records import (
    block_checksum,
    decode_spent,
    decode_spent_at,
    encode_spent,
    undo_checksum,
)
from chain.ledger.db.schema import HeaderStatus
from chain.ledger.errors import DamagedError
from chain.ledger.header_columns import Page
from chain.primitives.block import HEADER_BYTES, Block, RawHeaders
from chain.primitives.encoding import DecodeError
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Hash32, id_text

_INSERT_HEADER: Final = "INSERT INTO headers (number, id, raw, height, work, status, sequence)"
_UPDATE_HEADER: Final = "UPDATE headers SET status = ?, sequence = ? WHERE id = ?"
_DELETE_HEADERS: Final = "DELETE FROM headers WHERE id IN"
_INSERT_BLOCK: Final = "INSERT INTO blocks (id, raw, checksum) VALUES (?, ?, ?)"
_BLOCK_SIZES: Final = "SELECT id, length(raw) FROM blocks WHERE id IN"
_BLOCKS: Final = "SELECT id, raw, checksum FROM blocks WHERE id IN"
_STATUSES: Final = "SELECT id, status FROM headers WHERE id IN"
_DELETE_BLOCKS: Final = "DELETE FROM blocks WHERE id IN"
_INSERT_UNDO: Final = "INSERT INTO undo (id, raw, checksum) VALUES (?, ?, ?)"
_UNDO: Final = "SELECT raw, checksum FROM undo WHERE id = ?"
_UNDO_RAW: Final = BlobQuery("undo", "raw", "id")
_DELETE_UNDO: Final = "DELETE FROM undo WHERE id = ?"

Spent = tuple[tuple[Coin, ...], ...]


class Archive:
    """Writes and reads the data of single blocks, in the best chain or not."""

    def __init__(self, connection: Connection, next_number: int, next_sequence: int) -> None:
        self.buffered_bytes = 0
        self._connection = connection
        self._next_number = next_number
        self._next_sequence = next_sequence
        self._headers: dict[Hash32, tuple[int, BlockTreeEntry]] = {}
        self._runs: list[HeaderRun] = []
        self._states: dict[Hash32, State] = {}
        self._blocks: dict[Hash32, bytes] = {}
        self._undo: dict[Hash32, bytes] = {}
        self._pages: tuple[int, list[Page]] | None = None
        self._page_count: int | None = None  # with the buffered ones; None: not known yet

    @property
    def is_buffering(self) -> bool:
        """Whether `take` would return any rows."""
        changes = (self._headers, self._runs, self._states, self._blocks, self._undo)
        return any(changes) or self._pages is not None

    @property
    def buffered_headers(self) -> int:
        """How many headers of `add_headers` are not written."""
        return sum(len(run.headers) for run in self._runs)

    def add_header(self, entry: BlockTreeEntry) -> None:
        """Add a new header."""
        self._headers[entry.id] = (self._next_number, entry)
        self._states[entry.id] = (HeaderStatus.HEADER, None)
        self._next_number += 1

    def add_headers(self, headers: RawHeaders, height: int, works: Sequence[int]) -> None:
        """Add new headers in a row, from `height` on; `works` are those of their chains."""
        self._runs.append(HeaderRun(self._next_number, headers, height, works))
        self._next_number += len(headers)

    def add_block(self, block: Block) -> None:
        """Add the body of a known header."""
        self._blocks[block.id] = block.raw
        self._states[block.id] = (HeaderStatus.STORED, None)
        self.buffered_bytes += len(block.raw)

    def complete(self, entry: BlockTreeEntry) -> int:
        """Record that a block and all its ancestors are stored; return its sequence."""
        sequence = self._next_sequence
        self._states[entry.id] = (HeaderStatus.STORED, sequence)
        self._next_sequence += 1
        return sequence

    def mark_invalid(self, entries: Iterable[BlockTreeEntry]) -> None:
        """Mark blocks as invalid, and delete their bodies."""
        written = []
        for entry in entries:
            self._states[entry.id] = (HeaderStatus.INVALID, None)
            if self._blocks.pop(entry.id, None) is None:
                written.append(entry.id)
        delete_keys(self._connection, _DELETE_BLOCKS, written)

    def forget(self, block_ids: Iterable[Hash32]) -> None:
        """Delete the headers of invalid blocks, and their bodies, in the open transaction."""
        _insert_runs(self._connection, self._take_runs())  # they may be among them
        ids = iter(block_ids)
        while some := list(islice(ids, LOOKUP_KEYS_MAX)):
            written = []
            for block_id in some:
                self._states.pop(block_id, None)
                self._blocks.pop(block_id, None)
                if self._headers.pop(block_id, None) is None:
                    written.append(block_id)
            delete_keys(self._connection, _DELETE_BLOCKS, written)
            delete_keys(self._connection, _DELETE_HEADERS, written)

    def add_pages(self, first: int, pages: Sequence[Page]) -> None:
        """Add the pages of headers from number `first` on; those before it are unchanged."""
        if self._pages is not None:
            first = min(first, self._pages[0])
        if first == len(pages) == self._page_count:
            return
        self._pages, self._page_count = (first, list(pages[first:])), len(pages)

    def add_undo(self, block_id: Hash32, spent: Sequence[Sequence[Coin]]) -> None:
        """Add the coins that a connected block spent."""
        self._undo[block_id] = encode_spent(block_id, spent)
        self.buffered_bytes += len(self._undo[block_id])

    def delete_undo(self, block_id: Hash32) -> None:
        """Delete the undo data of a disconnected block."""
        write_rows(self._connection, _DELETE_UNDO, [(block_id,)])

    def discard_buffered_undo(self) -> None:
        """Discard undo data that was not written."""
        self._undo.clear()

    def block(self, block_id: Hash32) -> bytes | None:
        """Return a raw block, or None. Raises DamagedError."""
        raw = self._blocks.get(block_id)
        if raw is not None:
            return raw
        if self._states.get(block_id, (HeaderStatus.STORED, None))[0] is not HeaderStatus.STORED:
            return None  # invalid, but the table of headers does not say so yet
        return read_block(self._connection, block_id)

    def blocks(self, block_ids: Sequence[Hash32], bytes_max: int) -> list[bytes | None]:
        """Return the first of these raw blocks; None: not stored. Raises DamagedError.

        At least one, and of the others as many as fit into `bytes_max` with it.
        """
        if self._blocks or self._states:
            return [self.block(block_ids[0])]  # some may be buffered
        return read_blocks(self._connection, block_ids, bytes_max)

    def take(self) -> "ArchiveRows":
        """Return the buffered changes, to be written."""
        states = self._states
        new = [(number, entry, states.pop(entry.id)) for number, entry in self._headers.values()]
        runs = self._take_runs()
        rows = ArchiveRows(runs, new, states, self._blocks, self._undo, self._pages)
        self._headers, self._states, self._blocks, self._undo = {}, {}, {}, {}
        self._pages = None
        self.buffered_bytes = 0
        return rows

    def _take_runs(self) -> "list[HeaderRun]":
        runs, self._runs = self._runs, []
        return runs


State = tuple[HeaderStatus, int | None]  # with the sequence; None if it is not complete


@dataclass(frozen=True, slots=True)
class HeaderRun:
    """New headers in a row, without blocks."""

    number: int  # of the first
    headers: RawHeaders
    height: int  # of the first
    works: Sequence[int]  # of the chain up to each

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows to insert."""
        return zip(
            range(self.number, self.number + len(self.headers)),
            self.headers.ids,
            self.headers.encodings(),
            range(self.height, self.height + len(self.headers)),
            map(encode_work, self.works),
            repeat(int(HeaderStatus.HEADER), len(self.headers)),
            repeat(None, len(self.headers)),
            strict=True,
        )


@dataclass(frozen=True, slots=True)
class ArchiveRows:
    """Rows to be written."""

    runs: list[HeaderRun]
    headers: list[tuple[int, BlockTreeEntry, State]]  # number and header of each new header
    states: dict[Hash32, State]  # of headers that are already in the table
    blocks: dict[Hash32, bytes]
    undo: dict[Hash32, bytes]
    pages: tuple[int, list[Page]] | None  # pages of headers, and the first one's number

    def write_headers(self, connection: Connection) -> None:
        """Write the headers and their states in the open transaction. Raises DamagedError."""
        _insert_runs(connection, self.runs)
        new = [
            (
                *(number, entry.id, entry.header.encode(), entry.height, work_bytes(entry)),
                *(int(status), sequence),  # SQLite's driver takes long for an IntEnum
            )
            for number, entry, (status, sequence) in self.headers
        ]
        insert_values(connection, _INSERT_HEADER, new)
        changed = [(int(status), sequence, key) for key, (status, sequence) in self.states.items()]
        if write_rows(connection, _UPDATE_HEADER, changed) != len(changed):
            raise DamagedError("known headers are missing in the table of headers")
        if self.pages is not None:
            write_pages(connection, *self.pages)

    def write_bodies(self, connection: Connection) -> None:
        """Write the blocks and their undo data, once their headers are written.

        One by one: the driver copies all values of a statement, and blocks are large.
        """
        blocks = [(key, raw, block_checksum(raw)) for key, raw in self.blocks.items()]
        write_rows(connection, _INSERT_BLOCK, blocks)
        undo = [(key, raw, undo_checksum(key, raw)) for key, raw in self.undo.items()]
        write_rows(connection, _INSERT_UNDO, undo)


def _insert_runs(connection: Connection, runs: Sequence[HeaderRun]) -> None:
    if runs:
        insert_values(connection, _INSERT_HEADER, chain.from_iterable(run.rows() for run in runs))


def work_bytes(entry: BlockTreeEntry) -> bytes:
    """Return a chain's work as stored: big-endian, so that it compares as bytes."""
    return encode_work(entry.chain_work)


def read_block(connection: Connection, block_id: Hash32) -> bytes | None:
    """Return a raw block, or None if it is not stored. Raises DamagedError."""
    query = "SELECT raw, checksum FROM blocks WHERE id = ?"
    for raw, checksum in read_rows(connection, query, (block_id,), (bytes, bytes)):
        _check_block(block_id, raw, checksum)
        return bytes(raw)
    _check_missing(connection, [block_id])
    return None


def read_blocks(
    connection: Connection, block_ids: Sequence[Hash32], bytes_max: int
) -> list[bytes | None]:
    """Return the first of these raw blocks; None: not stored. Raises DamagedError.

    At least one, and of the others as many as fit into `bytes_max` with it. Three statements read
    all of them; a database gives the length of a large value without reading it.
    """
    sizes: dict[Hash32, int] = dict(read_keys(connection, _BLOCK_SIZES, block_ids, (bytes, int)))
    ends = accumulate(sizes.get(block_id, 0) for block_id in block_ids)
    count = sum(1 for end in takewhile(lambda end: end <= bytes_max, ends))
    wanted = block_ids[: max(count, 1)]
    found: dict[Hash32, bytes] = {}
    types = (bytes, bytes, bytes)
    for block_id, raw, checksum in read_keys(connection, _BLOCKS, wanted, types):
        _check_block(block_id, raw, checksum)
        found[block_id] = bytes(raw)
    _check_missing(connection, [key for key in wanted if key not in found])
    return [found.get(key) for key in wanted]


def _check_missing(connection: Connection, block_ids: Sequence[Hash32]) -> None:
    """Check that blocks without a body should have none. Raises DamagedError."""
    for block_id, status in read_keys(connection, _STATUSES, block_ids, (bytes, int)):
        if status == HeaderStatus.STORED:
            raise DamagedError(f"block {id_text(block_id)} is missing")


def _check_block(block_id: Hash32, raw: bytes, checksum: bytes) -> None:
    if block_checksum(raw) != checksum or sha256d(raw[:HEADER_BYTES]) != block_id:
        raise DamagedError(f"block {id_text(block_id)} is damaged")


def read_undo(connection: Connection, block_id: Hash32) -> Spent | None:
    """Return the coins that a block of the best chain spent, or None. Raises DamagedError."""
    for raw, checksum in read_rows(connection, _UNDO, (block_id,), (bytes, bytes)):
        try:
            if undo_checksum(block_id, raw) == checksum:
                return decode_spent(raw)
        except DecodeError:
            pass  # it cannot be decoded: damaged, like data with a wrong checksum
        raise DamagedError(f"the undo data of block {id_text(block_id)} is damaged")
    return None


def read_spent(
    connection: Connection,
    wanted: Mapping[Hash32, Sequence[int]],
    rows: Mapping[Hash32, int] | None = None,
) -> dict[Hash32, Spent]:
    """Return the coins spent by transactions, by block and in the order of their positions there.

    The blocks must be in the best chain. Only the requested parts of their undo data are read,
    each once; a coinbase spent nothing. The numbers of the blocks' `rows`, if they are known, spare
    a statement. Raises DamagedError.
    """
    found: dict[Hash32, Spent] = {key: ((),) * len(at) for key, at in wanted.items() if not any(at)}
    keys = [key for key in wanted if key not in found]
    known = None if rows is None else {key: rows[key] for key in keys}
    found |= read_values(
        connection, _UNDO_RAW, keys, lambda key, read: _spent_at(key, read, wanted[key]), known
    )
    for key in wanted:
        if key not in found:
            raise DamagedError(f"the undo data of block {id_text(key)} is missing")
    return found


def _spent_at(block_id: Hash32, read: ReadPiece, positions: Sequence[int]) -> Spent:
    try:
        return tuple(decode_spent_at(block_id, read, positions))
    except DecodeError as error:
        problem = f"the undo data of block {id_text(block_id)} is damaged: {error}"
        raise DamagedError(problem) from error
