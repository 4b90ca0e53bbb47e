"""Whether the tables of a database are a ledger's."""

from typing import Final

from sqlalchemy import Connection, inspect

from chain.ledger.db import postgresql
from chain.ledger.db.schema import Base
from chain.ledger.errors import DamagedError, NoLedgerError

VERSION_TABLE: Final = "alembic_version"
_ALWAYS: Final = ("blocks", "chain", "coins", "headers", "history", "meta", VERSION_TABLE)


def has_ledger(connection: Connection) -> bool:
    """Return whether the database has a ledger's tables; False: it has none at all.

    Raises NoLedgerError: it has others, or a ledger that this connection does not see;
    DamagedError: some of a ledger's are missing.
    """
    if connection.dialect.name == "postgresql":
        elsewhere = postgresql.tables_elsewhere(connection, sorted(Base.metadata.tables))
        if elsewhere is not None:
            raise NoLedgerError(f"the database does not hold a ledger: {elsewhere}")
    tables = set(inspect(connection).get_table_names())
    missing = [name for name in _ALWAYS if name not in tables]
    if not missing:
        return True
    if len(missing) < len(_ALWAYS) // 2:
        raise DamagedError(f"the table {missing[0]} is missing")
    if tables:
        raise NoLedgerError(
            "the database does not hold a ledger: it has tables that are not groat's"
        )
    return False
