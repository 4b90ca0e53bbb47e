"""A lock for one process per ledger; the system releases it when the process ends."""

import fcntl
import os
from pathlib import Path
from typing import IO

from chain.ledger.errors import LedgerError, LockedError
from chain.regular_file import check_sqlite_files, open_to_append


class FileLock:
    """Holds `FILE.lock` beside a database file until `release`.

    A link to the file has the same lock: beside the file itself, as SQLite's own files are.
    """

    def __init__(self, database: Path) -> None:
        """Take the lock. Raises LockedError; LedgerError: the folder cannot be written."""
        _check(database)
        self._file = _open(Path(f"{os.path.realpath(database)}.lock"))
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise LockedError(
                f"another process is using {database}, perhaps a node: stop it first"
            ) from error

    def release(self) -> None:
        """Release the lock."""
        self._file.close()


def _check(database: Path) -> None:
    try:
        check_sqlite_files(database)
    except OSError as error:
        raise LedgerError(f"cannot open the ledger {error.filename}: {error.strerror}") from error


def _open(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open_to_append(path)
    except OSError as error:
        raise LedgerError(f"cannot write to {error.filename}: {error.strerror}") from error
