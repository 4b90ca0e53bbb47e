"""Rows on their way into a table, many at a time and nearly in the order of its keys."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection

from chain.ledger.engine import insert_values


class WaitingRows:
    """Rows for one table, gathered by the first byte of their keys.

    Written shelf after shelf, a shelf's rows meet the same few pages of the table while these are
    in the processor's cache, without the cost of sorting. A shelf is one flat list of values: a
    tuple a row would be a million more objects for Python to visit and to free.
    """

    def __init__(self, into: str, columns: int) -> None:
        """Wait to `INSERT INTO table (columns)`, which is `into`, rows of `columns` values."""
        self.shelves: Final[defaultdict[int, list[Any]]] = defaultdict(list)  # by the first byte
        self._into: Final = into
        self._columns: Final = columns

    def __len__(self) -> int:
        return sum(map(len, self.shelves.values())) // self._columns

    def extend(self, others: "WaitingRows") -> None:
        """Add rows for the same table."""
        for first_byte, more in others.shelves.items():
            self.shelves[first_byte].extend(more)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows."""
        for shelf in self._in_order():
            values = iter(shelf)
            yield from zip(*[values] * self._columns, strict=True)

    def insert(self, connection: Connection) -> None:
        """Write the rows."""
        insert_values(connection, self._into, self._columns, self._in_order())

    def _in_order(self) -> Iterator[list[Any]]:
        return (self.shelves[first_byte] for first_byte in sorted(self.shelves))
