"""Opening and querying databases; everything specific to SQLite is here.

What is specific to PostgreSQL is in `postgresql.py`, which only this module, `failures.py` and
`tables.py` call. What an error means is in `failures.py`.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from itertools import chain
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Engine, Integer, create_engine, event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from chain.ledger.db.postgresql import dialect as postgresql
from chain.ledger.db.url import Database, database_file, database_url, is_in_memory, shown_url
from chain.ledger.errors import DamagedError, DatabaseURLError, FencedError, first_line

ROW_NUMBER: Final = "rowid"  # SQLite's name for the number of a row
BIGINT: Final = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER can be SQLite's rowid
WITHOUT_ROWID: Final = {"sqlite_with_rowid": False}  # rows are stored in the primary key's tree

LOOKUP_KEYS_MAX: Final = 500  # keys in one IN list; SQLite takes 32,766 variables, older ones 999
_VARIABLES_MIN: Final = 1_000  # of one INSERT of many rows: there are few statements to prepare
_VARIABLES_MAX: Final = 10_000  # in one INSERT; SQLite takes 32,766, older versions 999
STREAM_ROWS: Final = 4_096  # held in memory at once
_BUSY_MS: Final = 5_000
_WRITER_CACHE_KIB: Final = 64 * 1024
_READER_CACHE_KIB: Final = 2_000  # SQLite's default
WRITER_CACHE_BYTES: Final = _WRITER_CACHE_KIB * 1024
RESTART_WAIT_MS: Final = 20  # a block that arrives then waits as long
_CHECKPOINT_PAGES: Final = 64_000  # size of the log after which a commit checkpoints it
_LOG_BYTES_MAX: Final = 64_000_000  # size to which the write-ahead log is cut once it is empty
_WRITER_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",  # an acknowledged block survives a power failure
    "foreign_keys=ON",
    f"busy_timeout={_BUSY_MS}",
    f"cache_size=-{_WRITER_CACHE_KIB}",
    f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
    f"journal_size_limit={_LOG_BYTES_MAX}",
)
# With it SQLite keeps a map of its pages, and need not read a block from its start to find what is
# in its middle, as it would 25 times for a page of a history. To be set while the file is empty.
_NEW_FILE_PRAGMA: Final = "auto_vacuum=INCREMENTAL"
_READER_PRAGMAS: Final = (f"busy_timeout={_BUSY_MS}", "query_only=1")
_CLOCK_EVERY_STEPS: Final = 20_000  # of SQLite's virtual machine, well under a millisecond
_LOOKS_MIN: Final = 5  # SQLite counts a statement's steps on from its last execution

_EPOCH: Final = "groat_epoch"  # the writer's, among its connection's attributes
_READ_EPOCH: Final = "SELECT value FROM node_state WHERE name = 'epoch'"
_DRIVER: Final = "groat_driver"  # the name of SQLite's connection among a reader's attributes

_NO_NAMES: Final = "the names in the database's schema are damaged"

Row = Sequence[Any]
Types = tuple[type, ...]  # types of a row's values, in column order


def open_engine(database: Database, *, read_only: bool = False, take_over: bool = False) -> Engine:
    """Return the engine of the only writer, or with `read_only` one whose reads never wait for it.

    With `take_over`, a writer on PostgreSQL ends the connection of the one that is there.

    Raises DatabaseURLError.
    """
    url = database_url(database)
    try:
        if url.get_backend_name() == "postgresql":
            return postgresql.open_postgresql(url, read_only=read_only, take_over=take_over)
        if is_in_memory(database):
            # one connection for all threads, since each connection has its own database
            shared = {"check_same_thread": False}
            engine = create_engine(url, poolclass=StaticPool, connect_args=shared)
        else:
            engine = create_engine(url)
    except (ArgumentError, ImportError, ValueError) as error:  # ValueError: an option's value
        why = first_line(error)
        if isinstance(error, ImportError):
            why += ": pip install 'groat[postgresql]'"
        raise DatabaseURLError(f"cannot use the database {shown_url(url)}: {why}") from error
    event.listen(engine, "handle_error", _schema_damaged)
    _bind_at_once()
    pragmas = _READER_PRAGMAS if read_only else _WRITER_PRAGMAS
    event.listen(engine, "connect", partial(_own_transactions, pragmas=pragmas))
    event.listen(engine, "begin", _begin_read if read_only else _begin_write)
    if read_only:
        event.listen(engine, "commit", _end_read)
        event.listen(engine, "rollback", _end_read)
    return engine


def bytes_on_disk(database: Database) -> int:
    """Return the size of an SQLite database's files, logs included; 0 if it has no file.

    Raises DatabaseURLError.
    """
    file = database_file(database)
    if file is None:
        return 0
    total = 0
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):  # the logs may disappear at any time
            total += file.with_name(file.name + suffix).stat().st_size
    return total


def bytes_on_server(connection: Connection) -> int:
    """Return the size of a database on a server; 0 for one of SQLite."""
    if connection.dialect.name == "postgresql":
        return postgresql.database_bytes(connection)
    return 0


def dispose(engine: Engine) -> None:
    """Close an engine's connections; closing a broken one may fail, which is ignored."""
    with suppress(SQLAlchemyError):
        engine.dispose()


def write_rows(connection: Connection, statement: str, rows: Iterable[Row]) -> int:
    """Execute a statement with `?` placeholders for each row; return how many rows changed.

    Bypasses SQLAlchemy's dictionaries, which is four times as fast and matters for a dozen rows per
    transaction.
    """
    listed = rows if isinstance(rows, list) else list(rows)
    if not listed:
        return 0
    if connection.dialect.name == "postgresql":
        return postgresql.write_rows(connection, statement, listed)
    return connection.exec_driver_sql(statement, listed).rowcount


def insert_values(connection: Connection, into: str, buckets: Iterable[Sequence[Any]]) -> None:
    """Insert rows, hundreds per statement or more: `into` is `INSERT INTO table (columns)`.

    Each of `buckets` has the values of one row, or of several, one behind the other. This is a
    third faster than `write_rows`, and a running statement does not hold Python's lock. After an
    error, some of a statement's rows may be in the transaction, which the caller has to roll back:
    to undo half a statement, SQLite would first copy each page that it changes to a file (OR FAIL
    spares that).
    """
    columns = into.count(",") + 1
    marks = f"({', '.join('?' * columns)})"
    statement = f"{into} VALUES {marks}"
    if connection.dialect.name == "postgresql":
        each = chain.from_iterable(buckets)
        postgresql.insert_values(connection, statement, zip(*[each] * columns, strict=True))
        return
    rest: list[Any] = []
    for values in buckets:
        rest += values
        if len(rest) >= _VARIABLES_MAX:
            _insert_whole(connection, into, marks, rest, _VARIABLES_MAX // columns)
    _insert_whole(connection, into, marks, rest, _VARIABLES_MIN // columns)
    values_left = iter(rest)
    write_rows(connection, statement, list(zip(*[values_left] * columns, strict=True)))


def _insert_whole(
    connection: Connection, into: str, marks: str, values: list[Any], rows: int
) -> None:
    """Insert `rows` rows per statement; `values` keeps those of fewer rows that are left."""
    step = rows * marks.count("?")
    whole = len(values) - len(values) % step
    if not whole:
        return
    failing = into.replace("INSERT", "INSERT OR FAIL", 1)
    statement = f"{failing} VALUES {', '.join([marks] * rows)}"
    for start in range(0, whole, step):
        connection.exec_driver_sql(statement, tuple(values[start : start + step]))
    del values[:whole]


def table_order(key: bytes) -> int:
    """Return a sort key that puts rows in nearly the order of their table's keys.

    It is the first 30 bits: Python compares such numbers ten times as fast as bytes objects
    scattered over memory.
    """
    return int.from_bytes(key[:4], "big") >> 2


def delete_keys(connection: Connection, statement: str, keys: Sequence[Any]) -> int:
    """Execute a DELETE ending in `IN` for any number of keys; return how many rows were deleted."""
    if connection.dialect.name == "postgresql":
        return postgresql.delete_keys(connection, statement, keys)
    return sum(
        connection.exec_driver_sql(
            f"{statement} ({', '.join('?' * len(some))})", tuple(some)
        ).rowcount
        for some in (
            keys[start : start + LOOKUP_KEYS_MAX] for start in range(0, len(keys), LOOKUP_KEYS_MAX)
        )
    )


def read_rows(
    connection: Connection, statement: str, values: Row = (), types: Types | None = None
) -> list[Any]:
    """Return all rows of a statement with `?` placeholders, as tuples.

    Raises DamagedError: a value is not of its column's type in `types`, which SQLite allows.
    """
    rows = _fetch_all(connection, statement, tuple(values))
    if types is not None:
        _check_types(rows, statement, types)
    return rows


def read_keys(
    connection: Connection,
    statement: str,
    keys: Sequence[Any],
    types: Types | None = None,
) -> list[Any]:
    """Return the rows of `statement`, which ends in `IN`, for any number of keys.

    Raises DamagedError as `read_rows` does.
    """
    rows: list[Any] = []
    if connection.dialect.name == "postgresql":
        rows = postgresql.fetch_keys(connection, statement, keys)
        if types is not None:
            _check_types(rows, statement, types)
        return rows
    for start in range(0, len(keys), LOOKUP_KEYS_MAX):
        query, some = in_list(statement, keys[start : start + LOOKUP_KEYS_MAX])
        rows += read_rows(connection, query, some, types)
    return rows


def in_list(statement: str, keys: Sequence[Any]) -> tuple[str, Row]:
    """Return a statement that ends in `IN` with placeholders for keys, and their values.

    The last key is repeated up to a power of two: drivers keep few prepared statements.
    """
    count = 1 << (len(keys) - 1).bit_length()
    values = tuple(keys) + (keys[-1],) * (count - len(keys))
    return _with_marks(statement, count), values


@lru_cache(maxsize=LOOKUP_KEYS_MAX)
def _with_marks(statement: str, count: int) -> str:
    return f"{statement} ({', '.join('?' * count)})"


def stream_rows(
    connection: Connection,
    statement: str,
    types: Types | None = None,
    at_once: int = STREAM_ROWS,
    values: Row = (),
) -> Iterator[list[Any]]:
    """Yield all rows of a statement with `?` placeholders, `at_once` in memory at a time.

    Raises DamagedError: a value is not of its column's type, which SQLite allows.
    """
    for rows in _batches(connection, statement, tuple(values), at_once):
        if types is not None:
            _check_types(rows, statement, types)
        yield list(rows)


def checkpoint(connection: Connection) -> None:
    """Copy the write-ahead log into the database without delaying anyone.

    Any connection may do that beside one that writes; pages that are being read stay in the log.
    """
    if connection.dialect.name == "sqlite":
        read_rows(connection, "PRAGMA wal_checkpoint(PASSIVE)")


def restart_log(connection: Connection) -> bool:
    """Have the next commit begin the write-ahead log again; return whether it will.

    Where processes read all the time, each checkpoint finds somebody reading the log's end, and
    the log would grow for ever. This one waits RESTART_WAIT_MS for those that read now, and keeps
    commits waiting meanwhile. Who reads after it has copied all of the log reads the database.
    """
    if connection.dialect.name != "sqlite":
        return True
    read_rows(connection, f"PRAGMA busy_timeout={RESTART_WAIT_MS}")
    [(is_busy, _, _)] = read_rows(connection, "PRAGMA wal_checkpoint(RESTART)")
    read_rows(connection, f"PRAGMA busy_timeout={_BUSY_MS}")
    return not is_busy


def log_bytes(database: Database) -> int:
    """Return the size of an SQLite database's write-ahead log; 0 if it has none.

    Raises DatabaseURLError.
    """
    file = database_file(database)
    if file is None:
        return 0
    try:
        return file.with_name(file.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def without_sync(connection: Connection) -> Iterator[None]:
    """Commit inside without waiting for the disk; no transaction may be open before or after.

    A power cut may lose such commits, the last first, but a later commit outside makes them
    durable, too: it syncs the whole log. The setting cannot change inside a transaction. After an
    error it stays: the connection must not be used again.
    """
    assert not connection.in_transaction(), "the setting is of whole transactions"
    if connection.dialect.name == "postgresql":
        postgresql.set_synchronous(connection, is_on=False)
        yield
        postgresql.set_synchronous(connection, is_on=True)
        return
    _set_synchronous(connection, "NORMAL")
    yield
    _set_synchronous(connection, "FULL")


def store_well(connection: Connection) -> None:
    """Set how the new tables are stored, where the database does not know by itself."""
    if connection.dialect.name == "postgresql":
        postgresql.store_well(connection)


def guard_epoch(connection: Connection, epoch: bytes) -> None:
    """Have the writer's later transactions fail if another writer has begun an epoch.

    On SQLite another can begin if the file with the lock was deleted.
    """
    if connection.dialect.name == "postgresql":
        postgresql.set_epoch(connection, epoch)
    else:
        vars(connection)[_EPOCH] = epoch


def other_writer(connection: Connection) -> Callable[[], str | None] | None:
    """Return what looks for another database that was made the ledger's; None: there cannot be one.

    It returns a phrase that names it, and None as long as no such database can be reached.
    """
    if connection.dialect.name == "postgresql":
        return postgresql.other_writer(connection)
    return None


def connect_to_read_latest(engine: Engine) -> Connection:
    """Return a connection for `read_keys` of which each statement sees the last commit.

    It never has a transaction open, so one connection serves for long: to take it from a pool and
    to begin a transaction takes SQLAlchemy ten times as long as SQLite takes for a coin.
    """
    connection = engine.connect()
    if connection.dialect.name == "sqlite":
        vars(connection)[_DRIVER] = _sqlite(connection)
        return connection
    postgresql.read_latest(connection)
    return connection


@contextmanager
def reading_once(connection: Connection) -> Iterator[None]:
    """Keep the cache of the connection that writes small: what is read inside is read once."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA cache_size=-{_READER_CACHE_KIB}")
    yield
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA cache_size=-{_WRITER_CACHE_KIB}")


def begin_reading(connection: Connection, deadline_s: float) -> None:
    """Begin a transaction whose statements end at `deadline_s` of time.monotonic().

    The connection is one of a read-only engine, and stays out of its pool: SQLAlchemy takes as long
    for a connection and a transaction as for reading a transaction of the chain.
    """
    if connection.dialect.name == "postgresql":
        postgresql.begin_reading(connection, deadline_s)
        return
    limit_time(connection, deadline_s)
    _begin_read(connection)


def end_reading(connection: Connection) -> None:
    """End what `begin_reading` began."""
    if connection.dialect.name == "postgresql":
        postgresql.end_reading(connection)
        return
    driver = _sqlite(connection)
    if connection.in_transaction():  # a statement was executed by SQLAlchemy
        connection.rollback()
    _end_read(connection)
    try:
        driver.rollback()
        driver.set_progress_handler(None, 0)
    except sqlite3.Error as error:
        raise driver_error(connection, "ROLLBACK", error) from error


def hang_up(connection: Connection) -> None:
    """Break a connection that another thread waits for, if its database is on a server."""
    if connection.dialect.name == "postgresql":
        postgresql.hang_up(connection)


def limit_time(connection: Connection, deadline_s: float) -> None:
    """Interrupt statements of this connection past `deadline_s` of time.monotonic().

    What takes fewer than _LOOKS_MIN looks at the clock, some milliseconds of processor time, is not
    interrupted: on a busy machine any time can pass.
    """
    looks = 0

    def is_over() -> bool:
        nonlocal looks
        looks += 1
        return looks >= _LOOKS_MIN and time.monotonic() > deadline_s

    if connection.dialect.name == "sqlite":
        _sqlite(connection).set_progress_handler(is_over, _CLOCK_EVERY_STEPS)


def file_problems(connection: Connection) -> list[str]:
    """Return the problems that the database finds in its own file, as it describes them."""
    if connection.dialect.name != "sqlite":
        return []
    found = [str(row[0]) for row in read_rows(connection, "PRAGMA integrity_check")]
    return [] if found == ["ok"] else found


def _fetch_all(connection: Connection, statement: str, values: tuple[Any, ...]) -> list[Any]:
    """Return all rows as tuples; for SQLite's readers from the driver, six times as fast.

    SQLAlchemy begins the transaction, and errors are its own.
    """
    driver = reading_driver(connection)
    if driver is not None:
        try:
            rows: list[Any] = driver.execute(statement, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise driver_error(connection, statement, error) from error
        return rows
    if connection.dialect.name == "postgresql":
        return postgresql.fetch_all(connection, statement, values)
    return list(connection.exec_driver_sql(statement, values).all())


def _batches(
    connection: Connection, statement: str, values: tuple[Any, ...], at_once: int
) -> Iterator[Sequence[Any]]:
    """Do as `_fetch_all`, but yield `at_once` rows at a time."""
    driver = reading_driver(connection)
    if driver is not None:
        try:
            cursor = driver.execute(statement, values)
            while rows := cursor.fetchmany(at_once):
                yield rows
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise driver_error(connection, statement, error) from error
        return
    if connection.dialect.name == "postgresql":
        yield from postgresql.batches(connection, statement, values, at_once)
        return
    options = {"stream_results": True}
    result = connection.exec_driver_sql(statement, values, execution_options=options)
    yield from result.partitions(at_once)


def reading_driver(connection: Connection) -> sqlite3.Connection | None:
    """Return SQLite's connection, from which rows are read, or None if SQLAlchemy reads them."""
    return vars(connection).get(_DRIVER)


def commits_of_others(connection: Connection) -> int:
    """Return a number that differs after each commit of others to an SQLite database.

    Only for this connection, outside of a transaction. Raises DBAPIError.
    """
    statement = "PRAGMA data_version"
    try:
        [(count,)] = _sqlite(connection).execute(statement)
    except sqlite3.Error as error:
        raise driver_error(connection, statement, error) from error
    return int(count)


def _sqlite(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection), "the connection is open, and of SQLite"
    return driver


def driver_error(
    connection: Connection, statement: str, error: sqlite3.Error | UnicodeDecodeError
) -> Exception:
    """Return what SQLAlchemy would raise for an error of SQLite's driver."""
    if isinstance(error, UnicodeDecodeError):
        return DamagedError(_NO_NAMES)
    return DBAPIError.instance(statement, None, error, sqlite3.Error, dialect=connection.dialect)


def has_types(rows: Sequence[Row], types: Types) -> bool:
    """Return whether the values of all rows, of as many columns, have these types."""
    return tuple(map(type, chain.from_iterable(rows))) == types * len(rows)


def _check_types(rows: Sequence[Row], statement: str, types: Types) -> None:
    if not has_types(rows, types):
        raise DamagedError(f"a row of {statement!r} has values of wrong types")


def _set_synchronous(connection: Connection, how: str) -> None:
    statement = f"PRAGMA synchronous={how}"
    try:
        _sqlite(connection).execute(statement)
    except sqlite3.Error as error:
        raise driver_error(connection, statement, error) from error


def _bind_at_once() -> None:
    """Spare SQLite's driver the search for how to bind bytes and None, which need nothing.

    It looks for adapters of all types but numbers and text, and without one it raises and drops an
    AttributeError: for bytes that took two thirds of the time of an INSERT.
    """
    sqlite3.register_adapter(bytes, bytes)
    sqlite3.register_adapter(type(None), lambda _: None)


def _own_transactions(dbapi: Any, _record: object, *, pragmas: Sequence[str]) -> None:  # noqa: ANN401
    dbapi.isolation_level = None  # or the driver commits before DDL, and half a migration stays
    try:
        if pragmas is _WRITER_PRAGMAS and dbapi.execute("PRAGMA page_count").fetchone() == (0,):
            dbapi.execute(f"PRAGMA {_NEW_FILE_PRAGMA}")
        for pragma in pragmas:
            dbapi.execute(f"PRAGMA {pragma}")
    except UnicodeDecodeError as error:
        raise DamagedError(_NO_NAMES) from error


def _schema_damaged(context: ExceptionContext) -> None:
    """Raise DamagedError if the driver could not decode SQLite's message.

    The message quotes the schema, so the schema is damaged.
    """
    if isinstance(context.original_exception, UnicodeDecodeError):
        raise DamagedError(_NO_NAMES) from context.original_exception


def _begin_write(connection: Connection) -> None:
    """Begin a transaction of the writer: check that it still is the writer, and stays it."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    epoch, driver = vars(connection).get(_EPOCH), _sqlite(connection)
    if epoch is None:
        return  # the ledger is being opened
    try:
        is_ours = driver.execute(_READ_EPOCH).fetchall() == [(epoch,)]
    except sqlite3.Error as error:
        raise driver_error(connection, _READ_EPOCH, error) from error
    if not is_ours:
        driver.rollback()  # now: the other one waits to write
        raise FencedError(
            f"another node has taken over the ledger {shown_url(connection.engine.url)},"
            " so this one cannot write it"
        )


def _begin_read(connection: Connection) -> None:
    """Begin from the driver, as rows are read: SQLAlchemy's way takes eight times as long."""
    if reading_driver(connection) is not None:
        return  # `begin_reading` has begun, and SQLAlchemy takes part
    statement, driver = "BEGIN DEFERRED", _sqlite(connection)
    try:
        driver.execute(statement)
    except sqlite3.Error as error:
        raise driver_error(connection, statement, error) from error
    vars(connection)[_DRIVER] = driver


def _end_read(connection: Connection) -> None:
    vars(connection).pop(_DRIVER, None)
