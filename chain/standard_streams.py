"""Standard input, output and error as a command finds them: closed, full, without a reader."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO

_EXIT_FAILED: Final = 1


@contextmanager
def standard_streams(command: str) -> Iterator[None]:
    """Run the body, a whole command; end it in one line if its output cannot be written.

    Python would write its buffers only after the last chance to say so in other words than a
    traceback. A reader that has enough, as `head`, is told nothing. Raises SystemExit: what the
    body ended with, or 1 if that was 0 and the output is not whole.
    """
    _open_closed()
    code: object = None
    failure: OSError | None = None
    try:
        yield
    except SystemExit as ended:
        code = ended.code or 0
    except OSError as error:  # of help, which no command writes itself
        failure = error
    failure = _flush(sys.stdout) or failure
    if failure is not None:
        code = code or _EXIT_FAILED
        if not isinstance(failure, BrokenPipeError):
            where = failure.filename or "standard output"
            with suppress(OSError):
                sys.stderr.write(f"{command}: {where}: {failure.strerror or failure}\n")
    _flush(sys.stderr)
    if code is not None:
        raise SystemExit(code)


def _open_closed() -> None:
    """Put the null device where the caller closed a standard stream (`>&-`).

    Else the next file to be opened, a ledger perhaps, would take its number and get its text.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, os.fdopen(null, mode, encoding="utf-8"))


def _flush(stream: TextIO) -> OSError | None:
    """Write what waits; if that fails, drop it (Python would try again at its end) and say why."""
    try:
        stream.flush()
    except OSError as error:
        with suppress(OSError):  # a stream without a number, in tests
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
        return error
    return None
