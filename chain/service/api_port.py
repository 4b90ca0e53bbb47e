"""The port that several processes share: reserved by their parent, which does not listen on it.

The processes bind it with SO_REUSEPORT, and Linux spreads connections among them. Without a
reservation two nodes of one user could share a port, and each would get half of the requests.
"""

import fcntl
import os
import socket
import stat
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

from chain.endpoint import Endpoint
from chain.errors import ShownError

_FOLDER_MODE: Final = 0o700


class PortTakenError(ShownError):
    """Another process uses the port."""


class PortReservation:
    """A port on an address of this machine, until `close`."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Reserve it; port 0 picks a free one. Raises PortTakenError, OSError."""
        if not hasattr(socket, "SO_REUSEPORT"):
            raise PortTakenError("this system cannot share a port: use --api-processes 0")
        if endpoint.port:
            _bound(endpoint, is_shared=False).close()  # nobody has it, sharing or not
        with ExitStack() as stack:
            bound = stack.enter_context(_bound(endpoint, is_shared=True))
            host, port = bound.getsockname()[:2]
            self.endpoint = Endpoint(host, port)
            stack.enter_context(_locked(port))
            self._held = stack.pop_all()

    def close(self) -> None:
        """Give it up."""
        self._held.close()


def _bound(endpoint: Endpoint, *, is_shared: bool) -> socket.socket:
    found = socket.getaddrinfo(
        endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    option = socket.SO_REUSEPORT if is_shared else socket.SO_REUSEADDR
    try:
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _locked(port: int) -> IO[bytes]:
    """Return the open file whose lock says that this process has the port. Raises OSError."""
    folder = Path(tempfile.gettempdir()) / f"groat-{os.getuid()}"
    folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PortTakenError(f"{folder} is not a folder of this user: remove it")
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    file = open(os.open(folder / f"api-{port}.lock", flags, 0o600), "wb")  # noqa: PTH123, SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise PortTakenError(f"another node shares port {port} among its processes") from None
    return file
