"""A migrated database, made once a process and copied into each new one that a test opens.

Alembic needs most of the time in which a ledger is opened again, and tests open many hundreds. The
copy is SQLite's own, page by page; what the node does with a database is the same afterwards. The
migrations themselves are tested on `chain.ledger.migrate` itself, and by every node process.
"""

import sqlite3
from contextlib import closing, suppress
from functools import cache

import alembic
from sqlalchemy import Engine

from chain.ledger.db.engine import open_engine
from chain.ledger.migrate import migrations, upgrade


@cache
def _template() -> sqlite3.Connection:
    """An in-memory database with the newest schema and no rows but the schema's version."""
    engine = open_engine("sqlite://")  # the ledger's own, for its settings of a new file
    upgrade(engine)
    connection = engine.raw_connection().driver_connection
    assert isinstance(connection, sqlite3.Connection)
    return connection


def upgrade_by_copy(engine: Engine) -> None:
    """Do as `upgrade`, from the template if the database is an empty one of SQLite."""
    if engine.dialect.name == "sqlite":
        with suppress(sqlite3.Error):  # of a broken file or a full disk `upgrade` speaks
            _copy_into_empty(engine)
    upgrade(engine)


def downgrade(engine: Engine, revision: str) -> None:
    """Undo the migrations after `revision`, as if an older groat had written the database."""
    with engine.begin() as connection:
        config = migrations()
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, revision)


def _copy_into_empty(engine: Engine) -> None:
    with closing(engine.raw_connection()) as pooled:
        connection = pooled.driver_connection
        assert isinstance(connection, sqlite3.Connection)
        if connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None:
            _template().backup(connection)
