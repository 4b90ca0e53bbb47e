"""The connections of those that read: a bounded number, used again, and broken if a read hangs."""

import time
from contextlib import suppress
from threading import BoundedSemaphore, Event, Lock, Thread
from typing import Final, TypeAlias

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from chain.ledger.db.engine import begin_reading, commits_of_others, dispose, end_reading, hang_up
from chain.ledger.errors import UnavailableError

CONNECTIONS_MAX: Final = 12  # the API's threads, its event loop, and what follows the database
IDLE_MAX: Final = 8  # kept open
WAIT_S_MAX: Final = 2.0  # for one that comes free
OVERDUE_S: Final = 3.0  # past the end of a snapshot, when the server should have ended it
_LOOK_S: Final = 1.0

Changes: TypeAlias = tuple[int, int]  # which connection counts, and its count


class ReaderConnections:
    """Connections of a read-only engine, each in one snapshot at a time. Any thread may use it."""

    def __init__(self, engine: Engine, *, is_on_server: bool) -> None:
        self._engine = engine
        self._idle: list[Connection] = []  # open, but in no transaction
        self._places = BoundedSemaphore(CONNECTIONS_MAX)  # of those in use or being opened
        self._lock = Lock()  # protects the next one
        self._deadlines: dict[Connection, float] = {}  # of time.monotonic(), of those in use
        self._closing = Event()
        if is_on_server:
            Thread(target=self._end_overdue, name="overdue", daemon=True).start()

    def acquire(self, deadline_s: float, *, waits: bool) -> Connection:
        """Return a connection in a snapshot that ends at `deadline_s` of time.monotonic().

        Give it to `release` afterwards. Raises UnavailableError: none came free within WAIT_S_MAX,
        or at once without `waits`; SQLAlchemyError, LedgerError: no snapshot can be begun.
        """
        if not self._places.acquire(timeout=WAIT_S_MAX if waits else 0):
            raise UnavailableError(f"all {CONNECTIONS_MAX} connections to the ledger are used")
        connection = None
        try:
            connection = self._open_snapshot(deadline_s)
        finally:
            if connection is None:
                self._places.release()
        return connection

    def release(self, connection: Connection, *, is_whole: bool) -> None:
        """End a snapshot; its connection is kept as it is if `is_whole`: nothing has failed."""
        is_ended = False
        try:
            end_reading(connection)
            is_ended = True
        finally:
            if is_ended:
                self._put_away(connection, is_whole=is_whole)
            else:
                self._drop(connection)
            self._places.release()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._closing.set()
        while self._idle:
            self._idle.pop().close()
        dispose(self._engine)

    def _open_snapshot(self, deadline_s: float) -> Connection:
        """Return a connection in a snapshot; a server may have been restarted since the last one.

        A connection refuses nothing of the first statement, so what fails there is its end. Once
        SQLAlchemy sees one lost it gives out none that is older: after those that were kept, the
        second attempt has a new one.
        """
        while True:
            try:
                kept = self._idle.pop()
            except IndexError:
                break
            with suppress(DBAPIError):
                return self._begin(kept, deadline_s)
        try:
            return self._begin(self._engine.connect(), deadline_s)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        return self._begin(self._engine.connect(), deadline_s)

    def _begin(self, connection: Connection, deadline_s: float) -> Connection:
        with self._lock:
            self._deadlines[connection] = deadline_s
        is_begun = False
        try:
            begin_reading(connection, deadline_s)
            is_begun = True
        finally:
            if not is_begun:
                self._drop(connection)
        return connection

    def _put_away(self, connection: Connection, *, is_whole: bool) -> None:
        self._forget(connection)
        if is_whole and len(self._idle) < IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.close()  # SQLAlchemy's pool looks after it

    def _drop(self, connection: Connection) -> None:
        """Close a connection in whatever state it is, without a word to its server."""
        self._forget(connection)
        connection.invalidate()
        connection.close()

    def _forget(self, connection: Connection) -> None:
        """Look no more at a connection; it must not be closed before, as sockets get its number."""
        with self._lock:
            self._deadlines.pop(connection, None)

    def _end_overdue(self) -> None:
        """Break connections whose server is silent long after their snapshots' time.

        A server that hangs, or whose machine does, ends no statement, and the client's system would
        wait for it for ever.
        """
        while not self._closing.wait(_LOOK_S):
            with self._lock:
                overdue_s = time.monotonic() - OVERDUE_S
                for connection, deadline_s in self._deadlines.items():
                    if deadline_s < overdue_s:
                        hang_up(connection)


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
