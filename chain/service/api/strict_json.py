"""JSON from outside, read so that nothing in it can surprise the code behind.

Python's reader takes NaN, infinities, repeated keys, lone surrogates and integers without end; each
of them has broken a server (an infinity cannot be written back, a surrogate cannot be sent).
Numbers are kept as text: no size of one can hurt before somebody counts with it.
"""

import json
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Json: TypeAlias = Any  # dict, list, str, Number, bool or None, nested

DEPTH_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written.

    Who takes one decides what it may be: 1e999999999 is a fine id, and the exponent of no amount.
    Bitcoin's UniValue keeps numbers as text for the same reason.
    """

    text: str


class JsonSyntaxError(ValueError):
    """Text that is no JSON at all."""


class JsonHostileError(ValueError):
    """JSON, or nearly, that no honest client writes; says what is wrong with it."""


def read_json(data: bytes) -> Json:
    """Return what `data` says.

    Raises JsonSyntaxError; JsonHostileError: not UTF-8, NaN or infinity, a key twice, a lone
    surrogate, nesting over DEPTH_MAX.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise JsonHostileError("not UTF-8") from None
    if text.startswith("\ufeff") or "\0" in text:
        raise JsonHostileError("a byte order mark or a null character")
    try:
        value = json.loads(
            text,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        raise JsonSyntaxError(error.msg) from None
    except RecursionError:
        raise JsonHostileError("nested too deep") from None
    _check_tree(value)
    return value


def _constant(text: str) -> Json:
    raise JsonHostileError(f"{text} is no number")


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise JsonHostileError("a key stands twice in one object")
    return value


def _check_tree(value: Json) -> None:
    """Bound the nesting and refuse strings that cannot be written as UTF-8, without recursion."""
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        below: list[Json] = []
        for item in level:
            if isinstance(item, str):
                _check_text(item)
            elif isinstance(item, list):
                below += item
            elif isinstance(item, dict):
                below += item
                below += item.values()
        containers = any(isinstance(item, list | dict) for item in level)
        level = below
        if not containers:
            return
    raise JsonHostileError(f"nested deeper than {DEPTH_MAX}")


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise JsonHostileError("half of a surrogate pair") from None
