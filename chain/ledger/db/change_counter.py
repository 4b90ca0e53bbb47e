"""Whether others have committed, in a tenth of a snapshot's time."""

from typing import TypeAlias

from sqlalchemy import Connection, Engine

from chain.ledger.db.engine import commits_of_others

Changes: TypeAlias = tuple[int, int]  # which connection counts, and its count


class ChangeCounter:
    """Counts the commits of others to an SQLite database; for one thread at a time.

    SQLite counts them for each connection, from when it was opened.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._opened = 0

    def now(self) -> Changes:
        """Return what differs after each commit. Raises SQLAlchemyError."""
        if self._connection is None:
            self._connection = self._engine.connect()
            self._opened += 1
        is_whole = False
        try:
            count = commits_of_others(self._connection)
            is_whole = True
        finally:
            if not is_whole:
                self.close()
        return self._opened, count

    def close(self) -> None:
        """Close the connection; `now` opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
