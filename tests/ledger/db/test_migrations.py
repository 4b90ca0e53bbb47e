"""The schema: creation, migration, and refusal of others."""

from contextlib import closing

import alembic
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlalchemy.exc import OperationalError

from chain.consensus.params import REGTEST
from chain.ledger import migrate
from chain.ledger.db.engine import open_engine, read_rows, write_rows
from chain.ledger.db.schema import Base
from chain.ledger.errors import LedgerError, NoLedgerError, SchemaTooNewError
from chain.ledger.ledger import Ledger
from chain.ledger.offline.checking import check_ledger
from chain.ledger.reader import open_reader
from chain.primitives.hashes import sha256
from tests.builders import KEY
from tests.ledger.chains import feed, grow_busy, mature_chain, tables, url_of
from tests.migrated import downgrade


@pytest.fixture
def engine(tmp_path):
    engine = open_engine(url_of(tmp_path))
    yield engine
    engine.dispose()


def test_the_name_alembic_is_the_library():
    assert alembic.__version__


def run_all_migrations(engine):
    """Do as in a database of the first groat."""
    with engine.begin() as connection:
        config = migrate.migrations()
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


def schema_of(engine):
    """Return everything that SQLite knows of each table: columns, keys, indexes, row ids."""
    pragmas = ("table_xinfo", "index_list", "foreign_key_list")
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        found = {
            name: [read_rows(connection, f"PRAGMA {p}({name})") for p in pragmas] for name in names
        }
        kinds = read_rows(connection, "PRAGMA table_list")
        return found, sorted(tuple(row) for row in kinds)


def test_migrations_build_exactly_the_mapped_tables(engine):
    run_all_migrations(engine)
    migrate.upgrade(engine)  # which changes nothing
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_new_database_has_the_tables_that_all_migrations_make(engine, tmp_path):
    migrate.upgrade(engine)
    migrate.upgrade(engine)  # and a second time changes nothing
    migrated = open_engine(tmp_path / "migrated.sqlite")
    run_all_migrations(migrated)
    assert schema_of(engine) == schema_of(migrated)
    for each in (engine, migrated):
        with each.connect() as connection:
            assert read_rows(connection, "SELECT version_num FROM alembic_version") == [
                (migrate.HEAD,)
            ]
    migrated.dispose()


def test_head_is_the_newest_migration():
    assert ScriptDirectory.from_config(migrate.migrations()).get_heads() == [migrate.HEAD]


def test_a_migration_can_be_taken_back(engine):
    migrate.upgrade(engine)
    downgrade(engine, "base")
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
    with pytest.raises(NoLedgerError, match="not groat"):
        migrate.upgrade(engine)
    assert inspect(engine).get_table_names() == ["songs"]


def test_an_older_ledger_is_upgraded_and_read(tmp_path):
    chain = mature_chain(101)
    grow_busy(chain, 6, seed=3)
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    feed(ledger, chain.blocks)
    right = tables(ledger)
    ledger.close()
    engine = open_engine(url_of(tmp_path))
    downgrade(engine, "0001")
    engine.dispose()
    with pytest.raises(LedgerError, match="older groat"):
        open_reader(url_of(tmp_path))
    with (
        closing(Ledger(url_of(tmp_path), REGTEST, verify_threads=1)) as ledger,
        closing(open_reader(url_of(tmp_path))) as reader,
    ):
        found = tables(ledger)
        with reader.snapshot() as view:
            for block in chain.blocks[95:]:
                for tx in block.transactions:
                    assert view.transaction(tx.txid).raw == tx.raw
            assert view.script_stats(sha256(KEY.script)).tx_count > 100
            assert view.coin_totals().count == len(right["coins"])
            assert view.transaction_count(1, 107) == len(right["transactions"])
            assert view.find(bytes(32)) is None
        assert found == right
        feed(ledger, grow_busy(chain, 2, seed=4))
    assert check_ledger(url_of(tmp_path), REGTEST, verify_threads=1).problems == []
