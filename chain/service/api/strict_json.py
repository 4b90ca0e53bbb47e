"""A strict JSON reader for untrusted input.

Python's reader accepts NaN, infinities, repeated keys, lone surrogates and huge integers; each
of them can break a server (an infinity cannot be written back, a surrogate cannot be sent).
Numbers stay text, so that their size is harmless until they are converted.
"""

import json
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Json: TypeAlias = Any  # dict, list, str, Number, bool or None, nested

DEPTH_MAX: Final = 32


@dataclass(frozen=True, slots=True)
class Number:
    """A number in its written form.

    The caller decides what is valid: 1e999999999 may be an id, but not an amount.
    Bitcoin's UniValue keeps numbers as text for the same reason.
    """

    text: str


class RepeatingObject(dict[str, Json]):
    """An object with a key that was written more than once; it has the first value of each.

    The user decides what that means, as with Bitcoin's UniValue, which keeps all of them.
    """

    __slots__ = ("repeated",)
    repeated: str  # the first key that came again


class JsonSyntaxError(ValueError):
    """The text is not JSON."""


class JsonHostileError(ValueError):
    """JSON, or nearly JSON, of a kind that no honest client writes; the text says what is wrong."""


def read_json(data: bytes) -> Json:
    """Return the value of the JSON document `data`.

    An object that repeats a key is a RepeatingObject. Raises JsonSyntaxError; JsonHostileError:
    not UTF-8, NaN or infinity, a lone surrogate, nesting over DEPTH_MAX.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise JsonHostileError("not UTF-8") from None
    if text.startswith("\ufeff") or "\0" in text:
        raise JsonHostileError("a byte order mark or a null character")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise JsonSyntaxError(error.msg) from None
    except RecursionError:
        raise JsonHostileError("nested too deep") from None
    # Only escapes make lone surrogates, and only so many brackets can be nested too deep.
    if "\\u" in text or text.count("[") + text.count("{") > DEPTH_MAX:
        _check_tree(value)
    return value


def _constant(text: str) -> Json:
    raise JsonHostileError(f"{text} is no number")


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    first = RepeatingObject()
    for key, item in reversed(pairs):
        if key in first:
            first.repeated = key
        first[key] = item
    return first


_DECODER: Final = json.JSONDecoder(
    parse_int=Number, parse_float=Number, parse_constant=_constant, object_pairs_hook=_object
)


def repeated_key(value: Json) -> str | None:
    """Return a key that some object inside a value of `read_json` repeats, or None."""
    below = [value]
    while below:
        item = below.pop()
        if isinstance(item, RepeatingObject):
            return item.repeated
        if isinstance(item, list):
            below += item
        elif isinstance(item, dict):
            below += item.values()
    return None


def _check_tree(value: Json) -> None:
    """Limit the nesting and refuse strings that UTF-8 cannot encode, without recursion."""
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
