"""Rows of one table that are buffered until they are written, in nearly the order of their keys."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection

from chain.ledger.db.engine import insert_values


class RowBuffer:
    """Rows for one table, grouped by the first byte of their keys.

    Rows of one group go to the same few pages of the table; written group after group they find
    these in the processor's cache, without the cost of sorting. A group is one flat list of values:
    a tuple per row would be a million more objects for Python to track and to free.
    """

    def __init__(self, into: str, columns: int) -> None:
        """Buffer rows of `columns` values for `into`, which is `INSERT INTO table (columns)`."""
        self.buckets: Final[defaultdict[int, list[Any]]] = defaultdict(list)  # by key's first byte
        self._into: Final = into
        self._columns: Final = columns

    def extend(self, others: "RowBuffer") -> None:
        """Add rows of the same table."""
        for first_byte, more in others.buckets.items():
            self.buckets[first_byte].extend(more)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows."""
        for bucket in self._in_order():
            values = iter(bucket)
            yield from zip(*[values] * self._columns, strict=True)

    def insert(self, connection: Connection) -> None:
        """Write the rows."""
        insert_values(connection, self._into, self._in_order())

    def _in_order(self) -> Iterator[list[Any]]:
        return (self.buckets[first_byte] for first_byte in sorted(self.buckets))
