"""Names of databases: SQLAlchemy URLs, and paths of SQLite files."""

import os
from pathlib import Path
from typing import Final, TypeAlias

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from chain.endpoint import PORT_MAX
from chain.ledger.errors import DatabaseURLError
from chain.text_file import shown_path

_FORMS: Final = "a file is sqlite:////PATH, PostgreSQL postgresql+psycopg://USER@HOST:PORT/NAME"
_POSTGRESQL_NAMES: Final = ("postgresql", "postgres")  # of URLs without a driver, as libpq has them
_POSTGRESQL: Final = "postgresql+psycopg"  # psycopg 3, the only driver of those that is used
# The driver's own arguments, not the server's: with some, a transaction would be none.
_DRIVERS_OWN: Final = {
    "autocommit",
    "client_encoding",  # always UTF-8: with others, texts would come as bytes
    "conninfo",
    "context",
    "cursor_factory",
    "prepare_threshold",
    "row_factory",
}
_SECRETS: Final = (
    "password",
    "sslpassword",
    "oauth_client_secret",
    "scram_client_key",
    "scram_server_key",
)
_SHOWN_CHARACTERS_MAX: Final = 200  # of a text that is not a URL

Database: TypeAlias = str | Path  # an SQLAlchemy URL, or the path of an SQLite database


def database_url(database: Database) -> URL:
    """Return the canonical URL of a database; every other function here starts with it.

    A file's path is never inserted into URL text, where ?, # and % have another meaning. Raises
    DatabaseURLError: not a URL that groat supports.
    """
    if isinstance(database, Path):
        return URL.create("sqlite", database=str(database))
    if not database.isprintable():
        raise DatabaseURLError(f"{database[:_SHOWN_CHARACTERS_MAX]!a} is not a database URL")
    try:
        url = make_url(database)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError) as error:  # ValueError: the port is not a number
        shown = _without_password(database)
        raise DatabaseURLError(f"{shown!r} is not a database URL: {_FORMS}") from error
    if url.port is not None and not 0 < url.port <= PORT_MAX:
        raise DatabaseURLError(f"{shown_url(url)} has no port from 1 to {PORT_MAX}")
    if backend not in {"sqlite", *_POSTGRESQL_NAMES}:
        shown = shown_url(url)
        raise DatabaseURLError(
            f"cannot use the database {shown}: groat uses SQLite, and"
            f" PostgreSQL as {_POSTGRESQL}://"
        )
    if backend == "sqlite" and "?" in database:
        shown = database[:_SHOWN_CHARACTERS_MAX]
        raise DatabaseURLError(
            f"{shown!r}: an SQLite URL takes no options; only --datadir can name a folder with ?"
        )
    return _of_postgresql(url) if backend != "sqlite" else url


def _of_postgresql(url: URL) -> URL:
    """Return a URL with the driver in use. Raises DatabaseURLError."""
    for name in _SECRETS:
        if name in url.query:  # which is shown
            raise DatabaseURLError(
                f"{name} must not be among the options of a database URL: use a password file"
                " (PGPASSFILE) or a service file (PGSERVICEFILE)"
            )
    if url.drivername not in {*_POSTGRESQL_NAMES, _POSTGRESQL}:
        right = shown_url(url.set(drivername=_POSTGRESQL))
        raise DatabaseURLError(f"{url.drivername}:// is not supported: write {right}")
    for name in _DRIVERS_OWN & url.query.keys():
        if (name, url.query[name]) != ("prepare_threshold", "none"):
            raise DatabaseURLError(f"{name} cannot be set by a database URL")
    return url.set(drivername=_POSTGRESQL)


def check_folder(database: Database) -> None:
    """Refuse a URL of an SQLite file whose folder is not there: only a data directory is made.

    Raises DatabaseURLError.
    """
    file = database_file(database) if isinstance(database, str) else None
    if file is not None and not os.path.isdir(file.parent):  # noqa: PTH112 - no error for an odd path
        raise DatabaseURLError(f"there is no folder {shown_path(file.parent)} for the database")


def check_take_over(database: Database, *, take_over: bool) -> None:
    """Refuse to take over a ledger that has one writer anyway. Raises DatabaseURLError."""
    if take_over and database_url(database).get_backend_name() != "postgresql":
        raise DatabaseURLError("--take-over is for a ledger on PostgreSQL")


def shown_url(database: Database | URL) -> str:
    """Return a database's name for display: a file's path, or a URL without its password."""
    if isinstance(database, Path):
        return str(database)
    try:
        return make_url(database).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):  # ValueError: bytes that are not UTF-8, too
        return "that URL" if isinstance(database, URL) else repr(_without_password(database))


def has_password(database: Database) -> bool:
    """Return whether a URL has a password in it; False for a text that is no URL, too."""
    try:
        return not isinstance(database, Path) and make_url(database).password is not None
    except (ArgumentError, ValueError):
        return False


def database_file(database: Database) -> Path | None:
    """Return the file of a database; None for one in memory or on a server.

    Raises DatabaseURLError.
    """
    url = database_url(database)
    if url.get_backend_name() != "sqlite" or _is_memory(url):
        return None
    return Path(str(url.database))


def is_in_memory(database: Database) -> bool:
    """Return whether a database is in memory, and so exists only with its one connection.

    Raises DatabaseURLError.
    """
    return _is_memory(database_url(database))


def _is_memory(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}


def _without_password(text: str) -> str:
    """Return a text that may be a URL without any part that may be a password."""
    scheme, colon, rest = text.partition("://") if "://" in text else ("", "", text)
    return f"{scheme}{colon}{rest.rpartition('@')[2]}"[:_SHOWN_CHARACTERS_MAX]
