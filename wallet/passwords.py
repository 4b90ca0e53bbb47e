"""Where secrets that people type come from: the terminal, a file descriptor, or standard input.

Never from an argument or the environment, which other processes can read.
"""

import contextlib
import getpass
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import Final

from wallet.errors import CancelledError, InputError

_LINE_BYTES_MAX: Final = 4096
_GUESSED_CHARACTERS: Final = 8  # a new password of fewer is warned of


def ask_password(descriptor: int | None) -> str:
    """Return a wallet's password. Raises InputError: none given, or the descriptor is not open."""
    if descriptor is not None:
        return _password(_line_of(descriptor))
    return _password(ask_secret("Password: "))


def ask_new_password(descriptor: int | None) -> str:
    """Return the password for a new wallet, asked for twice where a typing error would go unseen.

    Warns of a short one. Raises InputError: empty, or the two differ; and as `ask_password`.
    """
    password = ask_password(descriptor)
    if descriptor is None and sys.stdin.isatty():
        again = _password(ask_secret("The same again: "))
        if again != password:
            raise InputError("the two passwords differ")
    if len(password) < _GUESSED_CHARACTERS:
        warning = f"under {_GUESSED_CHARACTERS} characters are soon guessed by who gets the file"
        sys.stderr.write(f"groat-wallet: a short password: {warning}\n")
    return password


def ask_secret(prompt: str) -> str:
    """Return a line, not echoed on a terminal, without its line end.

    Raises InputError: standard input is at its end; as `read_line`.
    """
    what = prompt.rstrip(": ").lower()
    if sys.stdin.isatty():
        with _utf8(what):
            text = getpass.getpass(prompt, sys.stderr)
            text.encode()
            return text
    line = read_line(what)
    if not line:
        raise InputError(f"{what} expected on standard input")
    return line.rstrip("\r\n")


def read_line(what: str, characters_max: int = _LINE_BYTES_MAX) -> str:
    """Return the next line of standard input, empty at its end.

    Raises InputError: `what` is no UTF-8 text, or too long (what is behind the limit would be taken
    for the next line).
    """
    with _utf8(what):
        line = sys.stdin.readline(characters_max + 1)
        line.encode()
    if len(line) > characters_max:
        raise InputError(f"{what}: more than {characters_max} characters")
    return line


def confirm(question: str) -> None:
    """Return if the answer is yes. Raises CancelledError."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if read_line("answer").strip().lower() not in {"y", "yes"}:
        raise CancelledError("not confirmed: nothing was sent (--yes confirms beforehand)")


def _password(text: str) -> str:
    if not text:
        raise InputError("a password cannot be empty")
    return unicodedata.normalize("NFKC", text)  # the same however a keyboard composes accents


def _line_of(descriptor: int) -> str:
    """Return the first line behind a descriptor, reading no further than that."""
    line = b""
    try:
        while not line.endswith(b"\n") and len(line) < _LINE_BYTES_MAX:
            part = os.read(descriptor, 1)
            if not part:
                break
            line += part
    except OSError as error:
        raise InputError(f"--password-fd {descriptor}: {error.strerror}") from None
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise InputError("the password is not UTF-8 text") from None


@contextlib.contextmanager
def _utf8(what: str) -> Iterator[None]:
    """Tell of other bytes than UTF-8: Python fails on them, or (in the C locale) lets them in."""
    try:
        yield
    except UnicodeError:
        raise InputError(f"{what}: not UTF-8 text") from None
