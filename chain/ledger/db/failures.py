"""What an error of a database means for those that use the ledger."""

import sqlite3
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from chain.ledger.db.postgresql import dialect as postgresql
from chain.ledger.db.url import Database, database_file, shown_url
from chain.ledger.errors import (
    DamagedError,
    DatabaseFailedError,
    LedgerError,
    UnavailableError,
    first_line,
)

_PASSING: Final = {  # SQLite's primary result codes that do not indicate a damaged file
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_CANTOPEN,  # possibly too many open files
    sqlite3.SQLITE_PROTOCOL,
}


def database_failed(engine: Engine, error: Exception, verb: str) -> DatabaseFailedError:
    """Return the exception for `error`; it names the database, `verb` and the reason."""
    why = first_line(error)
    if isinstance(error, SQLAlchemyError):
        where = engine.url.database if engine.dialect.name == "sqlite" else shown_url(engine.url)
        why = f"{where} cannot be {verb}: {why}"
    return DatabaseFailedError(f"the ledger failed: {why}", verb)


def read_failure(engine: Engine, error: SQLAlchemyError) -> LedgerError:
    """Return the ledger's exception for an error of a database that was only read."""
    why = first_line(error)
    if engine.dialect.name == "postgresql":
        failure = postgresql.read_failure(getattr(error, "orig", None), why)
        return failure or database_failed(engine, error, "read")
    code = getattr(error.orig, "sqlite_errorcode", None) if isinstance(error, DBAPIError) else None
    if code is None and isinstance(error, DBAPIError) and _is_undecodable(error.orig):
        return DamagedError("a value that should be bytes is text that is not UTF-8")
    if code is None or code & 0xFF == sqlite3.SQLITE_IOERR:
        return database_failed(engine, error, "read")
    if code & 0xFF in _PASSING:
        return UnavailableError(f"the ledger cannot be read just now: {why}")
    return DamagedError(why)


def _is_undecodable(error: BaseException | None) -> bool:
    """Return whether SQLite's driver could not decode a value; that error has no code."""
    return isinstance(error, sqlite3.OperationalError) and "decode to UTF-8" in str(error)


def open_failure(database: Database, engine: Engine, error: SQLAlchemyError) -> LedgerError:
    """Return the ledger's exception for an error while a writer opened the ledger."""
    why = f"cannot open the ledger {shown_url(database)}: {first_line(error)}"
    if engine.dialect.name == "postgresql":
        return postgresql.refusal(engine, error, why) or LedgerError(why)
    return (LedgerError if database_file(database) is None else DamagedError)(why)


def first_read_failure(engine: Engine, error: SQLAlchemyError) -> LedgerError:
    """Do as `read_failure` when a database is opened to be read.

    RefusedError, DatabaseURLError: no connection can be made, though the server may be there.
    """
    if engine.dialect.name == "postgresql":
        why = f"cannot open the ledger {shown_url(engine.url)}: {first_line(error)}"
        refused = postgresql.refusal(engine, error, why)
        if refused is not None:
            return refused
    return read_failure(engine, error)
