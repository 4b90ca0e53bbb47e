"""The node's log: standard error and node.log.

Logging never stops the node and never floods: a sink that cannot be written is reported once, in
the other sink, and repeated lines are limited.
"""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final, TextIO

from chain.regular_file import open_to_append

LOG_NAME: Final = "node.log"
LOG_BYTES_MAX: Final = 10_000_000  # then it is rotated; two older files remain
LINES_PER_MINUTE_MAX: Final = 60  # per place in the code
TRACEBACKS_PER_MINUTE_MAX: Final = 5
DEBUG_LINES_PER_MINUTE_MAX: Final = 6_000  # of a debug category that the user turned on
NOT_SHOWN: Final = {"is_shown": False}  # `extra` of a line that standard error gets anyway
_OLDER_LOGS: Final = 2
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s%(rest)s"
_REST: Final = " (more like this are left out for a minute)"
_MINUTE_S: Final = 60.0


def configure_logging(folder: Path | None, *, is_quiet: bool = False) -> None:
    """Send INFO and above to standard error and, if there is a `folder`, to node.log in it.

    If `is_quiet`, standard error gets only WARNING and above.

    Raises OSError: node.log cannot be opened.
    """
    screen = _Screen(sys.stderr)
    screen.setLevel(logging.WARNING if is_quiet else logging.NOTSET)
    files = () if folder is None else (_File(folder / LOG_NAME),)
    handler = NodeLog(screen, *files)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "alembic", "sqlalchemy"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # it warns of each bad request


class _Sink(logging.Handler):
    """A handler that stores its last error instead of printing it."""

    def __init__(self, *args: Any, **how: Any) -> None:  # noqa: ANN401 - the other base class's
        super().__init__(*args, **how)
        self.problem: BaseException | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802
        """Store the error that `emit` is handling."""
        self.problem = sys.exception()


class _Screen(_Sink, logging.StreamHandler[TextIO]):
    """Standard error."""

    def __str__(self) -> str:
        return "standard error"


class _File(_Sink, RotatingFileHandler):
    """The log file; reopened for each line after a failed one."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=LOG_BYTES_MAX, backupCount=_OLDER_LOGS, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        """Open the file, or a device such as /dev/null; a pipe would stop the node."""
        opened = open_to_append(Path(self.baseFilename), may_be_device=True)
        return TextIOWrapper(opened, encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Store the error, and drop the rest of the line."""
        super().handleError(record)
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.close()

    def __str__(self) -> str:
        return self.baseFilename


class NodeLog(logging.Handler):
    """Writes each record to all sinks, within a rate limit for each place in the code."""

    def __init__(self, *sinks: _Sink, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._sinks: Sequence[_Sink] = sinks
        self._missed = dict.fromkeys(sinks, 0)  # lines since a sink has failed
        self._clock = clock
        self._written: dict[tuple[str, int], tuple[float, int]] = {}  # by place: since, lines
        for sink in sinks:
            sink.setFormatter(logging.Formatter(_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. Raises nothing."""
        if not self._may_write(record):
            return
        for sink in self._sinks:
            is_shown = getattr(record, "is_shown", True) or not isinstance(sink, _Screen)
            if is_shown and record.levelno >= sink.level:
                self._write(sink, record)

    def close(self) -> None:
        """Close all sinks."""
        for sink in self._sinks:
            with suppress(OSError, ValueError):
                sink.close()
        super().close()

    def _may_write(self, record: logging.LogRecord) -> bool:
        """Count a line of its place in the code; the last one of a minute is marked as such.

        A record's own `per_minute_max` overrides the usual limits.
        """
        most = getattr(record, "per_minute_max", _usual_limit(record))
        place, now = (record.pathname, record.lineno), self._clock()
        since, lines = self._written.get(place, (now, 0))
        if now - since >= _MINUTE_S:
            since, lines = now, 0
        self._written[place] = since, lines + 1
        record.rest = _REST if lines + 1 == most else ""
        return lines < most

    def _write(self, sink: _Sink, record: logging.LogRecord) -> None:
        sink.problem = None
        sink.emit(record)
        missed = self._missed[sink]
        if sink.problem is not None:
            self._missed[sink] += 1
            if not missed:
                self._report_in_others(sink, f"cannot write to {sink}: {_reason(sink.problem)}")
        elif missed:
            self._missed[sink] = 0
            sink.emit(_record(f"{missed} lines before this one could not be written to {sink}"))

    def _report_in_others(self, about: _Sink, text: str) -> None:
        """Report a sink's failure in the other sinks."""
        for sink in self._sinks:
            if sink is not about:
                sink.emit(_record(text))


def _usual_limit(record: logging.LogRecord) -> int:
    if record.exc_info:
        return TRACEBACKS_PER_MINUTE_MAX
    is_debug = record.levelno <= logging.DEBUG
    return DEBUG_LINES_PER_MINUTE_MAX if is_debug else LINES_PER_MINUTE_MAX


def _reason(problem: BaseException) -> str:
    return getattr(problem, "strerror", None) or f"{type(problem).__name__}: {problem}"


def _record(text: str) -> logging.LogRecord:
    record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (), None)
    record.rest = ""
    return record
