"""Everything that is specific to PostgreSQL; `engine.py`, `failures.py` and `tables.py` call it.

Statements are written once, with `?` placeholders, for SQLite and PostgreSQL; here they become
psycopg's. Readers see one commit a transaction (REPEATABLE READ, which a standby has, too). The
writer's connection holds an advisory lock, and each of its transactions locks the row of the epoch
and ends if it is another writer's (docs/decisions/0014).
"""

import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, islice
from socket import SHUT_RDWR, socket
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from chain.ledger.db.postgresql.probe import is_folder, is_pooled, server_answers
from chain.ledger.errors import (
    DamagedError,
    DatabaseURLError,
    FencedError,
    LedgerError,
    RefusedError,
    UnavailableError,
    first_line,
)

if TYPE_CHECKING:
    import psycopg

ARRAY_MAX: Final = 10_000  # keys in one statement
_COPY_ROWS_MIN: Final = 8  # fewer are inserted one by one, in one pipeline
_STATEMENTS_MAX: Final = 500  # translated ones that are kept
_SLACK_S: Final = 0.1  # by which a statement may last longer than its snapshot
_GRACE_MS: Final = 1_000  # in which a reader ends an idle snapshot before the server does
_PREPARE: Final = "prepare_threshold"  # none: no prepared statements, as some poolers have none
_CONNECT_S: Final = 10
_KEEPALIVES: Final = {  # a machine that went away holds a connection, and with it locks, so long
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # ms
}
_READER_TCP_MS: Final = 10_000  # shorter, as clients wait
_STORAGE: Final = (
    *(f"ALTER TABLE {name} ALTER COLUMN raw SET STORAGE EXTERNAL" for name in ("blocks", "undo")),
    "ALTER TABLE coins SET (autovacuum_vacuum_scale_factor = 0.05)",
    *(
        f"ALTER TABLE {name} SET (autovacuum_vacuum_scale_factor = 0,"
        " autovacuum_vacuum_threshold = 2000)"
        for name in ("pool", "journal", "node_state", "index_digests")
    ),
)
_PLACE: Final = (
    "SELECT current_schema(), current_setting('search_path'), CAST(current_user AS text)"
)
_HOLDERS: Final = (
    "SELECT n.nspname, has_schema_privilege(n.oid, 'USAGE'), CAST(count(*) AS INTEGER),"
    " CAST(count(*) FILTER (WHERE pg_table_is_visible(c.oid)) AS INTEGER)"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relname = ANY(?) AND c.relkind IN ('r', 'p') GROUP BY n.oid, n.nspname"
    " ORDER BY count(*) DESC, n.nspname"
)
_DEADLINE: Final = "groat_deadline"  # what is kept with a connection: when its snapshot ends,
_LIMITED_AT: Final = "groat_limited_at"  # when its statements were last given a time limit,
_LATEST: Final = "groat_latest"  # that its statements are no snapshot,
_TYPES: Final = "groat_types"  # the types of tables' columns
_WRITER: Final = "groat_writer"  # and with an engine

_INSERT: Final = re.compile(r"INSERT INTO (\w+ \([\w, ]+\))(?: VALUES [(?, )]+)?")
_LOCK_EPOCH: Final = "SELECT value FROM node_state WHERE name = 'epoch' FOR UPDATE"
# Connections broken or refused (08, 57P), too many of anything (53), conflicts with what a standby
# replays and other serialisation failures (40), cancelled and timed out statements (57014, 25P0x).
_PASSING: Final = ("08", "40", "53", "57", "25P03", "25P04", "55P03")
# Pages and indexes. A table that is missing is no damage: more often the search_path, the server or
# the role's rights are others than expected.
_DAMAGED: Final = ("XX001", "XX002")
_PING_S: Final = 3
_HOW_TO_LOG_IN: Final = (
    ": give the password in a password file (PGPASSFILE, readable by its owner only) or a service"
    " file"
)
_NO_TRANSACTIONS: Final = (
    "the database URL leads to a connection pooler without transactions (set its pool mode to"
    " session or transaction)"
)
_CHECK_TLS: Final = (
    " (a server answers there: check sslmode, sslrootcert, sslcert and sslkey, and the names and"
    " dates of the certificates on both sides)"
)


@dataclass(slots=True)
class _Writer:
    """How the writer's transactions begin."""

    epoch: bytes | None = None  # None: not known yet
    is_unsynced: bool = False  # commits need not wait for the disk


def open_postgresql(url: URL, *, read_only: bool, take_over: bool) -> Engine:
    """Return an engine: of the only writer, or one whose transactions are snapshots.

    Raises ImportError: there is no psycopg.
    """
    who = "groat reader" if read_only else "groat node"
    options: dict[str, Any] = {**_KEEPALIVES, "connect_timeout": _CONNECT_S}
    options |= {"application_name": who, "client_encoding": "utf8"}
    if read_only:
        options["tcp_user_timeout"] = _READER_TCP_MS
    if url.query.get(_PREPARE) == "none":
        url, options[_PREPARE] = url.difference_update_query([_PREPARE]), None
    options = {name: value for name, value in options.items() if name not in url.query}
    create = partial(create_engine, url, connect_args=options, use_native_hstore=False)
    if read_only:
        engine = create()
        event.listen(engine, "connect", _prepare_reader, insert=True)  # before SQLAlchemy's queries
        event.listen(engine, "begin", _begin_read)
        return engine
    from chain.ledger.db.postgresql.writer import WriterConnection  # noqa: PLC0415 - an extra's

    engine = create(pool_size=1, max_overflow=0, execution_options={_WRITER: _Writer()})
    event.listen(engine, "do_connect", WriterConnection.opened)
    prepare = partial(WriterConnection.prepare, take_over=take_over)
    event.listen(engine, "connect", prepare, insert=True)
    event.listen(engine, "begin", _begin_write)
    return engine


def store_well(connection: Connection) -> None:
    """Set how the new tables are stored.

    Large values are hashes and keys mostly, and they are read in pieces, which compression would
    prevent. Many of the coins' rows are dead soon, and nearly all of the small tables'.
    """
    for statement in _STORAGE:
        connection.exec_driver_sql(statement)


def read_latest(connection: Connection) -> None:
    """Have each statement of a reader's connection see the last commit, without a snapshot."""
    vars(connection)[_LATEST] = True


def begin_reading(connection: Connection, deadline_s: float) -> None:
    """Begin a snapshot that the server ends at `deadline_s` of time.monotonic()."""
    vars(connection)[_DEADLINE] = deadline_s
    connection.begin()


def end_reading(connection: Connection) -> None:
    """End what `begin_reading` began.

    By COMMIT if nothing failed: psycopg forgets its prepared statements at each ROLLBACK. A
    connection that was lost (status UNKNOWN), or that still is at a statement (ACTIVE), is closed
    and opened again when it is next used: on it ROLLBACK is another error, or an endless wait.
    """
    import psycopg  # noqa: PLC0415 - see above

    vars(connection).pop(_DEADLINE, None)
    status = psycopg.pq.TransactionStatus
    if connection.invalidated:
        connection.rollback()
        return
    now = _driver(connection).info.transaction_status
    if now in (status.ACTIVE, status.UNKNOWN):
        connection.invalidate()
    if now == status.INTRANS:
        connection.commit()
    else:
        connection.rollback()


def hang_up(connection: Connection) -> None:
    """Break a connection whose server does not answer; the thread that waits there gets an error.

    For another thread.
    """
    import psycopg  # noqa: PLC0415 - see above

    if connection.invalidated:
        return
    with suppress(SQLAlchemyError, psycopg.Error, OSError):  # it has just ended
        number = _driver(connection).pgconn.socket
        with socket(fileno=os.dup(number)) as shared:
            shared.shutdown(SHUT_RDWR)


def set_epoch(connection: Connection, epoch: bytes) -> None:
    """Write only as the writer of this epoch from now on."""
    _writer(connection).epoch = epoch


def other_writer(connection: Connection) -> Callable[[], str | None] | None:
    """Return what asks the hosts of the URL for a newer primary; None if it names one host.

    It may be called on any thread.
    """
    from chain.ledger.db.postgresql.writer import newer_primary  # noqa: PLC0415 - an extra's

    driver: Any = _driver(connection)
    return partial(newer_primary, driver.hosts, driver.standing()) if driver.hosts else None


def set_synchronous(connection: Connection, *, is_on: bool) -> None:
    """Let later transactions commit with or without waiting for the disk."""
    _writer(connection).is_unsynced = not is_on


def fetch_all(connection: Connection, statement: str, values: Sequence[Any]) -> list[Any]:
    """Return all rows of a statement with `?` placeholders, as tuples."""
    _limit_statement(connection)
    return list(map(tuple, connection.exec_driver_sql(native(statement), tuple(values))))


def fetch_keys(connection: Connection, statement: str, keys: Sequence[Any]) -> list[Any]:
    """Return the rows of a statement that ends in `IN`, for any number of keys."""
    return [
        row for some in _parts(keys) for row in fetch_all(connection, _of_array(statement), (some,))
    ]


def batches(
    connection: Connection, statement: str, values: Sequence[Any], at_once: int
) -> Iterator[Sequence[Any]]:
    """Do as `fetch_all`, but yield `at_once` rows at a time, from a cursor on the server."""
    _limit_statement(connection)
    options = {"stream_results": True, "max_row_buffer": at_once}
    result = connection.exec_driver_sql(native(statement), tuple(values), execution_options=options)
    for rows in result.partitions(at_once):
        yield list(map(tuple, rows))
        _limit_statement(connection)


def write_rows(connection: Connection, statement: str, rows: Sequence[Sequence[Any]]) -> int:
    """Execute a statement for each row, in one pipeline or by COPY; return how many changed."""
    into = _INSERT.fullmatch(statement)
    if into is not None and len(rows) >= _COPY_ROWS_MIN:
        return _copy(connection, into[1], rows)
    return connection.exec_driver_sql(native(statement), list(rows)).rowcount


def insert_values(connection: Connection, statement: str, rows: Iterator[Sequence[Any]]) -> None:
    """Execute an INSERT for each row, as `write_rows`, but without a list of all rows."""
    first = list(islice(rows, _COPY_ROWS_MIN))
    into = _INSERT.fullmatch(statement)
    if into is not None and len(first) == _COPY_ROWS_MIN:
        _copy(connection, into[1], chain(first, rows))
    elif first:
        write_rows(connection, statement, first)


def delete_keys(connection: Connection, statement: str, keys: Sequence[Any]) -> int:
    """Execute a DELETE ending in `IN` for any number of keys; return how many rows were deleted."""
    query = native(_of_array(statement))
    return sum(connection.exec_driver_sql(query, (some,)).rowcount for some in _parts(keys))


def read_failure(error: BaseException | None, why: str) -> LedgerError | None:
    """Return the ledger's exception for a driver's error; None: the server cannot be used."""
    if _is_passing(error):
        return UnavailableError(f"the ledger cannot be read just now: {why}")
    return DamagedError(why) if _is_damage(error) else None


def refusal(engine: Engine, error: SQLAlchemyError, why: str) -> LedgerError | None:
    """Return the ledger's exception for a connection that was not made although it could be tried.

    The client's library gives no SQLSTATE then, and the server's words are in its own language; so
    it is asked whether a server is there. That needs neither a right name nor a right password.
    DatabaseURLError: an option is wrong; RefusedError: the server is there, and it or the client
    has refused; None: it is not, or something else has failed.
    """
    import psycopg  # noqa: PLC0415 - see above

    cause = error.orig if isinstance(error, DBAPIError) else None
    if not isinstance(cause, psycopg.Error) or _state(cause) is not None:
        return None
    if isinstance(cause, psycopg.ProgrammingError):  # an option of another name or form
        return DatabaseURLError(why)
    tried = cause.pgconn
    if tried is None or isinstance(cause, psycopg.errors.ConnectionTimeout):
        return None
    _, given = engine.dialect.create_connect_args(engine.url)
    options = {**given, "connect_timeout": _PING_S, "context": None}  # None: the driver's own
    answer = psycopg.pq.PGconn.ping(psycopg.conninfo.make_conninfo(**options).encode())
    if answer == psycopg.pq.Ping.NO_ATTEMPT:
        return DatabaseURLError(why)
    if answer == psycopg.pq.Ping.REJECT:  # the server is about to begin or to end
        return None
    advice = _advice(tried, is_reached=answer == psycopg.pq.Ping.OK)
    return None if advice is None else RefusedError(f"{why}{advice}")


def _advice(tried: "psycopg.pq.abc.PGconn", *, is_reached: bool) -> str | None:
    """Return what to do about a connection that was refused; None: there may be no server.

    Without `is_reached` the library had no reply either, as is so where TLS fails on either side.
    """
    if is_reached:
        return _HOW_TO_LOG_IN if tried.needs_password else ""
    host = (tried.hostaddr or tried.host).decode()
    if not server_answers(host, int(tried.port)):
        return None
    return "" if is_folder(host) else _CHECK_TLS


def tables_elsewhere(connection: Connection, names: Sequence[str]) -> str | None:
    """Return why the tables `names` of a ledger are not where a name without a schema looks.

    None: they are there, all in one schema; or the database has no ledger, and could have one.
    """
    [(current, path, role)] = fetch_all(connection, _PLACE, ())
    rows = fetch_all(connection, _HOLDERS, (list(names),))
    ledgers = [row for row in rows if row[2] * 2 > len(names)]  # others use such names, too
    seen = [schema for schema, _, _, visible in rows if visible]
    if ledgers and len(seen) > 1:
        return f"its search_path {path!r} finds tables in several schemas: {', '.join(seen)}"
    if current is None or current.startswith("pg_"):
        why = f"its search_path {path!r} names no schema that the role {role!r} may use"
    elif ledgers and not seen:
        why = f"the search_path is {path!r}"
    else:
        return None
    if not ledgers:
        return why
    schema, may_use, _, _ = ledgers[0]
    right = "" if may_use else f", which the role {role!r} may not use"
    return f"its ledger is in the schema {schema!r}{right}; {why}"


def database_bytes(connection: Connection) -> int:
    """Return the size of the database on the server's disk."""
    [(size,)] = fetch_all(connection, "SELECT pg_database_size(current_database())", ())
    return int(size)


def _is_passing(error: BaseException | None) -> bool:
    """Return whether a driver's error says nothing about the data: a later read may succeed."""
    import psycopg  # noqa: PLC0415 - see above

    state = _state(error)
    if state is None:  # no server has answered, in time, or it no longer does
        return isinstance(error, psycopg.OperationalError)
    return state.startswith(_PASSING)


def _is_damage(error: BaseException | None) -> bool:
    """Return whether a driver's error says that the data are damaged or missing."""
    state = _state(error)
    return state is not None and state.startswith(_DAMAGED)


@lru_cache(maxsize=_STATEMENTS_MAX)
def native(statement: str) -> str:
    """Return a statement with psycopg's placeholders; none has a literal with `?` or `%`."""
    return statement.replace("?", "%s")


@lru_cache(maxsize=_STATEMENTS_MAX)
def _of_array(statement: str) -> str:
    assert statement.endswith(" IN"), "keys follow"
    return f"{statement.removesuffix(' IN')} = ANY(?)"


def _parts(keys: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(keys), ARRAY_MAX):
        yield list(keys[start : start + ARRAY_MAX])


def _copy(connection: Connection, into: str, rows: Iterable[Sequence[Any]]) -> int:
    """Write rows by COPY in binary form; `into` is `table (columns)`. Return how many."""
    table, _, columns = into.partition(" ")
    types = _types(connection, table, columns.strip("()"))
    statement, count = f"COPY {into} FROM STDIN (FORMAT BINARY)", 0
    cursor = _driver(connection).cursor()
    with _raised_as_usual(connection, statement), cursor, cursor.copy(statement) as copy:
        copy.set_types(types)
        for count, row in enumerate(rows, 1):  # noqa: B007 - the last one is returned
            copy.write_row(row)
    return count


def _types(connection: Connection, table: str, columns: str) -> list[int]:
    """Return the types of a table's columns, which the binary form needs, once a connection."""
    kept: dict[str, list[int]] = vars(connection).setdefault(_TYPES, {})
    if table not in kept:
        query = f"SELECT {columns} FROM {table} LIMIT 0"  # noqa: S608 - names of ours
        described = _driver(connection).execute(query.encode()).description
        kept[table] = [column.type_code for column in described or ()]
    return kept[table]


def _driver(connection: Connection) -> "psycopg.Connection[Any]":
    driver: Any = connection.connection.driver_connection
    return driver  # type: ignore[no-any-return]


@contextmanager
def _raised_as_usual(connection: Connection, statement: str) -> Iterator[None]:
    """Raise psycopg's errors as SQLAlchemy does."""
    import psycopg  # noqa: PLC0415 - see above

    try:
        yield
    except psycopg.Error as error:
        raised = DBAPIError.instance(
            statement, None, error, psycopg.Error, dialect=connection.dialect
        )
        raise raised from error


def _prepare_reader(dbapi: Any, _record: object) -> None:  # noqa: ANN401 - SQLAlchemy's hook
    """Prepare a reader's connection. Raises RefusedError: it has no transactions."""
    import psycopg  # noqa: PLC0415 - see above

    dbapi.autocommit = True  # `_begin_read` begins
    if not is_pooled(dbapi):
        return
    dbapi.prepare_threshold = None  # the next transaction may be at another server process
    try:
        dbapi.execute("BEGIN")
        dbapi.rollback()
    except psycopg.errors.ProtocolViolation as error:
        raise RefusedError(f"{_NO_TRANSACTIONS}: {first_line(error)}") from error


def _begin_read(connection: Connection) -> None:
    """Begin a snapshot, with its time limits, in one message to the server."""
    if _LATEST in vars(connection):
        return  # the driver commits each statement
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    deadline_s = vars(connection).get(_DEADLINE)
    if deadline_s is not None:
        vars(connection)[_LIMITED_AT] = time.monotonic()
        left_ms = _left_ms(deadline_s)
        begin += (
            f"; SET LOCAL statement_timeout = {left_ms}"
            f"; SET LOCAL idle_in_transaction_session_timeout = {left_ms + _GRACE_MS}"
        )
    connection.exec_driver_sql(begin)


def _limit_statement(connection: Connection) -> None:
    """Tell the server what is left of the snapshot's time; its limit is one of each statement.

    Only if a statement could last _SLACK_S too long: most snapshots take less.
    """
    deadline_s = vars(connection).get(_DEADLINE)
    if deadline_s is None:
        return
    now_s = time.monotonic()
    if now_s - vars(connection)[_LIMITED_AT] >= _SLACK_S:
        vars(connection)[_LIMITED_AT] = now_s
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {_left_ms(deadline_s)}")


def _left_ms(deadline_s: float) -> int:
    return max(1, math.ceil((deadline_s - time.monotonic()) * 1000))


def _begin_write(connection: Connection) -> None:
    """Begin a transaction of the writer: check that it still is the writer, and stays it."""
    writer = _writer(connection)
    if writer.is_unsynced:
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
    if writer.epoch is None:
        return  # the ledger is being opened
    if list(map(tuple, connection.exec_driver_sql(_LOCK_EPOCH))) != [(writer.epoch,)]:
        raise FencedError("another node has taken over the ledger, so this one cannot write it")


def _writer(connection: Connection) -> _Writer:
    writer: _Writer = connection.get_execution_options()[_WRITER]
    return writer


def _state(error: BaseException | None) -> str | None:
    """Return the SQLSTATE of a driver's error; None if it is not from a server."""
    state: str | None = getattr(error, "sqlstate", None)
    return state
