"""Comparison of a table with its rebuilt version."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from chain.ledger.db.engine import STREAM_ROWS, stream_rows
from chain.ledger.db.schema import POSITION_BITS, HeaderStatus
from chain.primitives.numbers import OutPoint, id_text, outpoint_index, outpoint_txid

Row = tuple[Any, ...]

_SHOWN_BYTES_MAX: Final = 40
_LARGE_ROWS: Final = 16  # rows in memory where one row may have a megabyte
_NULL, _NUMBER, _TEXT, _BYTES = range(4)  # in a database's sort order


@dataclass(frozen=True, slots=True)
class Table:
    """The parts of a table that must be equal; the first `keys` columns identify a row."""

    name: str
    columns: tuple[str, ...]
    keys: int
    where: str = ""
    at_once: int = STREAM_ROWS  # rows in memory
    optional: str = ""  # a column that is missing in rows of an older groat

    @property
    def is_of_blocks(self) -> bool:
        """Whether a row's key is a block id."""
        return self.columns[0] == "id"

    @property
    def query(self) -> str:
        """The query for the rows in key order."""
        keys = ", ".join(self.columns[: self.keys])
        return f"SELECT {', '.join(self.columns)} FROM {self.name} {self.where} ORDER BY {keys}"  # noqa: S608


# Not compared: the numbers of headers, which only record the order of arrival; bodies, from which
# the other ledger was built and which match their checksums; the excluded blocks, which decide
# where the other ledger's tip is.
TABLES: Final = (
    Table(
        "headers",
        ("id", "raw", "height", "work", "status"),
        1,
        f"WHERE status <> {HeaderStatus.INVALID:d}",
    ),
    Table("chain", ("height", "id", "tx_count"), 1),
    Table("blocks", ("id", "checksum"), 1),
    Table("undo", ("id", "raw", "checksum"), 1, at_once=_LARGE_ROWS),
    Table("coins", ("point", "value", "script", "height", "from_coinbase"), 1),
    Table("transactions", ("number", "txid", "start", "size", "checksum"), 1, optional="checksum"),
    Table("history", ("script", "number", "slot", "value", "point"), 3),
    Table("index_digests", ("kind", "shelf", "digests"), 2),
    Table("meta", ("name", "value"), 1, "WHERE name NOT IN ('excluded', 'rules')"),
)


def compare_table(
    table: Table, old: Connection, right: Connection, untried: Container[bytes] = frozenset()
) -> Iterator[str]:
    """Yield a description of each difference between `old` and `right`, the correct rows.

    Any row of `old` for the blocks `untried` is accepted.
    """
    there = (r for r in _rows(old, table) if not (table.is_of_blocks and r[0] in untried))
    try:
        yield from _differences(table, there, _rows(right, table))
    except SQLAlchemyError as error:
        yield f"{table.name}: the table cannot be read: {error.__cause__ or error}"


def _differences(table: Table, old: Iterator[Row], right: Iterator[Row]) -> Iterator[str]:
    there, wanted = next(old, None), next(right, None)
    while there is not None or wanted is not None:
        order = _order(table, there, wanted)
        if there is not None and order < 0:
            yield f"{table.name}: {_name(table, there)} should not be there"
        elif wanted is not None and order > 0:
            yield f"{table.name}: {_name(table, wanted)} is missing"
        elif there is not None and wanted is not None:
            yield from _changes(table, there, wanted)
        there = next(old, None) if order <= 0 else there
        wanted = next(right, None) if order >= 0 else wanted


def _changes(table: Table, there: Row, wanted: Row) -> Iterator[str]:
    for column, is_there, is_right in zip(table.columns, there, wanted, strict=True):
        if is_there is None and column == table.optional:
            continue
        if (type(is_there), is_there) != (type(is_right), is_right):
            found, right = _text(is_there), _text(is_right)
            yield f"{table.name}: {_name(table, wanted)} has {column} {found} instead of {right}"


def _rows(connection: Connection, table: Table) -> Iterator[Row]:
    for rows in stream_rows(connection, table.query, at_once=table.at_once):
        yield from rows


def _order(table: Table, there: Row | None, wanted: Row | None) -> int:
    """Compare two rows' keys: -1 if the left comes first, 1 if the right does, 0 if equal."""
    if there is None or wanted is None:
        return -1 if wanted is None else 1
    left = [_sortable(value) for value in there[: table.keys]]
    right = [_sortable(value) for value in wanted[: table.keys]]
    return (left > right) - (left < right)


def _sortable(value: object) -> tuple[int, object]:
    if value is None:
        return _NULL, 0
    if isinstance(value, int | float):
        return _NUMBER, value
    return (_TEXT, value.encode()) if isinstance(value, str) else (_BYTES, value)


def _name(table: Table, row: Row) -> str:
    key = row[0]
    if table.name == "coins" and isinstance(key, bytes):
        point = OutPoint(key)
        return f"output {id_text(outpoint_txid(point))}:{outpoint_index(point)}"
    if table.is_of_blocks and isinstance(key, bytes):
        return f"block {id_text(key)}"
    if table.name == "chain":
        return f"height {key}"
    if table.name == "transactions" and isinstance(key, int):
        return _place(key)
    if table.name == "history" and isinstance(row[1], int):
        return f"the row of script {_text(key)} for {_place(row[1])}, slot {row[2]},"
    return ", ".join(map(_text, row[: table.keys]))


def _place(number: int) -> str:
    position = number & ((1 << POSITION_BITS) - 1)
    return f"transaction {position} at height {number >> POSITION_BITS}"


def _text(value: object) -> str:
    if not isinstance(value, bytes):
        return repr(value)
    shown = value[:_SHOWN_BYTES_MAX].hex()
    return shown if len(value) <= _SHOWN_BYTES_MAX else f"{shown}... ({len(value)} bytes)"
