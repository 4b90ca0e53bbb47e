"""The file with the API's password for programs of the same user (Bitcoin: .cookie)."""

import errno
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from chain.durable_file import replace_file
from chain.regular_file import NotRegularError, TooLongError, read_regular_file
from chain.service.api.access.auth import COOKIE_USER

COOKIE_NAME: Final = ".cookie"


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
    with suppress(FileNotFoundError, NotRegularError, TooLongError):
        mine = f"{COOKIE_USER}:{password}".encode()
        if read_regular_file(target, len(mine)) == mine:
            target.unlink()
