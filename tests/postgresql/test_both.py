"""A ledger on PostgreSQL holds and tells the same as one on SQLite."""

from tests.ledger.chains import url_of
from tests.postgresql.answers import answers_of


def test_both_databases_hold_and_tell_the_same(url, tmp_path):
    assert answers_of(url) == answers_of(url_of(tmp_path))
