"""Reading pieces of large values, such as one transaction of a block."""

import sqlite3
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import Connection

from chain.ledger.db.engine import ROW_NUMBER, driver_error, read_keys, read_rows, reading_driver
from chain.ledger.errors import ReadTooLargeError

ReadPiece: TypeAlias = Callable[[int, int], bytes]  # offset and size of some of a value
_Info: TypeAlias = MutableMapping[Any, Any]  # what SQLAlchemy keeps with a connection
Key = TypeVar("Key", bound=bytes)
Result = TypeVar("Result")

_BYTES_LEFT: Final = "groat_bytes_left"  # in _Info


@dataclass(frozen=True, slots=True)
class BlobQuery:
    """A table's column of large values, and the column of its keys."""

    table: str
    column: str
    key: str

    @property
    def piece(self) -> str:
        """A query for some bytes of a value; its values are position (from 1), size and key."""
        return f"SELECT substr({self.column}, ?, ?) FROM {self.table} WHERE {self.key} = ?"  # noqa: S608 - names of ours

    @property
    def existing(self) -> str:
        """A query for those of some keys that exist."""
        return f"SELECT {self.key} FROM {self.table} WHERE {self.key} IN"  # noqa: S608 - names of ours

    @property
    def rows(self) -> str:
        """SQLite's query for the numbers of the rows with some keys."""
        return f"SELECT {self.key}, {ROW_NUMBER} FROM {self.table} WHERE {self.key} IN"  # noqa: S608 - names of ours


def limit_bytes(connection: Connection, bytes_max: int | None) -> None:
    """Let `read_values` read so many bytes on this connection from now on; None: any number."""
    connection.info[_BYTES_LEFT] = bytes_max


def read_values(
    connection: Connection,
    query: BlobQuery,
    keys: Sequence[Key],
    decode: Callable[[Key, ReadPiece], Result],
    rows: Mapping[Key, int] | None = None,
) -> dict[Key, Result]:
    """Return what `decode` returns of each existing row's key and a function that reads its value.

    That function takes an offset and a size, gives fewer bytes where the value ends, and is valid
    during the call. SQLite reads a large value page by page, and so only as far as needed. The
    numbers of its `rows` by key, if all are known, spare it a statement. Raises ReadTooLargeError:
    before more is read than `limit_bytes` allows.
    """
    found: dict[Key, Result] = {}
    driver = reading_driver(connection)
    info = connection.info
    if driver is None:
        for (key,) in read_keys(connection, query.existing, keys, (bytes,)):
            found[key] = decode(key, _selected_pieces(connection, info, query, key))
        return found
    if rows is None:
        rows = dict(read_keys(connection, query.rows, keys, (bytes, int)))
    open_blob, table, column = driver.blobopen, query.table, query.column
    try:
        for key, row in rows.items():
            with open_blob(table, column, row, readonly=True) as blob:
                found[key] = decode(key, _blob_pieces(connection, info, query, blob))
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise driver_error(connection, query.piece, error) from error
    return found


def _count(info: _Info, size: int) -> None:
    """Take `size` from the bytes that are left."""
    left = info.get(_BYTES_LEFT)
    if left is None:
        return
    if size > left:
        raise ReadTooLargeError("more bytes than this snapshot may read")
    info[_BYTES_LEFT] = left - size


def _blob_pieces(
    connection: Connection, info: _Info, query: BlobQuery, blob: sqlite3.Blob
) -> ReadPiece:
    def read(at: int, size: int) -> bytes:
        if at < 0 or size < 0:
            return b""
        _count(info, size)
        try:
            piece: Any = blob[at : at + size]  # truncated at the end, like a slice
        except sqlite3.Error as error:
            raise driver_error(connection, query.piece, error) from error
        return piece  # type: ignore[no-any-return]

    return read


def _selected_pieces(
    connection: Connection, info: _Info, query: BlobQuery, key: bytes
) -> ReadPiece:
    def read(at: int, size: int) -> bytes:
        wanted = max(size, 0)
        _count(info, wanted)
        [(piece,)] = read_rows(connection, query.piece, (at + 1, wanted, key), (bytes,))
        return bytes(piece)

    return read
