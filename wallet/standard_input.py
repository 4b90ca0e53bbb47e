"""The only reader of standard input: lines of UTF-8, whatever the locale and line ends.

Later input (a password, a yes) is read later, so nothing is read beyond the request.
"""

import contextlib
import io
import select
import sys
import termios
from collections.abc import Iterator
from typing import Final

from chain.text_file import wide_encoding
from wallet.errors import InputError

LINE_BYTES_MAX: Final = 4096
_PASTE_S: Final = 0.05  # between the lines of text pasted into a terminal
_READ_BYTES: Final = 1 << 16


class StandardInput:
    """Standard input of this process, with what was read ahead."""

    def __init__(self) -> None:
        """Read nothing yet; a process has one such object, as it holds what was read ahead."""
        self._buffer = b""

    @property
    def is_terminal(self) -> bool:
        """Whether it is a terminal."""
        return sys.stdin is not None and sys.stdin.isatty()

    def descriptor(self) -> int | None:
        """Return its file descriptor, if it has one."""
        try:
            return None if sys.stdin is None else sys.stdin.fileno()
        except (OSError, ValueError):
            return None

    def line(self, what: str) -> str:
        """Return the next line without its end, empty at the end of input.

        Raises InputError: `what` is not UTF-8 text, or too long.
        """
        return self.line_or_none(what) or ""

    def line_or_none(self, what: str) -> str | None:
        """Return the next line without its end, None at the end of input. Raises as `line`."""
        raw = self.raw_line(what, LINE_BYTES_MAX)
        if not raw:
            return None
        problem = wide_encoding(raw)
        if problem is not None:
            raise InputError(f"{what}: {problem}")
        try:
            return raw.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise InputError(f"{what}: not UTF-8 text") from None

    def require_line(self, what: str) -> str:
        """Return the next line without its end. Raises InputError: end of input; and as `line`."""
        found = self.line_or_none(what)
        if found is None:
            raise InputError(f"{what} expected on standard input")
        return found

    def raw_line(self, what: str, bytes_max: int) -> bytes:
        """Return the next line with its end, empty at the end of input.

        Raises InputError: `what` is longer than that.
        """
        parts = [self._buffer]
        size = len(self._buffer)
        while b"\n" not in parts[-1] and size <= bytes_max and (part := self._more()):
            parts.append(part)
            size += len(part)
        line, mark, self._buffer = b"".join(parts).partition(b"\n")
        if len(line) > bytes_max:
            raise InputError(f"{what}: more than {bytes_max} characters")
        return line + mark

    def rest(self, bytes_max: int) -> bytes:
        """Return all remaining bytes, or somewhat more than `bytes_max` of them."""
        parts, self._buffer = [self._buffer], b""
        size = len(parts[0])
        while size <= bytes_max and (part := self._more()):
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def push_back(self, line: str) -> None:
        """Return a line to the input, to be read again."""
        self._buffer = line.encode() + b"\n" + self._buffer

    def skip_blank_lines(self) -> None:
        """Drop blank lines that can be read at once. Raises InputError, as `raw_line`."""
        while self.is_more_there():
            line = self.raw_line("standard input", LINE_BYTES_MAX)
            if line.strip() or not line:
                self._buffer = line + self._buffer
                return

    def is_more_there(self) -> bool:
        """Return whether more, or the end of input, can be read now; waits briefly."""
        descriptor = self.descriptor()
        if self._buffer or descriptor is None:
            return True
        return bool(select.select([descriptor], [], [], _PASTE_S)[0])

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Switch the terminal's echo off, and keep what was typed ahead."""
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        quiet = list(before)
        quiet[3] &= ~termios.ECHO
        termios.tcsetattr(descriptor, termios.TCSADRAIN, quiet)
        try:
            yield
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
            sys.stderr.write("\n")

    def _more(self) -> bytes:
        """Return the available input; empty at the end of input."""
        if sys.stdin is None:  # it was closed when the process started
            return b""
        stream = sys.stdin.buffer
        assert isinstance(stream, io.BufferedIOBase), "which has read1"
        return stream.read1(_READ_BYTES)
