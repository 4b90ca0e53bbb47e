"""The checks that are too slow for a start: they run while the ledger is in use."""

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile
from threading import Event
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from chain.ledger.db.engine import open_engine, read_rows
from chain.ledger.db.failures import read_failure
from chain.ledger.db.header_pages import (
    PAGES_AT_ONCE,
    compare_pages,
    compare_pages_ahead,
)
from chain.ledger.db.loading import LoadedState, check_coins
from chain.ledger.db.schema import HeaderStatus
from chain.ledger.db.url import Database
from chain.ledger.errors import DamagedError, UnavailableError
from chain.ledger.header_columns import Page
from chain.ledger.signature_verifier import lower_thread_priority

PAUSE_S: Final = 5.0  # before another attempt, if the database was busy


class BackgroundCheck:
    """Compares the header columns, bodies and coins with the tables, on its own thread.

    Each read is short, except the sum of the coins, which takes 2 us a coin.
    """

    def __init__(self, database: Database, loaded: LoadedState) -> None:
        """Start to check a ledger that was just loaded."""
        self._database = database
        self._tree = loaded.tree
        self._loaded = list(loaded.tree.columns.pages)
        self._connected = len(loaded.tree.connected_pages)
        self._sums_coins = loaded.sums_coins_in_background
        self._stopped = Event()
        self._thread = ThreadPoolExecutor(1, "check", initializer=lower_thread_priority)
        self.result: Future[None] = self._thread.submit(self._run)

    @property
    def failure(self) -> Exception | None:
        """The error that was found, or None if there is none so far."""
        error = self.result.exception() if self.result.done() else None
        return error if isinstance(error, Exception) else None

    def close(self) -> None:
        """Stop, and wait until the thread has ended."""
        self._stopped.set()
        self._thread.shutdown()

    def _run(self) -> None:
        """Raise LedgerError if anything is wrong."""
        while not self._stopped.is_set():
            try:
                self._check()
            except UnavailableError:
                self._stopped.wait(PAUSE_S)
            else:
                return

    def _check(self) -> None:
        engine = open_engine(self._database, read_only=True)
        try:
            with engine.connect() as connection:
                if self._sums_coins:
                    check_coins(connection, self._stopped.is_set)
                connection.rollback()
                self._check_pages(connection)
                _check_bodies(connection)
        except SQLAlchemyError as error:
            raise read_failure(engine, error) from error
        finally:
            engine.dispose()

    def _check_pages(self, connection: Connection) -> None:
        """Compare the pages that were loaded, except those that a reorganisation removed.

        Later pages are made from validated headers, and may not be committed yet.
        """
        before: Page | None = None
        at = 0
        while (pages := self._current(at)) and not self._stopped.is_set():
            try:
                compare = compare_pages if at < self._connected else compare_pages_ahead
                compare(connection, before, at, pages)
            except DamagedError:
                if pages == self._current(at):
                    raise
                continue  # the columns changed during the read: compare with what they are now
            finally:
                connection.rollback()  # so that the write-ahead log can be emptied
            at, before = at + len(pages), pages[-1]

    def _current(self, first: int) -> list[Page]:
        """Return the next loaded pages from number `first` on that are still in use."""
        end = first + PAGES_AT_ONCE
        window = slice(first, min(end, self._connected) if first < self._connected else end)
        pairs = zip(self._loaded[window], self._tree.columns.pages[window], strict=False)
        return [old for old, _ in takewhile(lambda pair: pair[0] is pair[1], pairs)]


def _check_bodies(connection: Connection) -> None:
    """Check that there are no more bodies than stored blocks. Raises DamagedError."""
    stored = "SELECT count(*) FROM headers WHERE status = ?"
    [count] = read_rows(connection, stored, (HeaderStatus.STORED,))
    if read_rows(connection, "SELECT count(*) FROM blocks") != [count]:
        raise DamagedError("the blocks are not those that were stored: run `groat check`")
