"""Text from outside, made harmless for a terminal, a log, or an error of one line."""

from typing import Final

CHARACTERS_MAX: Final = 200


def printable(text: str, characters_max: int = CHARACTERS_MAX) -> str:
    """Return `text` as one line, cut to `characters_max`, with `?` for what cannot be printed.

    A terminal obeys escape sequences and marks of direction, and a newline could forge a line of a
    log. Whitespace of any kind and length becomes one space.
    """
    line = " ".join(text[: 4 * characters_max].split())  # whatever its length, the work is bounded
    shown = "".join(char if char.isprintable() else "?" for char in line[:characters_max])
    is_cut = len(line) > characters_max or len(text) > 4 * characters_max
    return shown + "..." if is_cut else shown


def printable_lines(text: str) -> str:
    """Return `text` with its lines and tabs, and `?` for what else cannot be printed."""
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)
