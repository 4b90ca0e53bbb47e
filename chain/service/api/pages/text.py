"""Text for people: amounts, ages, sizes, and messages from the chain."""

import datetime
import html
import re
from typing import Final

from chain.primitives.numbers import coins_text
from chain.primitives.script import OP_RETURN, operations

_AGES: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_SIZES: Final = ((1_000_000, "MB"), (1_000, "kB"))
_HASH_PARTS: Final = 10
MESSAGE_CHARACTERS_MAX: Final = 200
UNIT: Final = "GROAT"
CLOCK_SLACK_S: Final = 120  # clocks differ; a block's time may be slightly ahead of ours


def amount(grains: int) -> str:
    """Return an amount with its unit, on one line."""
    return f"{coins(grains)}\u00a0{UNIT}"


def coins(grains: int) -> str:
    """Return an amount in coins without the unit, all eight decimals."""
    return coins_text(grains, ",")


def signed_amount(grains: int) -> str:
    """Return an amount with its sign."""
    return f"{'+' if grains > 0 else ''}{amount(grains)}"


def age(seconds: int) -> str:
    """Return the age of something in one unit."""
    if seconds < -CLOCK_SLACK_S:
        return "in the future"
    for unit_s, name in _AGES:
        count = seconds // unit_s
        if count > 0:
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"


def duration(seconds: float) -> str:
    """Return a span of time in one unit."""
    for unit_s, name in ((3_600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.1f} {name}"
    return f"{seconds:.0f} s"


def iso(time: int) -> str:
    """Return a unix time in ISO 8601, UTC, as HTML's attribute `datetime` takes it."""
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc(time: int) -> str:
    """Return a unix time as date and time in UTC."""
    date = datetime.datetime.fromtimestamp(time, datetime.UTC)
    return date.strftime("%Y-%m-%d %H:%M:%S UTC")


def size(count: int) -> str:
    """Return a number of bytes in a suitable unit."""
    for unit, name in _SIZES:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} B"


def short(text: str) -> str:
    """Return both ends of a long id."""
    if len(text) <= 2 * _HASH_PARTS + 1:
        return text
    return f"{text[:_HASH_PARTS]}…{text[-_HASH_PARTS:]}"


def message(script: bytes) -> str | None:
    """Return the text in an OP_RETURN script, if it can be shown.

    None unless all of it is printable: control characters, and marks that change the direction of
    text, can deceive a reader. The page escapes the rest.
    """
    if script[:1] != bytes([OP_RETURN]):
        return None
    data = b"".join(pushed for _, pushed in operations(script[1:]) if pushed)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text[:MESSAGE_CHARACTERS_MAX] if text and text.isprintable() else None


def code(text: str) -> str:
    """Return text as escaped HTML, with the parts between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))


def rate(per_second: float) -> str:
    """Return hashes per second in a suitable unit."""
    if 0 < per_second < 1:
        return f"{per_second:.2g} H/s"
    for unit in ("H/s", "kH/s", "MH/s", "GH/s", "TH/s", "PH/s"):
        if per_second < 1000:
            return f"{per_second:.1f} {unit}" if per_second else "none"
        per_second /= 1000
    return f"{per_second:.1f} EH/s"
