"""How databases are opened and spoken to; all that is particular to SQLite is here."""

import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from sqlalchemy import URL, BigInteger, Connection, Engine, Integer, create_engine, event, make_url
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from chain.endpoint import PORT_MAX
from chain.ledger.errors import (
    DamagedError,
    DatabaseFailedError,
    DatabaseURLError,
    LedgerError,
    UnavailableError,
    first_line,
)

BIGINT: Final = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER can be SQLite's rowid
WITHOUT_ROWID: Final = {"sqlite_with_rowid": False}  # rows live in the primary key's tree

LOOKUP_KEYS_MAX: Final = 500  # keys in one IN list; SQLite takes 32,766 variables, older ones 999
_VARIABLES_MAX: Final = 10_000  # in one INSERT; SQLite takes 32,766, older ones 999
STREAM_ROWS: Final = 4_096  # held in memory at once
_BUSY_MS: Final = 5_000
_WRITER_CACHE_KIB: Final = 64 * 1024
WRITER_CACHE_BYTES: Final = _WRITER_CACHE_KIB * 1024
_CHECKPOINT_PAGES: Final = 64_000  # of the log, after which a commit empties it if nobody did
_LOG_BYTES_MAX: Final = 64_000_000  # to which the write-ahead log is cut once it is empty
_WRITER_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",  # an acknowledged block survives a power cut
    "foreign_keys=ON",
    f"busy_timeout={_BUSY_MS}",
    f"cache_size=-{_WRITER_CACHE_KIB}",
    f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
    f"journal_size_limit={_LOG_BYTES_MAX}",
)
_READER_PRAGMAS: Final = (f"busy_timeout={_BUSY_MS}", "query_only=1")
_FORM: Final = "DIALECT+DRIVER://USER:PASSWORD@HOST:PORT/NAME"
_SHOWN_CHARACTERS_MAX: Final = 200  # of a text that is no URL
_PASSING: Final = {  # the primary result codes of SQLite that say nothing of the file
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_CANTOPEN,  # too many open files, perhaps
    sqlite3.SQLITE_PROTOCOL,
}
_CLOCK_EVERY_STEPS: Final = 20_000  # of SQLite's machine, well under a millisecond

_NO_NAMES: Final = "the names in the database's schema are damaged"

Row = Sequence[Any]
Database: TypeAlias = str | Path  # an SQLAlchemy URL, or the file of an SQLite database
Types = tuple[type, ...]  # of a row's values, in the order of its columns


def database_url(database: Database) -> URL:
    """Return the one URL that names a database; every other function here begins with it.

    A file's path is never pasted into a text: ?, # and % would mean something else there.
    Raises DatabaseURLError.
    """
    if isinstance(database, Path):
        return URL.create("sqlite", database=str(database))
    try:
        url = make_url(database)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        shown = _without_password(database)
        raise DatabaseURLError(f"{shown!r} is no database URL: write it as {_FORM}") from error
    if url.port is not None and not 0 < url.port <= PORT_MAX:
        raise DatabaseURLError(f"{shown_url(url)} has no port from 1 to {PORT_MAX}")
    if backend == "sqlite" and "?" in database:
        shown = database[:_SHOWN_CHARACTERS_MAX]
        raise DatabaseURLError(
            f"{shown!r}: an SQLite URL takes no options; only --datadir can name a folder with ?"
        )
    return url


def open_engine(database: Database, *, read_only: bool = False) -> Engine:
    """Return the one writer's engine, or with `read_only` one whose reads never wait for it.

    Raises DatabaseURLError.
    """
    url = database_url(database)
    try:
        if _is_memory(url):
            # One connection whatever the thread: there is one database a connection.
            shared = {"check_same_thread": False}
            engine = create_engine(url, poolclass=StaticPool, connect_args=shared)
        else:
            engine = create_engine(url)
    except (ArgumentError, ImportError, ValueError) as error:  # ValueError: an option's value
        why = first_line(error)
        raise DatabaseURLError(f"cannot use the database {shown_url(url)}: {why}") from error
    event.listen(engine, "handle_error", _schema_damaged)
    if engine.dialect.name == "sqlite":
        pragmas = _READER_PRAGMAS if read_only else _WRITER_PRAGMAS
        event.listen(engine, "connect", partial(_own_transactions, pragmas=pragmas))
        event.listen(engine, "begin", partial(_begin, how="DEFERRED" if read_only else "IMMEDIATE"))
    return engine


def shown_url(database: Database | URL) -> str:
    """Return a database as it may be shown: a file's path, or a URL without its password."""
    if isinstance(database, Path):
        return str(database)
    try:
        return make_url(database).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):  # ValueError: of bytes that are no UTF-8, too
        return "that URL" if isinstance(database, URL) else repr(_without_password(database))


def database_file(database: Database) -> Path | None:
    """Return the file of a database, None for those in memory or behind a server.

    Raises DatabaseURLError.
    """
    url = database_url(database)
    if url.get_backend_name() != "sqlite" or _is_memory(url):
        return None
    return Path(str(url.database))


def bytes_on_disk(database: Database) -> int:
    """Return what an SQLite database's files take, its logs too; 0 for one that is in no file.

    Raises DatabaseURLError.
    """
    file = database_file(database)
    if file is None:
        return 0
    total = 0
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):  # the logs come and go
            total += file.with_name(file.name + suffix).stat().st_size
    return total


def database_failed(engine: Engine, error: Exception, verb: str) -> DatabaseFailedError:
    """Return the error to raise for `error`: it names the database, `verb` and the reason."""
    why = first_line(error)
    if isinstance(error, SQLAlchemyError):
        url = engine.url.render_as_string(hide_password=True)
        where = engine.url.database if engine.dialect.name == "sqlite" else url
        why = f"{where} cannot be {verb}: {why}"
    return DatabaseFailedError(f"the ledger failed: {why}", verb)


def read_failure(engine: Engine, error: SQLAlchemyError) -> LedgerError:
    """Return what an error of a database that was only read means for the ledger in it."""
    why = first_line(error)
    code = getattr(error.orig, "sqlite_errorcode", None) if isinstance(error, DBAPIError) else None
    if code is None or code & 0xFF == sqlite3.SQLITE_IOERR:
        return database_failed(engine, error, "read")
    if code & 0xFF in _PASSING:
        return UnavailableError(f"the ledger cannot be read just now: {why}")
    return DamagedError(why)


def dispose(engine: Engine) -> None:
    """Close an engine's connections; a broken one may not even close."""
    with suppress(SQLAlchemyError):
        engine.dispose()


def write_rows(connection: Connection, statement: str, rows: Iterable[Row]) -> int:
    """Run a statement with `?` marks once a row, through the driver; return the rows it changed.

    Four times as fast as SQLAlchemy's dictionaries, which matters for a dozen rows a transaction.
    """
    listed = rows if isinstance(rows, list) else list(rows)
    if not listed:
        return 0
    return connection.exec_driver_sql(
        _native(statement, connection.dialect.paramstyle), listed
    ).rowcount


def insert_values(
    connection: Connection, into: str, columns: int, buckets: Iterable[list[Any]]
) -> None:
    """Insert rows, thousands in a statement: `into` is `INSERT INTO table (columns)`.

    `shelves` hold the values of whole rows, one after the other. A third faster than `write_rows`,
    and each statement holds no lock of Python's while it runs.
    """
    marks = f"({', '.join('?' * columns)})"
    at_once = _VARIABLES_MAX // columns
    step = at_once * columns
    many = ""
    rest: list[Any] = []
    for values in buckets:
        rest += values
        whole = len(rest) - len(rest) % step
        if whole and not many:  # it has thousands of marks: not made for the few rows of a block
            many = f"{into} VALUES {', '.join([marks] * at_once)}"
            many = _native(many, connection.dialect.paramstyle)
        for start in range(0, whole, step):
            connection.exec_driver_sql(many, tuple(rest[start : start + step]))
        del rest[:whole]
    values_left = iter(rest)
    write_rows(
        connection, f"{into} VALUES {marks}", list(zip(*[values_left] * columns, strict=True))
    )


def table_order(key: bytes) -> int:
    """Return what to sort many rows by to write them in nearly the order of their table's keys.

    The first 30 bits: Python compares such numbers ten times as fast as bytes all over the memory.
    """
    return int.from_bytes(key[:4], "big") >> 2


def delete_keys(connection: Connection, statement: str, keys: Sequence[Any]) -> int:
    """Run a DELETE that ends in `IN` for any number of keys; return how many rows went."""
    return sum(
        connection.exec_driver_sql(
            _native(f"{statement} ({', '.join('?' * len(some))})", connection.dialect.paramstyle),
            tuple(some),
        ).rowcount
        for some in (
            keys[start : start + LOOKUP_KEYS_MAX] for start in range(0, len(keys), LOOKUP_KEYS_MAX)
        )
    )


def read_rows(
    connection: Connection, statement: str, values: Row = (), types: Types | None = None
) -> list[Any]:
    """Return all rows that a statement with `?` marks gives, as tuples.

    Raises DamagedError: a value is not of its column's type in `types`, as SQLite lets it be.
    """
    native = _native(statement, connection.dialect.paramstyle)
    rows = list(connection.exec_driver_sql(native, tuple(values)))
    if types is not None:
        _check_types(rows, statement, types)
    return rows


def read_keys(
    connection: Connection, statement: str, keys: Sequence[Any], types: Types | None = None
) -> list[Any]:
    """Return the rows that `statement`, which ends in `IN`, gives for any number of keys.

    Raises DamagedError as `read_rows` does.
    """
    rows: list[Any] = []
    for start in range(0, len(keys), LOOKUP_KEYS_MAX):
        some = keys[start : start + LOOKUP_KEYS_MAX]
        rows += read_rows(connection, f"{statement} ({', '.join('?' * len(some))})", some, types)
    return rows


def stream_rows(
    connection: Connection,
    statement: str,
    types: Types | None = None,
    at_once: int = STREAM_ROWS,
) -> Iterator[list[Any]]:
    """Yield the rows of a statement `at_once` at a time, whatever their number.

    Raises DamagedError: a value is not of its column's type, as SQLite lets it be.
    """
    options = {"stream_results": True}  # else a server's driver would fetch them all
    result = connection.exec_driver_sql(statement, execution_options=options)
    for rows in result.partitions(at_once):
        if types is not None:
            _check_types(rows, statement, types)
        yield list(rows)


def checkpoint(connection: Connection) -> None:
    """Copy what is in the write-ahead log into the database, keeping nobody waiting.

    Any connection may do that beside one that writes; what is being read stays for the next time.
    """
    if connection.dialect.name == "sqlite":
        read_rows(connection, "PRAGMA wal_checkpoint(PASSIVE)")


def limit_time(connection: Connection, deadline_s: float) -> None:
    """Let no statement of this connection run past `deadline_s` of time.monotonic()."""
    if connection.dialect.name == "sqlite":
        driver = connection.connection.driver_connection
        assert driver is not None, "the connection is open"
        driver.set_progress_handler(lambda: time.monotonic() > deadline_s, _CLOCK_EVERY_STEPS)


def lift_limit(connection: Connection) -> None:
    """Undo `limit_time`, before the connection goes back to its pool."""
    if connection.dialect.name == "sqlite":
        driver = connection.connection.driver_connection
        assert driver is not None, "the connection is open"
        driver.set_progress_handler(None, 0)


def file_problems(connection: Connection) -> list[str]:
    """Return what the database itself finds wrong with its file, in its own words."""
    if connection.dialect.name != "sqlite":
        return []
    found = [str(row[0]) for row in read_rows(connection, "PRAGMA integrity_check")]
    return [] if found == ["ok"] else found


def _check_types(rows: Iterable[Row], statement: str, types: Types) -> None:
    for row in rows:
        if tuple(map(type, row)) != types:
            raise DamagedError(f"a row of {statement!r} has values of wrong types")


@lru_cache(maxsize=2 * LOOKUP_KEYS_MAX)
def _native(statement: str, paramstyle: str) -> str:
    return statement if paramstyle == "qmark" else statement.replace("?", "%s")


def is_in_memory(database: Database) -> bool:
    """Tell whether a database lives and dies with its one connection.

    Raises DatabaseURLError.
    """
    return _is_memory(database_url(database))


def _is_memory(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}


def _without_password(text: str) -> str:
    """Return a text that may be a URL, or may hold one's password, cut down to what is none."""
    scheme, colon, rest = text.partition("://") if "://" in text else ("", "", text)
    return f"{scheme}{colon}{rest.rpartition('@')[2]}"[:_SHOWN_CHARACTERS_MAX]


def _own_transactions(dbapi: Any, _record: object, *, pragmas: Sequence[str]) -> None:  # noqa: ANN401
    dbapi.isolation_level = None  # else the driver commits before DDL: half a migration would stay
    try:
        for pragma in pragmas:
            dbapi.execute(f"PRAGMA {pragma}")
    except UnicodeDecodeError as error:
        raise DamagedError(_NO_NAMES) from error


def _schema_damaged(context: ExceptionContext) -> None:
    """Raise DamagedError if the driver could not even decode SQLite's message.

    It quotes the schema, so that is damaged.
    """
    if isinstance(context.original_exception, UnicodeDecodeError):
        raise DamagedError(_NO_NAMES) from context.original_exception


def _begin(connection: Connection, *, how: str) -> None:
    connection.exec_driver_sql(f"BEGIN {how}")


class RowBuffer:
    """Rows for one table, gathered by the first byte of their keys.

    Written shelf after shelf, a shelf's rows meet the same few pages of the table while these are
    in the processor's cache, without the cost of sorting. A shelf is one flat list of values: a
    tuple a row would be a million more objects for Python to visit and to free.
    """

    def __init__(self, into: str, columns: int) -> None:
        """Wait to `INSERT INTO table (columns)`, which is `into`, rows of `columns` values."""
        self.buckets: Final[defaultdict[int, list[Any]]] = defaultdict(list)  # by the first byte
        self._into: Final = into
        self._columns: Final = columns

    def __len__(self) -> int:
        return sum(map(len, self.buckets.values())) // self._columns

    def extend(self, others: "RowBuffer") -> None:
        """Add rows for the same table."""
        for first_byte, more in others.buckets.items():
            self.buckets[first_byte].extend(more)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows."""
        for bucket in self._in_order():
            values = iter(bucket)
            yield from zip(*[values] * self._columns, strict=True)

    def insert(self, connection: Connection) -> None:
        """Write the rows."""
        insert_values(connection, self._into, self._columns, self._in_order())

    def _in_order(self) -> Iterator[list[Any]]:
        return (self.buckets[first_byte] for first_byte in sorted(self.buckets))
