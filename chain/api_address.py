"""The file in which a running node leaves its API's address, for programs of the same user.

With port 0 no setting says where a node listens. The node holds a lock on the file as long as it
runs, so that what a killed one left counts as missing.
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from chain.durable_file import removing
from chain.endpoint import PORT_MAX, Endpoint
from chain.regular_file import open_to_append

API_ADDRESS_NAME: Final = ".api"
_BYTES_MAX: Final = 300  # a host name has at most 253 characters
_ATTEMPTS_MAX: Final = 20
_RETRY_S: Final = 0.005


@contextmanager
def published_api_address(folder: Path, endpoint: Endpoint) -> Iterator[None]:
    """Keep the file in `folder` while the block runs; remove it at the end.

    Another running node's file stays as it is. Raises OSError: the file cannot be written.
    """
    path = folder / API_ADDRESS_NAME
    with open_to_append(path) as file:
        if not _lock_to_write(file.fileno()):
            yield
            return
        os.fchmod(file.fileno(), 0o600)
        file.truncate(0)
        file.write(f"{endpoint}\n".encode())
        file.flush()
        try:
            yield
        finally:
            with removing(path):
                path.unlink()


def running_api_address(folder: Path) -> Endpoint | None:
    """Return where the API of the node that runs with `folder` listens; None: unknown."""
    try:
        descriptor = os.open(folder / API_ADDRESS_NAME, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        if _lock(descriptor, fcntl.LOCK_SH):  # nobody holds it: its node has ended
            return None
        return _endpoint(os.read(descriptor, _BYTES_MAX).decode())
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)


def _lock_to_write(descriptor: int) -> bool:
    """Lock the file for a node; a client that looks at it holds it briefly."""
    for _ in range(_ATTEMPTS_MAX):
        if _lock(descriptor, fcntl.LOCK_EX):
            return True
        time.sleep(_RETRY_S)
    return False


def _lock(descriptor: int, how: int) -> bool:
    """Lock a file until its descriptor is closed; return False if another process has it."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks: taken as held
        return False
    return True


def _endpoint(text: str) -> Endpoint:
    """Return the endpoint that `str` wrote. Raises ValueError."""
    host, _, port = text.removesuffix("\n").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= PORT_MAX:
        raise ValueError(text)
    return Endpoint(host.removeprefix("[").removesuffix("]"), int(port))
