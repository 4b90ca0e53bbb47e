"""Rows inserted thousands per statement."""

import hashlib
import sys
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from chain.ledger.db.engine import insert_values, open_engine, read_rows

INTO = "INSERT INTO rows (key, number, text, value, other)"
AT_ONCE = 2_000  # rows of five columns in one statement
AT_LEAST = 200  # of what is left, in one statement


@pytest.fixture
def connection(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/rows.db")
    with engine.connect() as connection:
        columns = "key BLOB PRIMARY KEY, number, text, value, other"
        connection.exec_driver_sql(f"CREATE TABLE rows ({columns}) WITHOUT ROWID")
        connection.commit()
        yield connection
    engine.dispose()


def rows(first: int, count: int) -> list:
    return [
        value
        for number in range(first, first + count)
        for value in (hashlib.sha256(b"%d" % number).digest() * 4, number, "x", 2, None)
    ]


def count_of(connection) -> int:
    [(count,)] = read_rows(connection, "SELECT COUNT(*) FROM rows")
    return count


SOME = (0, 1, AT_LEAST - 1, AT_LEAST, AT_LEAST + 1)
MANY = (AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, AT_ONCE + AT_LEAST + 1, 2 * AT_ONCE)


@pytest.mark.parametrize("count", SOME + MANY)
def test_any_number_of_rows_is_inserted_from_any_lists(connection, count):
    third = count // 3
    lists = [rows(0, third), [], rows(third, count - third)]
    insert_values(connection, INTO, lists)
    assert count_of(connection) == count


def test_each_row_may_be_a_list_of_its_own(connection):
    values = iter(rows(0, AT_ONCE + AT_LEAST + 1))
    insert_values(connection, INTO, list(zip(*[values] * 5, strict=True)))
    found = read_rows(connection, "SELECT key, number, text, value, other FROM rows")
    values = iter(rows(0, AT_ONCE + AT_LEAST + 1))
    assert sorted(found) == sorted(zip(*[values] * 5, strict=True))


@pytest.mark.parametrize("count", [1, AT_LEAST, AT_ONCE])
def test_a_row_that_exists_is_an_error_and_a_rollback_removes_the_rest(connection, count):
    insert_values(connection, INTO, [rows(count - 1, 1)])
    connection.commit()
    with pytest.raises(IntegrityError, match="UNIQUE"):
        insert_values(connection, INTO, [rows(0, count)])
    connection.rollback()
    assert count_of(connection) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="Linux lists the files that a process has open")
def test_pages_are_not_copied_to_a_file_before_they_change(connection):
    insert_values(connection, INTO, [rows(0, AT_ONCE)])
    connection.commit()
    insert_values(connection, INTO, [rows(AT_ONCE, AT_ONCE)])  # changes most pages
    names = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not [name for name in names if "etilqs_" in name]  # SQLite's temporary files
