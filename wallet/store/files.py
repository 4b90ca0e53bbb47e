"""Files that only their owner may read, written so that a crash leaves the old or the new one."""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from chain.durable_file import is_alive, replace_file, sync_folder
from wallet.errors import FileError

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_LOCK_WAIT_S: Final = 60.0
_LOCK_STEP_S: Final = 0.05
_NOTE_BYTES_MAX: Final = 16  # of a process id


def make_private_folder(path: Path) -> None:
    """Make a folder that only its owner may enter, and its parents as usual, durably."""
    missing = [each for each in path.parents if not each.exists()]
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        sync_folder(parent.parent)
    path.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    path.chmod(_FOLDER_MODE)
    sync_folder(path.parent)


def write_private(path: Path, data: bytes, *, overwrite: bool = True) -> None:
    """Write a file of mode 0600 durably; at any instant the path holds the old or the new bytes.

    Raises FileError: the file exists and `overwrite` is False; OSError, with the file's name.
    """
    try:
        replace_file(path, data, overwrite=overwrite)
    except FileExistsError:
        raise FileError(f"{path} exists already") from None


def read_private(path: Path, bytes_max: int) -> bytes:
    """Return a file's bytes.

    Raises FileNotFoundError; FileError: others may read it, not a plain file, over `bytes_max`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FileError(f"{path} is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise FileError(f"others may read {path}: restrict it with chmod 600")
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise FileError(f"{path} is too long for this kind of file")
    return data


@contextlib.contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file at `path` if no other process does; yield whether it is held."""
    descriptor = _open_lock(path)
    try:
        yield _try_lock(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold the lock file at `path`; waits while another process holds it.

    `on_wait` is called once, with the holder, before it waits. The kernel drops the lock when a
    process dies. Raises FileError: still held after a minute.
    """
    descriptor = _open_lock(path)
    try:
        if not _try_lock(descriptor):
            on_wait(f"{_holder(descriptor)} has locked this wallet: waiting for it to finish")
            _wait_for(descriptor)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            raise FileError(f"{_holder(descriptor)} has locked this wallet: let it finish first")
        time.sleep(_LOCK_STEP_S)


def _holder(descriptor: int) -> str:
    """Return the holder of a lock, if it has noted itself there."""
    noted = os.pread(descriptor, _NOTE_BYTES_MAX, 0)
    is_known = noted.isdigit() and is_alive(int(noted))
    return "another command" + (f" (process {noted.decode()})" if is_known else "")


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _FILE_MODE)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    with contextlib.suppress(OSError):  # a full disk: the holder stays unnamed
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return True
