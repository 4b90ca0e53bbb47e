"""The file with the API's password for programs of the same user (Bitcoin: .cookie)."""

import errno
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from chain.durable_file import removing, replace_file
from chain.regular_file import NotRegularError, TooLongError, read_regular_file
from chain.service.api.access.auth import COOKIE_USER, Logins

COOKIE_NAME: Final = ".cookie"
COOKIE_BYTES_MAX: Final = 200


def write_cookie(folder: Path) -> str:
    """Write a new password to `folder`, readable by the user only, and return it.

    An old cookie is replaced. Raises OSError: the folder cannot be written, or the cookie's path is
    a symbolic link, which only somebody else can have created.
    """
    password = secrets.token_hex(32)
    target = folder / COOKIE_NAME
    if target.is_symlink():
        raise OSError(errno.ELOOP, "the cookie must not be a symbolic link", str(target))
    replace_file(target, f"{COOKIE_USER}:{password}".encode())
    return password


def remove_cookie(folder: Path, password: str) -> None:
    """Remove the cookie that `write_cookie` left, unless another node has replaced it since."""
    target = folder / COOKIE_NAME
    with removing(target), suppress(NotRegularError, TooLongError):
        mine = f"{COOKIE_USER}:{password}".encode()
        if read_regular_file(target, len(mine)) == mine:
            target.unlink()


class FollowedLogins:
    """The accounts of a node in another process: a LoginsPort.

    The cookie is read again when another start of the node has replaced it.
    """

    def __init__(self, folder: Path, rpc_auth: Sequence[str] = ()) -> None:
        """Accept the cookie in `folder` and these `rpc_auth` lines. Raises RpcAuthError."""
        self._file = folder / COOKIE_NAME
        self._name = str(self._file)  # a Path takes as long to look at it again as the system
        self._rpc_auth = rpc_auth
        self._seen: tuple[int, int, int] | None = None
        self._logins = Logins(None, rpc_auth)

    def accept(self, header: str, /) -> bool:
        self._read_again()
        return self._logins.accept(header)

    def _read_again(self) -> None:
        try:
            now = os.lstat(self._name)
            seen = (now.st_ino, now.st_mtime_ns, now.st_size)
            if seen == self._seen:
                return
            text = read_regular_file(self._file, COOKIE_BYTES_MAX).decode("ascii")
        except (OSError, UnicodeDecodeError):  # missing, no file, or not ours to read
            self._seen, self._logins = None, Logins(None, self._rpc_auth)
            return
        user, _, password = text.partition(":")
        self._seen = seen
        self._logins = Logins(password if user == COOKIE_USER else None, self._rpc_auth)
