"""A ledger on PostgreSQL holds and tells the same as one on SQLite."""

import pytest
from alembic import command
from sqlalchemy import inspect

from chain.ledger.db.engine import open_engine
from chain.ledger.ledger import Ledger
from chain.ledger.migrate import migrations, upgrade
from tests.ledger.chains import QUICK, feed, quick_chain, url_of
from tests.postgresql.answers import answers_of
from tests.postgresql_server import new_database


def columns_of(engine):
    found = inspect(engine)
    return {
        name: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name)],
            found.get_pk_constraint(name)["constrained_columns"],
            sorted(tuple(i["column_names"]) for i in found.get_indexes(name)),
        )
        for name in found.get_table_names()
    }


@pytest.mark.slow
def test_the_migrations_make_the_same_tables_as_a_new_ledger(server):
    at_once, by_steps = (open_engine(server.url(new_database(server))) for _ in range(2))
    upgrade(at_once)
    with by_steps.begin() as connection:
        config = migrations()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    assert columns_of(at_once) == columns_of(by_steps)
    at_once.dispose()
    by_steps.dispose()


def test_a_ledger_on_postgresql_reorganises_and_is_opened_again(url):
    left = quick_chain(3)
    right = left.fork(1)
    left.grow(1)
    right.grow(2)
    ledger = Ledger(url, QUICK, verify_threads=1)
    feed(ledger, left.blocks)
    assert ledger.tip.id == left.tip.id
    feed(ledger, right.blocks)
    ledger.close()
    ledger = Ledger(url, QUICK, verify_threads=1)
    assert ledger.tip.id == right.tip.id
    wanted = [*right.blocks, *left.blocks[-1:]]
    assert ledger.blocks([b.id for b in wanted], 1_000_000) == [b.raw for b in wanted]
    assert ledger.blocks([b.id for b in wanted], 1) == [wanted[0].raw]
    ledger.close()


@pytest.mark.slow
def test_both_databases_hold_and_tell_the_same(url, tmp_path):
    assert answers_of(url) == answers_of(url_of(tmp_path))
