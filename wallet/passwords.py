"""Where secrets that people type come from: the terminal, a file descriptor, or standard input.

Never from an argument or the environment, which other processes can read.
"""

import getpass
import os
import sys
import unicodedata
from typing import Final

from wallet.errors import CancelledError, InputError

_LINE_BYTES_MAX: Final = 4096


def ask_password(descriptor: int | None) -> str:
    """Return a wallet's password. Raises InputError: none given, or the descriptor is not open."""
    if descriptor is not None:
        return _password(_line_of(descriptor))
    return _password(ask_secret("Password: "))


def ask_new_password(descriptor: int | None) -> str:
    """Return the password for a new wallet, asked for twice where a typing error would go unseen.

    Raises InputError: empty, or the two differ; and as `ask_password`.
    """
    password = ask_password(descriptor)
    if descriptor is None and sys.stdin.isatty():
        again = _password(ask_secret("The same again: "))
        if again != password:
            raise InputError("the two passwords differ")
    return password


def ask_secret(prompt: str) -> str:
    """Return a line, not echoed on a terminal, without its line end.

    Raises InputError: standard input is at its end.
    """
    if sys.stdin.isatty():
        return getpass.getpass(prompt, sys.stderr)
    line = sys.stdin.readline(_LINE_BYTES_MAX)
    if not line:
        raise InputError(f"{prompt.rstrip(': ').lower()} expected on standard input")
    return line.rstrip("\r\n")


def confirm(question: str) -> None:
    """Return if the answer is yes. Raises CancelledError."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline(_LINE_BYTES_MAX).strip().lower() not in {"y", "yes"}:
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
