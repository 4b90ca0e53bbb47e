"""Rows on their way into a table, many at a time and nearly in the order of its keys."""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection

from chain.ledger.engine import insert_values

_SHELVES: Final = 256


class WaitingRows:
    """Rows for one table, gathered by the first byte of their keys.

    Written shelf after shelf, a shelf's rows meet the same few pages of the table while these are
    in the processor's cache, without the cost of sorting. A shelf is one flat list of values: a
    tuple a row would be a million more objects for Python to visit and to free.
    """

    def __init__(self, into: str, columns: int) -> None:
        """Wait to `INSERT INTO table (columns)`, which is `into`, rows of `columns` values."""
        self.shelves: Final[tuple[list[Any], ...]] = tuple([] for _ in range(_SHELVES))
        self._into: Final = into
        self._columns: Final = columns

    def __len__(self) -> int:
        return sum(map(len, self.shelves)) // self._columns

    def extend(self, others: "WaitingRows") -> None:
        """Add rows for the same table."""
        for shelf, more in zip(self.shelves, others.shelves, strict=True):
            if more:
                shelf.extend(more)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows."""
        for shelf in self.shelves:
            values = iter(shelf)
            yield from zip(*[values] * self._columns, strict=True)

    def insert(self, connection: Connection) -> None:
        """Write the rows."""
        insert_values(connection, self._into, self._columns, self.shelves)
