"""Tables of text in which no id and no amount is broken over lines, however narrow the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len

_GAP: Final = "   "
_INDENT: Final = "    "
_LEFT: Final = " "
_PLAIN: Final = {"─": "-", "…": "..."}  # for encodings that lack these characters


@dataclass(frozen=True, slots=True)
class Column:
    """A column's head and how its values are shown."""

    head: str
    is_right: bool = False  # aligned right, as numbers are
    is_long: bool = False  # an id, address or text, which may take a line of its own


def table_lines(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    width: int | None,
    encoding: str = "utf-8",
) -> list[str]:
    """Return a table's lines, at most `width` characters long; None: as long as they are.

    If it is too wide, the long values follow their row, each on a line of its own; if it still is,
    every value is on a line of its own. A long value that is wider than a line is cut in the
    middle.
    """
    wide = _lines(columns, rows, encoding)
    if width is None or _widest(wide) <= width:
        return wide
    short = [at for at, column in enumerate(columns) if not column.is_long]
    heads = [columns[at] for at in short]
    head, rule, *body = _lines(heads, [[row[at] for at in short] for row in rows], encoding)
    if _widest([head, rule, *body]) > width:
        return _listed(columns, rows, width, encoding)
    lines = [head, rule]
    for line, row in zip(body, rows, strict=True):
        own = (row[at] for at, column in enumerate(columns) if column.is_long and row[at])
        cut = (cut_middle(value, width - len(_INDENT), encoding) for value in own)
        lines += [line, *(_INDENT + value for value in cut)]
    return lines


def cut_middle(text: str, width: int, encoding: str = "utf-8") -> str:
    """Return a text without characters of its middle, so that it takes `width` columns."""
    mark = _printed("…", encoding)
    if cell_len(text) <= width or width <= len(mark):
        return text
    left = (width - len(mark) + 1) // 2
    right = width - len(mark) - left
    return text[:left] + mark + text[len(text) - right :]


def _lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], encoding: str) -> list[str]:
    widths = [
        max(cell_len(column.head), *(cell_len(row[at]) for row in rows)) if rows else 0
        for at, column in enumerate(columns)
    ]
    rule = _LEFT + _printed("─", encoding) * (sum(widths) + len(_GAP) * (len(widths) - 1))
    return [
        _row([column.head for column in columns], columns, widths),
        rule,
        *(_row(row, columns, widths) for row in rows),
    ]


def _row(values: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    cells = []
    for value, column, width in zip(values, columns, widths, strict=True):
        blank = " " * (width - cell_len(value))
        cells.append(blank + value if column.is_right else value + blank)
    return (_LEFT + _GAP.join(cells)).rstrip()


def _listed(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, encoding: str
) -> list[str]:
    lines: list[str] = []
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            if value and column.is_long:
                lines += [f"{column.head}:", cut_middle(value, width, encoding)]
            elif value:
                lines.append(f"{column.head}: {value}")
        lines.append("")
    return lines


def _widest(lines: Sequence[str]) -> int:
    return max(map(cell_len, lines), default=0)


def _printed(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return _PLAIN[character]
    return character
