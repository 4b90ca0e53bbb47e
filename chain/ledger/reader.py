"""Reading the ledger beside its writer: each snapshot is the best chain as of one commit."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from chain.ledger.engine import (
    Database,
    database_failed,
    database_file,
    is_in_memory,
    lift_limit,
    limit_time,
    open_engine,
)
from chain.ledger.errors import LedgerError, SnapshotExpiredError
from chain.ledger.snapshot import Located, ScriptStats, Snapshot, Spender

__all__ = ["Located", "Reader", "ScriptStats", "Snapshot", "Spender", "open_reader"]

SNAPSHOT_S_MAX: Final = 5.0  # a longer read would keep the write-ahead log growing


def open_reader(database: Database, *, seconds_max: float = SNAPSHOT_S_MAX) -> "Reader":
    """Return a reader of a ledger, which exists. Raises LedgerError."""
    file = database_file(database)
    if is_in_memory(database):
        raise LedgerError("a ledger in memory has no readers")
    if file is not None and not file.is_file():
        raise LedgerError(f"there is no ledger at {file}")
    return Reader(database, seconds_max)


class Reader:
    """A pool of read-only connections. Any thread may use it; no read waits for the writer."""

    def __init__(self, database: Database, seconds_max: float) -> None:
        self._engine = open_engine(database, read_only=True)
        self._seconds_max = seconds_max

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Give one read transaction, closed on exit: leave before the reply is sent.

        Raises SnapshotExpiredError: it lasted longer than `seconds_max`; DatabaseFailedError.
        """
        deadline_s = time.monotonic() + self._seconds_max
        try:
            with self._engine.connect() as connection, _limited(connection, deadline_s):
                yield Snapshot(connection)
        except SQLAlchemyError as error:
            if time.monotonic() > deadline_s:
                raise SnapshotExpiredError(f"a read took over {self._seconds_max} s") from error
            raise database_failed(self._engine, error, "read") from error

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._engine.dispose()


@contextmanager
def _limited(connection: Connection, deadline_s: float) -> Iterator[None]:
    limit_time(connection, deadline_s)
    try:
        yield
    finally:
        lift_limit(connection)
