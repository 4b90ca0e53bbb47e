"""Migration of a database to the schema of this groat.

Alembic is loaded only for a database of another schema: that takes a fifth of a node's start. A new
database gets the newest tables at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine

from chain.ledger.db.engine import read_rows, store_well
from chain.ledger.db.schema import Base
from chain.ledger.db.tables import check_complete, has_ledger
from chain.ledger.errors import NoLedgerError, SchemaTooNewError, SchemaTooOldError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD: Final = "0005"  # newest migration
_CREATE_VERSION: Final = (  # as Alembic does
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,"
    " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))",
    f"INSERT INTO alembic_version (version_num) VALUES ('{HEAD}')",  # noqa: S608 - a constant
)
_SHIPPED: Final = Path(__file__).with_name("migrations")  # in a wheel (pyproject: force-include)
_CHECKOUT: Final = Path(__file__).resolve().parents[2] / "alembic"  # in a clone, or editable


def upgrade(engine: Engine) -> None:
    """Apply every migration that the database lacks, all or nothing.

    Raises SchemaTooNewError; NoLedgerError: the database is not groat's; DamagedError.
    """
    with engine.begin() as connection:
        if not has_ledger(connection):
            _create(connection)
        elif is_migrated(connection):
            check_complete(connection)
        else:
            _migrate(connection)


def _create(connection: Connection) -> None:
    """Create all tables in an empty database, as all migrations together do."""
    Base.metadata.create_all(connection, checkfirst=False)  # what is in the way is an error
    store_well(connection)
    for statement in _CREATE_VERSION:
        connection.exec_driver_sql(statement)


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.util import CommandError  # noqa: PLC0415

    config = migrations()
    config.attributes["connection"] = connection  # env.py runs on it: in-memory databases too
    try:
        command.upgrade(config, "head")
    except CommandError as error:  # "Can't locate revision"
        raise SchemaTooNewError(
            f"the database was written by a later groat; install that one ({error})"
        ) from error


def is_migrated(connection: Connection) -> bool:
    """Return whether the schema is this groat's, by one short statement."""
    return read_rows(connection, "SELECT version_num FROM alembic_version") == [(HEAD,)]


def check_schema(connection: Connection) -> None:
    """Check that a database has the schema of this groat, without changing it.

    Raises SchemaTooNewError, SchemaTooOldError, NoLedgerError, DamagedError.
    """
    if not has_ledger(connection):
        raise NoLedgerError("the database does not hold a ledger")
    versions = [row[0] for row in read_rows(connection, "SELECT version_num FROM alembic_version")]
    if versions == [HEAD]:
        check_complete(connection)
        return
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see above

    known = {
        script.revision for script in ScriptDirectory.from_config(migrations()).walk_revisions()
    }
    if set(versions) <= known:
        raise SchemaTooOldError(
            "the ledger has an older groat's schema: start the node once to migrate it"
        )
    raise SchemaTooNewError("the database was written by a later groat; install that one")


def migrations() -> "Config":
    """Return Alembic's view of groat's migrations."""
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    folder = _SHIPPED if _SHIPPED.is_dir() else _CHECKOUT
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config
