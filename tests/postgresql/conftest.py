"""A PostgreSQL server for all tests of a session, and a database in it for each test."""

import signal
from collections.abc import Iterator

import pytest

pytest.importorskip("psycopg", reason="psycopg is missing: pip install 'groat[postgresql]'")

from tests.postgresql_server import (
    NoPostgresqlError,
    Programs,
    Server,
    find_programs,
    new_database,
    new_server,
    server_folder,
)


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    """PostgreSQL's programs; without them the test is skipped."""
    with server_folder() as folder:
        try:
            yield find_programs(folder)
        except NoPostgresqlError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def server(programs: Programs) -> Iterator[Server]:
    """A server that no test stops."""
    with server_folder() as folder:
        home = programs.own(folder / "s")
        running = new_server(programs, home, 1)
        yield running
        running.stop(signal.SIGQUIT)  # at once


@pytest.fixture
def database(server: Server) -> str:
    """The name of an empty database."""
    return new_database(server)


@pytest.fixture
def url(server: Server, database: str) -> str:
    """The URL of an empty database."""
    return server.url(database)
