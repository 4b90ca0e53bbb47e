"""Private files that are replaced whole: after a crash the old or the new one is there."""

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)
_FILE_MODE: Final = 0o600
# What systems answer that cannot open or sync a folder; there the rename has to be enough.
_NO_FOLDER_SYNC: Final = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM}


def replace_file(path: Path, content: bytes, *, overwrite: bool = True) -> None:
    """Write a file of mode 0600 durably; at any instant the path holds the old or the new bytes.

    Removes the temporary files of killed processes. Raises FileExistsError: the file exists, and
    `overwrite` is False; OSError: the old file is unchanged, no temporary file is left.
    """
    temporary = temporary_path(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        with open(os.open(temporary, flags, _FILE_MODE), "wb") as file:  # noqa: PTH123
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), _FILE_MODE)  # whatever the umask
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            os.link(temporary, path)  # unlike a rename, it refuses to overwrite
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk names none
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    sync_folder(path.parent)


def temporary_path(path: Path) -> Path:
    """Return a path beside `path` for what is to replace it, one that nobody else writes to.

    Removes the temporary files of killed processes.
    """
    _remove_leftovers(path)
    return path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")


@contextlib.contextmanager
def removing(path: Path) -> Iterator[None]:
    """Remove in the block a file that this process has left at `path`, as the process ends.

    That it cannot be removed is logged, and no error, which would hide the one that ends the
    process: a disk that can no longer be written is a reason for both.
    """
    try:
        yield
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("cannot remove %s: %s", path, error.strerror or error)


def sync_folder(path: Path) -> None:
    """Make renames in a folder durable. Raises OSError."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(number)
        finally:
            os.close(number)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def is_alive(process_id: int) -> bool:
    """Return whether a process with this number is running."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of processes that have ended."""
    for found in path.parent.glob(f".{path.name}.*.*"):
        writer = found.name.removeprefix(f".{path.name}.").partition(".")[0]
        if writer.isdecimal() and not is_alive(int(writer)):
            found.unlink(missing_ok=True)
