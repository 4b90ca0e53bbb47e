"""Whether the tables of a database are a ledger's."""

from typing import Final

from sqlalchemy import Connection, inspect

from chain.ledger.db.postgresql import dialect as postgresql
from chain.ledger.db.schema import Base
from chain.ledger.errors import DamagedError, NoLedgerError

VERSION_TABLE: Final = "alembic_version"
_ALWAYS: Final = ("blocks", "chain", "coins", "headers", "history", "meta", VERSION_TABLE)


def has_ledger(connection: Connection) -> bool:
    """Return whether the database has a ledger's tables; False: it has none at all.

    Which it has depends on the version; most are in every one. Raises NoLedgerError: it has others,
    or a ledger that this connection does not see; DamagedError: it has no version.
    """
    if connection.dialect.name == "postgresql":
        elsewhere = postgresql.tables_elsewhere(connection, sorted(Base.metadata.tables))
        if elsewhere is not None:
            raise NoLedgerError(f"the database does not hold a ledger: {elsewhere}")
    tables = set(inspect(connection).get_table_names())
    found = [name for name in _ALWAYS if name in tables]
    if len(found) > len(_ALWAYS) // 2:
        if VERSION_TABLE not in tables:
            raise DamagedError(f"the table {VERSION_TABLE} is missing")
        return True
    if tables:
        why = "it has tables that are not groat's"
        raise NoLedgerError(f"the database does not hold a ledger: {why}")
    return False


def check_complete(connection: Connection) -> None:
    """Check that a ledger of this groat's version has all its tables. Raises DamagedError."""
    missing = set(Base.metadata.tables) - set(inspect(connection).get_table_names())
    if missing:
        raise DamagedError(f"the table {min(missing)} is missing")
