"""Standard streams of a command that may be closed, full or without a reader."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO

_EXIT_FAILED: Final = 1


STANDARD_OUTPUT: Final = "standard output"


@contextmanager
def naming_output(name: str = STANDARD_OUTPUT) -> Iterator[None]:
    """Give an error of the body's writes the name of what it writes to: the system gives none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or name
        raise


@contextmanager
def standard_streams(command: str) -> Iterator[None]:
    """Run the body, a whole command; exit with one line if its output cannot be written.

    Python itself flushes its buffers too late to report an error except by a traceback. A closed
    pipe, as with `head`, is not an error. Raises SystemExit: the body's status, or 1 if that
    was 0 and the output is incomplete.
    """
    _open_closed()
    code: object = None
    failure: OSError | None = None
    try:
        yield
    except SystemExit as ended:
        code = ended.code or 0
    except OSError as error:  # of the help, which typer writes
        failure = error
    failure = _flush(sys.stdout) or failure
    if failure is not None:
        code = code or _EXIT_FAILED
        if not isinstance(failure, BrokenPipeError):
            where = failure.filename or STANDARD_OUTPUT
            with suppress(OSError):
                sys.stderr.write(f"{command}: {where}: {failure.strerror or failure}\n")
    _flush(sys.stderr)
    if code is not None:
        raise SystemExit(code)


def _open_closed() -> None:
    """Put the null device where the caller closed a standard stream (`>&-`).

    Otherwise the next opened file, perhaps a ledger, would get its number and its output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number
            setattr(sys, name, os.fdopen(null, mode, encoding="utf-8"))


def _flush(stream: TextIO) -> OSError | None:
    """Flush; on failure discard the buffer, as Python flushes again at exit; return the error."""
    try:
        stream.flush()
    except OSError as error:
        with suppress(OSError):  # a stream without a number, in tests
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
        return error
    return None
