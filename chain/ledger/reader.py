"""Reading the ledger beside its writer: each snapshot shows the best chain as of one commit."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from chain.ledger.db.engine import begin_reading, end_reading, open_engine, read_failure, read_rows
from chain.ledger.db.large_values import limit_bytes
from chain.ledger.db.log_file import LogFile
from chain.ledger.db.snapshot import LedgerSnapshot, ScriptStats, Spender
from chain.ledger.db.tx_index_reader import TxLocation
from chain.ledger.db.url import Database, database_file, database_url, is_in_memory
from chain.ledger.errors import (
    DamagedError,
    LedgerError,
    SnapshotExpiredError,
    UnavailableError,
)
from chain.ledger.migrate import check_schema

__all__ = [
    "LedgerSnapshot",
    "Reader",
    "ScriptStats",
    "Spender",
    "TxLocation",
    "is_made",
    "open_reader",
]

IDLE_MAX: Final = 8  # connections: the API's threads and its event loop need fewer
SNAPSHOT_S_MAX: Final = 5.0  # a longer read would let the write-ahead log grow


def open_reader(database: Database, *, seconds_max: float = SNAPSHOT_S_MAX) -> "Reader":
    """Return a reader of an existing ledger.

    Raises LedgerError: also for a ledger of an older or newer groat, or a damaged one.
    """
    file = database_file(database)
    if is_in_memory(database):
        raise LedgerError("a ledger in memory cannot be read by others")
    if file is not None and not file.is_file():
        raise LedgerError(f"there is no ledger at {file}")
    reader = Reader(database, seconds_max)
    try:
        reader.check_schema()
    except LedgerError:
        reader.close()
        raise
    return reader


def is_made(database: Database) -> bool:
    """Return whether a node has made the ledger: its tables, and genesis in them.

    Raises LedgerError: the database cannot be read.
    """
    file = database_file(database)
    if file is not None and not file.is_file():
        return False
    engine = open_engine(database, read_only=True)
    try:
        with engine.connect() as connection:
            tables = inspect(connection).get_table_names()
            if "meta" not in tables:
                return bool(tables)  # what is there is not groat's
            return bool(read_rows(connection, "SELECT name FROM meta LIMIT 1"))
    except SQLAlchemyError as error:
        raise _with_advice(read_failure(engine, error)) from error
    finally:
        engine.dispose()


class Reader:
    """A pool of read-only connections. Any thread may use it; no read waits for the writer."""

    def __init__(self, database: Database, seconds_max: float) -> None:
        # A read waits for a server's answers, and for a minute if it went away without a word.
        self.is_on_server = database_url(database).get_backend_name() != "sqlite"
        self._engine = open_engine(database, read_only=True)
        self._seconds_max = seconds_max
        self._idle: list[Connection] = []  # open, but in no transaction
        self._file = database_file(database)
        self._log = LogFile(database)
        self._opened = _identity(self._file)

    @contextmanager
    def snapshot(
        self,
        seconds_max: float | None = None,
        bytes_max: int | None = None,
        *,
        waits: bool = True,
    ) -> Iterator[LedgerSnapshot]:
        """Open a read transaction, which ends with the `with` block: leave it before replying.

        It waits if reads pause because the write-ahead log is too long, unless `waits` is false.

        Raises SnapshotExpiredError: it lasted longer than `seconds_max` (the reader's if None);
        ReadTooLargeError: of transactions and the coins that they spent, it would read more than
        `bytes_max` (any number if None); UnavailableError: a later attempt may succeed, or one
        that waits;
        DatabaseFailedError, DamagedError: nothing read here can be relied on.
        """
        self._pause(waits=waits)
        lasts_s = self._seconds_max if seconds_max is None else seconds_max
        deadline_s = time.monotonic() + lasts_s
        try:
            with self._reading(deadline_s) as connection:
                limit_bytes(connection, bytes_max)
                yield LedgerSnapshot(connection)
        except SQLAlchemyError as error:
            if time.monotonic() > deadline_s:
                raise SnapshotExpiredError(f"a read took over {lasts_s} s") from error
            raise _with_advice(read_failure(self._engine, error)) from error
        except DamagedError as error:
            raise _with_advice(error) from error

    def _pause(self, *, waits: bool) -> None:
        pause = self._log.pause()
        if pause.begins_in_s or not pause.ends_in_s:
            return
        if not waits:
            raise UnavailableError("reads pause, so that the ledger's log can begin again")
        time.sleep(pause.ends_in_s)

    @contextmanager
    def _reading(self, deadline_s: float) -> Iterator[Connection]:
        """Yield a connection in a transaction; it is used again unless something fails."""
        connection = self._begun(deadline_s)
        is_whole = False
        try:
            try:
                yield connection
            finally:
                end_reading(connection)
            is_whole = True
        finally:
            if is_whole and len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
            else:
                connection.close()

    def _begun(self, deadline_s: float) -> Connection:
        """Return a connection in a transaction; a server may have closed those that were kept."""
        while True:
            is_kept = bool(self._idle)
            connection = self._idle.pop() if is_kept else self._engine.connect()
            try:
                begin_reading(connection, deadline_s)
            except DBAPIError as error:
                connection.close()
                if not (is_kept and error.connection_invalidated):
                    raise
            except LedgerError:
                connection.close()
                raise
            else:
                return connection

    def check_file(self) -> None:
        """Check that the file is the one that was opened; others would never be read.

        Raises LedgerError.
        """
        if _identity(self._file) != self._opened:
            raise LedgerError(f"the ledger {self._file} was replaced: start this process again")

    def check_schema(self) -> None:
        """Check that the ledger's schema is this groat's. Raises LedgerError."""
        try:
            with self._engine.connect() as connection:
                check_schema(connection)
        except SQLAlchemyError as error:
            raise _with_advice(read_failure(self._engine, error)) from error
        except DamagedError as error:
            raise _with_advice(error) from error

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()
        self._engine.dispose()


def _identity(file: Path | None) -> tuple[int, int] | None:
    """Return what tells a file from another of the same name; None if it does not exist."""
    try:
        found = None if file is None else file.stat()
    except FileNotFoundError:
        return None
    return None if found is None else (found.st_dev, found.st_ino)


def _with_advice(error: LedgerError) -> LedgerError:
    if isinstance(error, DamagedError):
        return DamagedError(f"the ledger is damaged: {error}: run `groat check`")
    return error
