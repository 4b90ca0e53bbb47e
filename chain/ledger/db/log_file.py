"""The write-ahead log's size, and the pauses of reads in which a log that is too long can end.

SQLite begins its log again at an instant at which nobody reads in it. Where many processes read,
each snapshot may begin before the last one has ended, and there is no such instant. So beyond a
size no snapshot begins in the first part of each period, in any process: all of them see the log's
file, and on one machine all have the same monotonic clock. The longer the log, the longer the
pause, up to the longest time that a snapshot may last: then nobody reads any more.

In a first sync a single commit may be as long. The next one begins the log again, and cuts the file
to its own length. So only a log that did not get shorter for a while is too long.
"""

import time
from typing import Final, NamedTuple

from chain.ledger.db.url import Database, database_file

LOG_BYTES_HARD: Final = 192_000_000
STEP_BYTES: Final = 64_000_000  # beyond it, for which pauses are twice as long
GROWING_S: Final = 10.0  # without getting shorter
PAUSE_S_MIN: Final = 0.1
PAUSE_S_MAX: Final = 5.0  # as long as a snapshot lasts at most
PAUSES_PER_PERIOD: Final = 10  # so snapshots may begin in nine tenths of the time


class Pause(NamedTuple):
    """The present pause, or else the next one, in seconds; both 0 if reads do not pause."""

    begins_in_s: float
    ends_in_s: float


class LogFile:
    """The write-ahead log of an SQLite database; any other database has none, of size 0."""

    def __init__(self, database: Database) -> None:
        """Look at the log of `database`. Raises DatabaseURLError."""
        file = database_file(database)
        self._path = None if file is None else file.with_name(file.name + "-wal")
        self._seen = 0  # its size when `pause` was last called
        self._growing_since_s = time.monotonic()

    @property
    def size(self) -> int:
        """Its size in bytes."""
        try:
            return 0 if self._path is None else self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def pause(self) -> Pause:
        """Return the present or the next pause of reads."""
        size, now_s = self.size, time.monotonic()
        if size <= LOG_BYTES_HARD or size < self._seen:
            self._growing_since_s = now_s
        self._seen = size
        is_too_long = now_s - self._growing_since_s >= GROWING_S
        return pause_at(size, now_s) if is_too_long else Pause(0.0, 0.0)


def pause_at(log_bytes: int, now_s: float) -> Pause:
    """Return the present or the next pause, at `now_s` of time.monotonic()."""
    if log_bytes <= LOG_BYTES_HARD:
        return Pause(0.0, 0.0)
    lasts_s = PAUSE_S_MIN
    for _ in range((log_bytes - LOG_BYTES_HARD) // STEP_BYTES):
        if lasts_s >= PAUSE_S_MAX:
            break
        lasts_s *= 2
    lasts_s = min(lasts_s, PAUSE_S_MAX)
    period_s = lasts_s * PAUSES_PER_PERIOD
    elapsed_s = now_s % period_s
    if elapsed_s < lasts_s:
        return Pause(0.0, lasts_s - elapsed_s)
    return Pause(period_s - elapsed_s, period_s - elapsed_s + lasts_s)
