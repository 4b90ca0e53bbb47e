"""What is at the other end: PostgreSQL itself, a connection pooler, or nothing."""

import socket
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import psycopg

PROBE_S: Final = 3.0  # for each of connecting and the reply
_SSL_REQUEST: Final = bytes.fromhex("0000000804d2162f")  # the message SSLRequest of protocol 3.0
_REPLIES: Final = (b"S", b"N", b"E")  # TLS or no TLS; an error, if the server has no process left


def server_answers(host: str, port: int) -> bool:
    """Return whether a PostgreSQL server is there; `host` is as in libpq, so maybe a folder.

    The client's library cannot tell one that is away from one with which TLS fails. This needs no
    TLS, and gives away no name and no password.
    """
    try:
        with _connected(host, port) as server:
            server.sendall(_SSL_REQUEST)
            return server.recv(1) in _REPLIES
    except (OSError, ValueError):  # ValueError: a name that cannot be one of a host
        return False


def is_folder(host: str) -> bool:
    """Return whether a host of libpq is the folder of a Unix socket, where there is no TLS."""
    return host.startswith(("/", "@"))


def is_pooled(connection: "psycopg.Connection[Any]") -> bool:
    """Return whether a connection leads to a pooler, which gives its clients keys of its own."""
    rows = connection.execute("SELECT pg_backend_pid()").fetchall()
    return rows != [(connection.info.backend_pid,)]


def _connected(host: str, port: int) -> socket.socket:
    if not is_folder(host):
        return socket.create_connection((host, port), PROBE_S)
    place = str(PurePosixPath(host, f".s.PGSQL.{port}"))
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.settimeout(PROBE_S)
        server.connect(f"\0{place[1:]}" if host.startswith("@") else place)
        stack.pop_all()
        return server
