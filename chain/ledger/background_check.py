"""What a start takes on trust, compared with the tables while the ledger is in use."""

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile
from threading import Event
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from chain.ledger.db.engine import Database, open_engine, read_failure, read_rows
from chain.ledger.db.header_pages import PAGES_AT_ONCE, compare_pages
from chain.ledger.db.loading import LoadedState, check_coins
from chain.ledger.db.schema import HeaderStatus
from chain.ledger.errors import DamagedError, UnavailableError
from chain.ledger.signature_verifier import lower_thread_priority

if TYPE_CHECKING:
    from chain.ledger.header_columns import Page

PAUSE_S: Final = 5.0  # before another attempt, if the database was busy


class BackgroundCheck:
    """Compares the header columns, bodies and coins with the tables, on a thread of its own.

    Its reads are short, apart from the one of the coins, which lasts 2 us a coin.
    """

    def __init__(self, database: Database, loaded: LoadedState) -> None:
        """Begin to check a ledger that was just loaded."""
        self._database = database
        self._tree = loaded.tree
        self._loaded = list(loaded.tree.columns.pages)
        self._sums_coins = loaded.sums_coins_later
        self._stopped = Event()
        self._thread = ThreadPoolExecutor(1, "check", initializer=lower_thread_priority)
        self.result: Future[None] = self._thread.submit(self._run)

    @property
    def failure(self) -> Exception | None:
        """What was found to be wrong; None if nothing was, or not yet."""
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
                while not (self._stopped.is_set() or self._check_columns(connection)):
                    pass  # the columns are others now
                _check_bodies(connection)
        except SQLAlchemyError as error:
            raise read_failure(engine, error) from error
        finally:
            engine.dispose()

    def _check_columns(self, connection: Connection) -> bool:
        """Compare the pages that were loaded; return whether the columns are still the same ones.

        Later pages are not taken on trust, and they precede the commit of their blocks.
        """
        columns = self._tree.columns
        before: Page | None = None
        at = 0
        while not self._stopped.is_set():
            pairs = zip(
                self._loaded[at : at + PAGES_AT_ONCE],
                columns.pages[at : at + PAGES_AT_ONCE],
                strict=False,
            )
            some = [page for page, _ in takewhile(lambda pair: pair[0] is pair[1], pairs)]
            if not some:
                break
            try:
                compare_pages(connection, before, at, some)
            except DamagedError:
                if self._tree.columns is columns:
                    raise
                return False  # a reorganisation, which the tables may have seen already
            finally:
                connection.rollback()  # so that the write-ahead log can be emptied
            at, before = at + len(some), some[-1]
        return self._tree.columns is columns


def _check_bodies(connection: Connection) -> None:
    """Check that there are no more bodies than stored blocks. Raises DamagedError."""
    stored = "SELECT count(*) FROM headers WHERE status = ?"
    [count] = read_rows(connection, stored, (HeaderStatus.STORED,))
    if read_rows(connection, "SELECT count(*) FROM blocks") != [count]:
        raise DamagedError("the blocks are not those that were stored: run `groat check`")
