"""The schema: how it is made, kept, and refused."""

import alembic
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlalchemy.exc import OperationalError

from chain.ledger import migrate
from chain.ledger.engine import open_engine, read_rows, write_rows
from chain.ledger.errors import DamagedError, SchemaTooNewError
from chain.ledger.schema import Base
from tests.ledger.chains import url_of


@pytest.fixture
def engine(tmp_path):
    engine = open_engine(url_of(tmp_path))
    yield engine
    engine.dispose()


def test_the_name_alembic_is_the_library():
    assert alembic.__version__


def test_migrations_build_exactly_the_mapped_tables(engine):
    migrate.upgrade(engine)
    migrate.upgrade(engine)  # and a second time changes nothing
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_head_is_the_newest_migration():
    assert ScriptDirectory.from_config(migrate.migrations()).get_heads() == [migrate.HEAD]


def test_a_migration_can_be_taken_back(engine):
    migrate.upgrade(engine)
    with engine.begin() as connection:
        config = migrate.migrations()
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]


def test_a_migration_that_fails_leaves_nothing(engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE VIEW history AS SELECT 1")  # in the migration's way
    with pytest.raises(OperationalError):
        migrate.upgrade(engine)
    assert inspect(engine).get_table_names() == []


def test_a_database_of_a_later_groat_is_refused(engine):
    migrate.upgrade(engine)
    with engine.begin() as connection:
        write_rows(connection, "UPDATE alembic_version SET version_num = ?", [("9999",)])
    with pytest.raises(SchemaTooNewError, match="later groat"):
        migrate.upgrade(engine)
    with engine.connect() as connection:
        with pytest.raises(SchemaTooNewError, match="later groat"):
            migrate.check_schema(connection)
        assert read_rows(connection, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_a_database_of_something_else_is_refused(engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE songs (title TEXT)")
    with pytest.raises(DamagedError, match="something else"):
        migrate.upgrade(engine)
    assert inspect(engine).get_table_names() == ["songs"]
