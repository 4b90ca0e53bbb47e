"""Database names: a file's path is never read as a URL, and an invalid URL is reported."""

import re
from pathlib import Path

import pytest

from chain.ledger.db.engine import bytes_on_disk, open_engine
from chain.ledger.db.url import database_file, database_url, is_in_memory, shown_url
from chain.ledger.errors import DatabaseURLError

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["what?1", "a#b", "100%", "a%20b", "a b&c=d", "caf\u00e9 \u2615", "file:x", "a\udcff"]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_the_file_whatever_is_in_its_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    file = folder / "ledger.sqlite"
    assert database_file(file) == file
    assert shown_url(file) == str(file)
    assert not is_in_memory(file)
    engine = open_engine(file)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a INTEGER)")
    assert bytes_on_disk(file) == sum(path.stat().st_size for path in folder.iterdir())
    engine.dispose()
    assert file.stat().st_size == bytes_on_disk(file) > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_is_in_no_file_takes_no_bytes(tmp_path):
    assert bytes_on_disk("sqlite://") == 0
    assert bytes_on_disk("postgresql+psycopg://u@h/x") == 0
    assert bytes_on_disk(tmp_path / "none.sqlite") == 0


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nonsense", "'nonsense' is not a database URL"),
        ("", "'' is not a database URL"),
        ("sqlite:///\0x", "is not a database URL"),
        ("sqlite:///a\nb", "is not a database URL"),
        ("nosuchdialect:///x", "cannot use the database nosuchdialect:///x"),
        ("postgresql+psycopg://h:0/x", "no port from 1 to 65535"),
        ("postgresql+psycopg://h:65536/x", "no port from 1 to 65535"),
        ("postgresql+psycopg://h:99999999999/x", "no port from 1 to 65535"),
        ("postgresql+psycopg://h:-1/x", "no port from 1 to 65535|is not a database URL"),
        ("postgresql+psycopg://h:1.5/x", "is not a database URL"),
        ("postgresql+psycopg://h:true/x", "is not a database URL"),
        ("postgresql+psycopg://h/x?autocommit=1", "autocommit cannot be set"),
        ("postgresql+psycopg://h/x?row_factory=a", "row_factory cannot be set"),
        ("postgresql+psycopg://h/x?prepare_threshold=abc", "prepare_threshold cannot be set"),
        ("postgresql+psycopg://h/x?client_encoding=SQL_ASCII", "client_encoding cannot be set"),
        ("postgresql+psycopg://h/x?oauth_client_secret=hush", "must not be among the options"),
        ("postgresql+psycopg://h/x?password=hush", "password must not be among the options"),
        ("postgresql+psycopg2://h/x", r"is not supported: write postgresql\+psycopg://h/x$"),
        ("postgresql+psycopg2://h/x?password=hush", "password must not be among the options"),
        (
            "postgres+asyncpg://u:hush@h/x",
            r"is not supported: write postgresql\+psycopg://u:\*\*\*@h",
        ),
        ("mysql://h/x", "groat uses SQLite, and PostgreSQL as postgresql"),
        ("sqlite:////x/what?1", "takes no options"),
        ("sqlite:///x?timeout=abc", "takes no options"),
        ("sqlite:///file:x?mode=ro&uri=true", "takes no options"),
    ],
)
def test_a_url_that_names_no_database_is_told_in_one_line(url, why):
    with pytest.raises(DatabaseURLError, match=why) as caught:
        open_engine(url)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:secret@h:65536/x",
        "postgresql+psycopg://u:secret@h:abc/x",
        "secret@x",
    ],
)
def test_a_wrong_url_is_shown_without_its_password(url):
    with pytest.raises(DatabaseURLError) as caught:
        database_url(url)
    assert "secret" not in str(caught.value)
    assert "secret" not in shown_url(url)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_url_of_postgresql_needs_no_driver(scheme):
    assert database_url(f"{scheme}://u@h/x").drivername == "postgresql+psycopg"


@pytest.mark.parametrize("url", ["sqlite:////x/\udcff", "postgresql+psycopg://u:secret@h/\udcff"])
def test_a_url_of_other_bytes_than_utf8_can_be_shown(url):
    shown = shown_url(url)
    assert "\\udcff" in shown
    assert "secret" not in shown


def test_no_source_pastes_a_path_into_a_database_url():
    pasted = re.compile(r"sqlite(\+\w+)?:///[^'\"]*\{")
    files = [
        path for folder in ("chain", "wallet", "scripts") for path in (ROOT / folder).rglob("*.py")
    ]
    assert len(files) > 100
    assert [path for path in files if pasted.search(path.read_text())] == []
