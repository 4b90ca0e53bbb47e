"""Opening files that must be regular ones: a pipe or a device in their place is refused at once.

To open a pipe waits for its other end, and a device may have no end.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from chain.errors import UsageError

_AT_ONCE: Final = getattr(os, "O_NONBLOCK", 0)


class NotRegularError(OSError):
    """There is something else than a regular file."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "not a regular file", str(path))


class TooLongError(OSError):
    """The file is longer than it may be."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        problem = f"over {bytes_max:,} bytes, too long for this kind of file"
        super().__init__(errno.EFBIG, problem, str(path))


def read_regular_file(path: Path, bytes_max: int) -> bytes:
    """Return a file's bytes. Raises OSError: missing, NotRegularError, TooLongError, and others."""
    with open(_descriptor(path, os.O_RDONLY), "rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise TooLongError(path, bytes_max)
    return data


def open_to_append(path: Path, *, may_be_device: bool = False) -> BinaryIO:
    """Open a file at its end, made new if it is missing. Raises OSError, also NotRegularError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    return open(_descriptor(path, flags, may_be_device=may_be_device), "ab")


def refuse_to_overwrite(path: Path, *, force: bool) -> None:
    """Refuse a regular file that holds something, unless forced; an empty one loses nothing.

    Raises UsageError, which names the flag --force.
    """
    if not force and path.is_file() and path.stat().st_size:
        raise UsageError(f"{path} exists: --force replaces it, or choose another name")


def check_sqlite_files(database: Path) -> None:
    """Refuse anything but regular files where SQLite would open some: it waits for a pipe.

    Raises NotRegularError, and IsADirectoryError for a folder.
    """
    for suffix in ("", "-journal", "-wal", "-shm"):
        path = database.with_name(database.name + suffix)
        try:
            mode = path.stat().st_mode
        except OSError:  # missing, or SQLite's to report
            continue
        _check_mode(path, mode)


def _descriptor(path: Path, flags: int, *, may_be_device: bool = False) -> int:
    """Open a file with O_NONBLOCK, which means nothing for a regular one."""
    try:
        descriptor = os.open(path, flags | _AT_ONCE | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a pipe that nobody reads, or a socket
            raise NotRegularError(path) from error
        raise
    try:
        _check_mode(path, os.fstat(descriptor).st_mode, may_be_device=may_be_device)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check_mode(path: Path, mode: int, *, may_be_device: bool = False) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not (stat.S_ISREG(mode) or (may_be_device and stat.S_ISCHR(mode))):
        raise NotRegularError(path)
