"""Sources of typed secrets: the terminal, a file descriptor, or standard input.

Never an argument or the environment, which other processes can read.
"""

import os
import sys
import unicodedata
from typing import Final

from wallet.errors import CancelledError, InputError
from wallet.keys.secret import (
    WORD_COUNTS,
    check_words,
    is_border,
    listed_words,
    may_be_words,
)
from wallet.standard_input import LINE_BYTES_MAX, StandardInput

_BOM: Final = "\N{ZERO WIDTH NO-BREAK SPACE}"  # editors begin files with it
_PROMPT: Final = "Password"
_TRIES: Final = 3  # to type a new password twice
_GUESSED_CHARACTERS: Final = 8  # a shorter new password causes a warning


def check_descriptor(flag: str, descriptor: int) -> None:
    """Raise InputError, naming the flag that gives it, unless a file descriptor is open."""
    try:
        os.fstat(descriptor)
    except (OSError, OverflowError):  # OverflowError: beyond C's int
        raise InputError(f"{flag} {descriptor}: no such file descriptor is open") from None


def ask_password(descriptor: int | None, source: StandardInput, prompt: str = _PROMPT) -> str:
    """Return a wallet's password. Raises InputError: none given, or it cannot be read."""
    if descriptor is not None and descriptor != source.descriptor():
        return _password(_line_of(descriptor))
    if descriptor is not None:  # standard input by its number: one reader, or a line is lost
        return _password(source.require_line("password"))
    return _password(ask_secret(f"{prompt}: ", source))


def ask_new_password(descriptor: int | None, source: StandardInput, prompt: str = _PROMPT) -> str:
    """Return a new password; asked twice, and again if these differ, where typing is invisible.

    Warns of a short one. Raises InputError: empty, or they differ each time; and as `ask_password`.
    """
    is_typed = descriptor is None and source.is_terminal
    for _ in range(_TRIES if is_typed else 1):
        password = ask_password(descriptor, source, prompt)
        if not is_typed or _password(ask_secret(f"{prompt} again: ", source)) == password:
            break
        sys.stderr.write("The two passwords differ.\n")
    else:
        raise InputError("the two passwords differ")
    if len(password) < _GUESSED_CHARACTERS:
        warning = f"under {_GUESSED_CHARACTERS} characters are easy to guess from a stolen file"
        sys.stderr.write(f"groat-wallet: a short password: {warning}\n")
    return password


def ask_secret(prompt: str, source: StandardInput) -> str:
    """Return a line, not echoed on a terminal, without its line end.

    Raises InputError: end of standard input; not UTF-8 text; too long.
    """
    what = prompt.rstrip(": ").lower()
    if not source.is_terminal:
        return source.require_line(what)
    with source.silent():
        sys.stderr.write(prompt)
        sys.stderr.flush()
        return source.require_line(what)


def ask_words(source: StandardInput) -> str:
    """Return a wallet's words, normalized by `check_words`.

    They may fill several lines, numbered or not. Raises InputError: missing, wrong, or their end
    is ambiguous.
    """
    if not source.is_terminal:
        return _words_of_lines(source)
    sys.stderr.write("Words: ")
    sys.stderr.flush()
    return _words_typed(source)


def confirm(question: str, source: StandardInput, undone: str = "nothing was sent") -> None:
    """Return if the answer is yes. Raises CancelledError, whose text tells what is `undone`."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if source.line("answer").strip().lower() not in {"y", "yes"}:
        raise CancelledError(f"not confirmed: {undone} (--yes confirms beforehand)")


def _words_of_lines(source: StandardInput) -> str:
    """Return the words on the next lines; a line without words belongs to the next question.

    A password may look like words too: if the words could end at several lines, that is an error.
    """
    text = first = source.require_line("words").removeprefix(_BOM)
    ends: list[str] = []
    later: list[str] = []  # lines after the last possible end of the words
    while may_be_words(text):
        if text not in ends and _is_complete(text):
            ends.append(text)
            later = []
        line = None
        if not ends or source.is_more_there():
            line = source.line_or_none("words")
        if line is None:
            break
        if ends and is_border(line) and line in text.splitlines():
            continue  # the lower border of a table, whose other borders came before
        later.append(line)
        if ends and not line.strip():
            break
        text = f"{text}\n{line}"
    for line in reversed(later):
        source.push_back(line)
    return _only_end(ends) or check_words(
        first if len(listed_words(first)) in WORD_COUNTS else text
    )


def _only_end(ends: list[str]) -> str | None:
    if len(ends) > 1:
        raise InputError("words: it is not clear where they end: write them on one line")
    return check_words(ends[0]) if ends else None


def _words_typed(source: StandardInput) -> str:
    """Return the words typed or pasted into a terminal, over as many lines as necessary.

    The terminal shows them: nobody types twelve words without seeing them, and whoever looks on
    sees the paper too.
    """
    text = source.require_line("words")
    while may_be_words(text) and (not _is_complete(text) or source.is_more_there()):
        if not source.is_more_there():
            sys.stderr.write(f"{len(listed_words(text))} so far; more, or an empty line to end: ")
            sys.stderr.flush()
        line = source.line_or_none("words")
        if not (line or "").strip():
            break
        text = f"{text}\n{line}"
    return check_words(text)


def _is_complete(text: str) -> bool:
    try:
        check_words(text)
    except InputError:
        return False
    return True


def _password(text: str) -> str:
    if not text:
        raise InputError("a password cannot be empty")
    return unicodedata.normalize("NFKC", text)  # equal for all ways to type an accent


def _line_of(descriptor: int) -> str:
    """Return the first line of a file descriptor; reads no further."""
    line = b""
    try:
        while not line.endswith(b"\n") and len(line) < LINE_BYTES_MAX:
            part = os.read(descriptor, 1)
            if not part:
                break
            line += part
    except OSError as error:
        raise InputError(f"file descriptor {descriptor}: {error.strerror}") from None
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise InputError("the password is not UTF-8 text") from None
