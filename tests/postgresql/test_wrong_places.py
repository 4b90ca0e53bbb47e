"""A URL that leads elsewhere: one line says what is wrong, it is never called damage."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from chain.ledger.errors import (
    DamagedError,
    DatabaseFailedError,
    DatabaseURLError,
    LedgerError,
    NoLedgerError,
    RefusedError,
    UnavailableError,
)
from chain.ledger.ledger import Ledger
from chain.ledger.offline.checking import check_ledger
from chain.ledger.reader import is_made, open_reader
from tests.end_to_end.processes import CLEAN
from tests.ledger.chains import QUICK, feed, quick_chain
from tests.postgresql_server import USER, Server


@dataclass(frozen=True)
class Place:
    """A database of a server, and a folder for `groat check`."""

    server: Server
    database: str
    folder: Path

    @property
    def url(self):
        return self.server.url(self.database)

    def execute(self, statement):
        return self.server.execute(statement, self.database)

    def make(self):
        """Make a ledger there."""
        ledger = Ledger(self.url, QUICK, verify_threads=1)
        feed(ledger, quick_chain(1).blocks)
        ledger.close()

    def failures(self, url):
        """Yield how a writer, a reader, and a check fail at a URL."""
        for use in (
            lambda: Ledger(url, QUICK, verify_threads=1).close(),
            lambda: open_reader(url).close(),
            lambda: check_ledger(url, QUICK, verify_threads=1, folder=self.folder),
        ):
            with pytest.raises(LedgerError) as caught:
                use()
            text = str(caught.value)
            assert len(text.splitlines()) == 1, text
            assert not isinstance(caught.value, DamagedError)
            assert "damaged" not in text
            assert "hush" not in text
            yield caught.value


@pytest.fixture
def place(server, database, tmp_path):
    return Place(server, database, tmp_path)


def at(url, path):
    return f"{url}&options=-csearch_path%3D{path}"


SLOW = {"marks": pytest.mark.slow}


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("other", "its ledger is in the schema 'public'; the search_path is 'other'"),
        pytest.param("nosuch", "in the schema 'public'; its search_path 'nosuch' names no", **SLOW),
        pytest.param("pg_temp", "in the schema 'public'; its search_path 'pg_temp' names", **SLOW),
        pytest.param("other,public", "'other,public' finds tables in several schemas: ", **SLOW),
    ],
)
def test_a_search_path_without_the_ledger_says_where_that_is(place, path, why):
    place.make()
    place.execute("CREATE SCHEMA other")
    if "," in path:
        place.execute("CREATE TABLE other.meta (of_another_program int)")
    url = at(place.url, path)
    for error in place.failures(url):
        assert isinstance(error, NoLedgerError)
    with pytest.raises(NoLedgerError, match=why):
        is_made(url)
    tables = place.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'other'")
    assert tables == [("meta",)] * ("," in path), "no second ledger was made"


@pytest.mark.slow
def test_a_schema_of_its_own_may_hold_the_ledger(place):
    place.execute("CREATE SCHEMA own")
    ledger = Ledger(at(place.url, "own"), QUICK, verify_threads=1)
    feed(ledger, quick_chain(1).blocks)
    ledger.close()
    reader = open_reader(at(place.url, "own"))
    with reader.snapshot() as snapshot:
        assert snapshot.tip_height > 0
    reader.close()
    with pytest.raises(NoLedgerError, match="in the schema 'own'"):
        Ledger(place.url, QUICK, verify_threads=1)


@pytest.mark.parametrize(
    "tables",
    [
        pytest.param(("CREATE TABLE mine (a int)",), **SLOW),
        pytest.param(("CREATE TABLE meta (a int)", "CREATE TABLE blocks (b int)"), **SLOW),
        ("CREATE TABLE alembic_version (version_num text)", "CREATE TABLE users (b int)"),
    ],
)
def test_a_database_of_another_program_is_left_alone(place, tables):
    for statement in tables:
        place.execute(statement)
    for error in place.failures(place.url):
        assert isinstance(error, NoLedgerError)
        assert "tables that are not groat's" in str(error)
    with pytest.raises(NoLedgerError, match="tables that are not groat's"):
        is_made(place.url)


def test_an_empty_database_has_no_ledger_yet(place):
    assert not is_made(place.url)
    with pytest.raises(NoLedgerError, match="does not hold a ledger"):
        open_reader(place.url)
    with pytest.raises(NoLedgerError, match="does not hold a ledger"):
        check_ledger(place.url, QUICK, verify_threads=1, folder=place.folder)


@pytest.mark.slow
def test_a_table_that_vanished_while_it_was_read_is_not_called_damage(place):
    place.make()
    reader = open_reader(place.url)
    place.execute("ALTER TABLE meta RENAME TO gone")
    with (
        pytest.raises(DatabaseFailedError, match='relation "meta" does not exist') as caught,
        reader.snapshot(),
    ):
        pass
    assert "damaged" not in str(caught.value)
    reader.close()
    with pytest.raises(DamagedError, match="the table meta is missing"):
        open_reader(place.url)


RIGHTS = {
    "REVOKE ALL ON SCHEMA public FROM PUBLIC": "which the role 'guest' may not use",
    "GRANT USAGE ON SCHEMA public TO guest": "permission denied for table",
}


@pytest.mark.slow
@pytest.mark.parametrize(("statement", "why"), RIGHTS.items())
def test_a_role_without_rights_is_told_so(place, statement, why):
    place.make()
    if not place.execute("SELECT 1 FROM pg_roles WHERE rolname = 'guest'"):
        place.execute("CREATE ROLE guest LOGIN")
    place.execute(statement)
    for error in place.failures(place.url.replace(f"{USER}@", "guest@")):
        assert why in str(error), error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("of", "why"),
    [
        (lambda s, _: s.url("nosuch"), 'database "nosuch" does not exist'),
        (lambda s, d: s.url(d).replace(f"{USER}@", "nobody:hush@"), 'role "nobody" does not exist'),
        (lambda s, d: s.url(d, options="-cnonsense%3D1"), '"nonsense"'),
        (lambda s, d: s.url(d, options="-crole%3Dnobody"), '"nobody"'),
        (lambda s, d: s.url(d, target_session_attrs="standby"), "standby"),
        (lambda s, d: s.url(d, requirepeer="nobody-else"), "requirepeer"),
        (lambda s, d: s.url(d).replace(f"{USER}@", "refused:hush@"), "pg_hba.conf"),
        (lambda s, d: s.url(d).replace(f"{USER}@", "asked:hush@"), "password authentication"),
        (lambda s, d: s.url(d).replace(f"{USER}@", "asked@"), "no password supplied: give the"),
        (lambda s, d: s.url(d).replace(f"{USER}@", "full:hush@"), "too many connections"),
    ],
)
def test_a_server_that_refuses_is_told_from_one_that_is_away(place, monkeypatch, of, why):
    monkeypatch.setenv("PGPASSFILE", str(place.folder / "none"))
    for name, more in (("refused", ""), ("asked", "PASSWORD 'other'"), ("full", "")):
        if not place.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{name}'"):
            limit = 0 if name == "full" else 9
            place.execute(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT {limit} {more}")
    file = place.server.data / "pg_hba.conf"
    rules, first = file.read_text(), "local all refused reject\nlocal all asked scram-sha-256\n"
    if not rules.startswith(first):
        file.write_text(first + rules)
        place.execute("SELECT pg_reload_conf()")
    url = of(place.server, place.database)
    for error in place.failures(url):
        assert why in str(error), error
        assert isinstance(error, RefusedError)
    with pytest.raises(RefusedError, match="cannot open the ledger"):
        is_made(url)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"nonsense": "1"}, "nonsense"),
        ({"connect_timeout": "soon"}, "connect_timeout"),
        ({"sslmode": "perhaps"}, "sslmode"),
        ({"service": "nosuch"}, "nosuch"),
        ({"port": "many"}, "port"),
    ],
)
def test_an_option_that_is_wrong_is_a_wrong_setting(place, options, why):
    for error in place.failures(place.server.url(place.database, **options)):
        assert why in str(error), error
        assert isinstance(error, DatabaseURLError), error


@pytest.mark.slow
def test_a_server_that_is_away_may_come_back(place):
    [writer, *readers] = place.failures(place.server.url(place.database, port="9"))
    assert "No such file or directory" in str(writer)
    assert not isinstance(writer, RefusedError | DatabaseURLError)
    assert all(isinstance(error, UnavailableError) for error in readers)


@pytest.mark.slow
@pytest.mark.net
@pytest.mark.parametrize(
    ("of", "code", "why"),
    [
        (lambda s, d: s.url("nosuch"), 1, 'database "nosuch" does not exist'),
        (lambda s, d: s.url(d, nonsense="1"), 2, "nonsense"),
        (lambda s, d: at(s.url(d), "nosuch"), 1, "names no schema"),
    ],
)
def test_each_command_ends_with_a_line_and_a_fitting_code(place, of, code, why):
    url = of(place.server, place.database)
    common = ("--network", "regtest", "--datadir", str(place.folder), "--database", url)
    blocks = place.folder / "blocks"
    blocks.touch()
    for command in (
        ("node", "--p2p", "127.0.0.1:0", "--api", "127.0.0.1:0", "--no-discovery"),
        ("serve", "--api", "127.0.0.1:0"),
        ("check",),
        ("export", str(place.folder / "copy")),
        ("import", str(blocks)),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "chain", command[0], *common, *command[1:]],
            capture_output=True,
            text=True,
            env=CLEAN,
            timeout=60,
            check=False,
        )
        last = done.stderr.splitlines()[-1]
        assert (done.returncode, why in last) == (code, True), (command, done.stderr)
        assert last.startswith("groat: ")
        assert "Traceback" not in done.stderr
        assert "damaged" not in done.stderr
