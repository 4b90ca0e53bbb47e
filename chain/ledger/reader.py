"""Reading the ledger beside its writer: each snapshot shows the best chain as of one commit."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from chain.ledger.db.connections import ChangeCounter, Changes, ReaderConnections
from chain.ledger.db.engine import open_engine, read_rows
from chain.ledger.db.failures import first_read_failure, read_failure
from chain.ledger.db.index.tx_index_reader import TxLocation
from chain.ledger.db.large_values import limit_bytes
from chain.ledger.db.log_file import LogFile
from chain.ledger.db.snapshot import ConfirmedBytes, LedgerSnapshot, ScriptStats, Spender
from chain.ledger.db.tables import has_ledger
from chain.ledger.db.url import Database, database_file, database_url, is_in_memory
from chain.ledger.errors import (
    DamagedError,
    LedgerError,
    SnapshotExpiredError,
    UnavailableError,
)
from chain.ledger.migrate import check_schema

__all__ = [
    "ConfirmedBytes",
    "LedgerSnapshot",
    "Reader",
    "ScriptStats",
    "Spender",
    "TxLocation",
    "is_made",
    "open_reader",
]

SNAPSHOT_S_MAX: Final = 5.0  # a longer read would let the write-ahead log grow
_ANY_META: Final = "SELECT name FROM meta LIMIT 1"


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

    Raises LedgerError: the database cannot be read, or is of something else.
    """
    file = database_file(database)
    if file is not None and not file.is_file():
        return False
    engine = open_engine(database, read_only=True)
    try:
        with engine.connect() as connection:
            return has_ledger(connection) and bool(read_rows(connection, _ANY_META))
    except SQLAlchemyError as error:
        raise _with_advice(first_read_failure(engine, error)) from error
    except DamagedError as error:
        raise _with_advice(error) from error
    finally:
        engine.dispose()


class Reader:
    """A pool of read-only connections. Any thread may use it; no read waits for the writer."""

    def __init__(self, database: Database, seconds_max: float) -> None:
        # A read waits for a server's answers, and for a minute if it went away without a word.
        self.is_on_server = database_url(database).get_backend_name() != "sqlite"
        self._engine = open_engine(database, read_only=True)
        self._seconds_max = seconds_max
        self._connections = ReaderConnections(self._engine, is_on_server=self.is_on_server)
        self._counter = ChangeCounter(self._engine)
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

        Its connection is used again unless something fails.

        It waits if reads pause because the write-ahead log is too long, and for a connection if all
        are in use, unless `waits` is false.

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
            connection = self._connections.acquire(deadline_s, waits=waits)
            is_whole = False
            try:
                limit_bytes(connection, bytes_max)
                yield LedgerSnapshot(connection)
                is_whole = True
            finally:
                self._connections.release(connection, is_whole=is_whole)
        except SQLAlchemyError as error:
            if time.monotonic() > deadline_s:
                raise SnapshotExpiredError(f"a read took over {lasts_s} s") from error
            raise _with_advice(read_failure(self._engine, error)) from error
        except DamagedError as error:
            raise _with_advice(error) from error

    def changes(self) -> Changes | None:
        """Return what differs after each commit of others; None: only a snapshot can tell.

        It takes a tenth of a snapshot's time. For one thread at a time.
        """
        pause = self._log.pause()
        if self.is_on_server or (pause.ends_in_s and not pause.begins_in_s):
            return None
        try:
            return self._counter.now()
        except SQLAlchemyError:  # the snapshot meets it, and says what it means
            return None

    def _pause(self, *, waits: bool) -> None:
        pause = self._log.pause()
        if pause.begins_in_s or not pause.ends_in_s:
            return
        if not waits:
            raise UnavailableError("reads pause, so that the ledger's log can begin again")
        time.sleep(pause.ends_in_s)

    def check_file(self) -> None:
        """Check that the file is the one that was opened; others would never be read.

        Raises LedgerError.
        """
        found = _identity(self._file)
        if found is None and self._opened is not None:
            raise LedgerError(f"the ledger {self._file} is gone: it was moved or deleted")
        if found != self._opened:
            raise LedgerError(f"the ledger {self._file} was replaced: start this process again")

    def check_schema(self) -> None:
        """Check that the ledger's schema is this groat's. Raises LedgerError."""
        try:
            with self._engine.connect() as connection:
                check_schema(connection)
        except SQLAlchemyError as error:
            raise _with_advice(first_read_failure(self._engine, error)) from error
        except DamagedError as error:
            raise _with_advice(error) from error

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._counter.close()
        self._connections.close()


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
