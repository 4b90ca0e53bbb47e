"""Text files that a person edits: settings, networks, logins.

Editors and shells leave a byte order mark, or write UTF-16 (Windows PowerShell's `>`, Notepad's
"Unicode"). The mark is accepted; everything else that is not UTF-8 is an error of one line.
"""

import codecs
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from chain.errors import ShownError
from chain.regular_file import read_regular_file

TOML_BYTES_MAX: Final = 64 * 1024
# tomllib keeps every prefix of a dotted key: a line of 64 KiB of `a.a.a` would take gigabytes.
TOML_LINE_CHARACTERS_MAX: Final = 4096
TOML_DEPTH_MAX: Final = 16  # nesting of tables and arrays
_INT64: Final = range(-(1 << 63), 1 << 63)  # TOML 1.0: the range of integers
_MARKS: Final = {  # UTF-32's first: little-endian, it begins with UTF-16's
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


_INVALID_VALUE: Final = re.compile(r"Invalid value \(at line (\d{1,9}),")  # tomllib's words
_BARE_VALUE: Final = re.compile(r"\s*([\w-]{1,64})\s*=\s*([^\s\"'#\[{][^\"'#]{0,98}?)\s*(?:#.*)?")


class TextFileError(ShownError):
    """A file that cannot be read in the expected form; the text is `PATH: why`."""

    def __init__(self, path: Path, why: str, *, is_missing: bool = False) -> None:
        super().__init__(f"{shown_path(path)}: {why}")
        self.is_missing = is_missing


def shown_path(path: Path) -> str:
    """Return a path in one line that is safe on a terminal: unprintable characters are escaped."""
    return escaped(str(path))


def escaped(text: str) -> str:
    """Return a text with unprintable characters escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def read_text_file(path: Path, bytes_max: int) -> str:
    """Return a file's text, without the byte order mark if it has one.

    Raises TextFileError: missing (`is_missing`) or unreadable, over `bytes_max`, not UTF-8.
    """
    try:
        data = read_regular_file(path, bytes_max)
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise TextFileError(path, error.strerror or str(error), is_missing=is_missing) from error
    except ValueError as error:  # a name with a zero byte, which TOML text can hold
        raise TextFileError(path, f"not a file name ({error})") from error
    return _decoded(path, data)


def _decoded(path: Path, data: bytes) -> str:
    problem = wide_encoding(data)
    if problem is not None:
        raise TextFileError(path, problem)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02x} in line {line}"
        raise TextFileError(path, f"{found} is not UTF-8: save it as UTF-8") from error
    return text


def wide_encoding(data: bytes) -> str | None:
    """Return what is wrong with text of two or four bytes a character, None for other text."""
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return f"it is {name}: save it as UTF-8"
    if b"\0" in data:
        name = "UTF-32" if b"\0\0" in data else "UTF-16"
        return f"it holds zero bytes, as {name} does: save it as UTF-8"
    return None


def read_toml(path: Path) -> dict[str, Any]:
    """Return the document in a TOML file.

    Raises TextFileError: as `read_text_file`; not TOML, a line or a nesting over its limit, an
    integer that does not fit in 64 bits.
    """
    text = read_text_file(path, TOML_BYTES_MAX)
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > TOML_LINE_CHARACTERS_MAX:
            limit = f"{TOML_LINE_CHARACTERS_MAX:,} characters"
            raise TextFileError(path, f"line {number} is over {limit}: break it up")
    try:
        document = tomllib.loads(text)
    except RecursionError as error:
        raise TextFileError(path, _too_deep()) from error
    except ValueError as error:  # TOMLDecodeError, and int()'s error for thousands of digits
        raise TextFileError(path, f"{error}{_quoting_hint(text, str(error))}") from error
    problem = _problem_in(document)
    if problem is not None:
        raise TextFileError(path, problem)
    return document


def _quoting_hint(text: str, problem: str) -> str:
    """Return how a line is written whose value is text without quotes, or a capital True."""
    found = _INVALID_VALUE.match(problem)
    line = _BARE_VALUE.fullmatch(text.split("\n")[int(found[1]) - 1]) if found else None
    if line is None:
        return ""
    name, value = line[1], line[2]
    if value.lower() in {"true", "false"}:
        return f"; write it as {name} = {value.lower()}"
    return f'; text has quotes: {name} = "{escaped(value)}"'


def _problem_in(document: dict[str, Any]) -> str | None:
    """Return the problem with a value that is out of range or nested too deeply; not recursive."""
    pending: list[tuple[str, object, int]] = [("", document, 0)]
    while pending:
        name, value, depth = pending.pop()
        if type(value) is int and value not in _INT64:
            return f"{name}: an integer of over 64 bits"
        if depth > TOML_DEPTH_MAX and isinstance(value, dict | list):
            return _too_deep()
        if isinstance(value, dict):
            pending += [(key[:100], each, depth + 1) for key, each in value.items()]
        elif isinstance(value, list):
            pending += [(name, each, depth + 1) for each in value]
    return None


def _too_deep() -> str:
    return f"tables and arrays are nested over {TOML_DEPTH_MAX} deep"
