"""Reading pieces of large values, such as one transaction of a block."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import Connection

from chain.ledger.db.engine import ROW_NUMBER, driver_error, read_keys, read_rows, reading_driver
from chain.ledger.errors import ReadTooLargeError

ReadPiece: TypeAlias = Callable[[int, int], bytes]  # offset and size of some of a value
Key = TypeVar("Key", bound=bytes)
Result = TypeVar("Result")

_BYTES_LEFT: Final = "groat_bytes_left"  # in what SQLAlchemy keeps with a connection


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
) -> dict[Key, Result]:
    """Return what `decode` returns of each existing row's key and a function that reads its value.

    That function takes an offset and a size, gives fewer bytes where the value ends, and is valid
    during the call. SQLite reads a large value page by page, and so only as far as needed. Raises
    ReadTooLargeError: before more is read than `limit_bytes` allows.
    """
    found: dict[Key, Result] = {}
    driver = reading_driver(connection)
    if driver is None:
        for (key,) in read_keys(connection, query.existing, keys, (bytes,)):
            found[key] = decode(
                key, _counted(connection, partial(_selected_piece, connection, query, key))
            )
        return found
    for key, row in read_keys(connection, query.rows, keys, (bytes, int)):
        try:
            with driver.blobopen(query.table, query.column, row, readonly=True) as blob:
                piece = partial(_blob_piece, connection, query, blob)
                found[key] = decode(key, _counted(connection, piece))
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise driver_error(connection, query.piece, error) from error
    return found


def _counted(connection: Connection, read: ReadPiece) -> ReadPiece:
    """Return `read`, which takes what it reads from the bytes that are left."""
    info = connection.info
    if info.get(_BYTES_LEFT) is None:
        return read

    def counted(at: int, size: int) -> bytes:
        info[_BYTES_LEFT] -= max(size, 0)
        if info[_BYTES_LEFT] < 0:
            raise ReadTooLargeError("more bytes than this snapshot may read")
        return read(at, size)

    return counted


def _blob_piece(
    connection: Connection, query: BlobQuery, blob: sqlite3.Blob, at: int, size: int
) -> bytes:
    if at < 0 or size < 0:
        return b""
    try:
        piece: Any = blob[at : at + size]  # truncated at the end, like a slice
    except sqlite3.Error as error:
        raise driver_error(connection, query.piece, error) from error
    return piece  # type: ignore[no-any-return]


def _selected_piece(
    connection: Connection, query: BlobQuery, key: bytes, at: int, size: int
) -> bytes:
    [(piece,)] = read_rows(connection, query.piece, (at + 1, max(size, 0), key), (bytes,))
    return bytes(piece)
