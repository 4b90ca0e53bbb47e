"""Text for people: dates, and ids, read and written."""

import io
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from chain.primitives.numbers import (
    Hash32,
    OutPoint,
    id_text,
    outpoint,
    outpoint_index,
    outpoint_txid,
    parse_id,
)
from chain.printable import printable
from wallet.errors import InputError

_OUTPUT: Final = re.compile(r"0|[1-9][0-9]{0,5}", re.ASCII)
_HEIGHT: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_NEGATIVE: Final = re.compile(r"-[0-9]+", re.ASCII)
_TIME_MAX: Final = 1 << 32  # block times have 32 bits


def replace_unprintable() -> None:
    """Let characters that the terminal's encoding lacks print as `?` instead of failing.

    The command may already have done its work.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def date_text(time: int) -> str:
    """Return a block's time as a date in UTC."""
    if not 0 <= time < _TIME_MAX:
        return "?"
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def parse_date(text: str, what: str) -> int:
    """Return the seconds since 1970 of a date, or date and time, in UTC unless it says otherwise.

    Raises InputError, which names it as `what`.
    """
    try:
        found = datetime.fromisoformat(text.strip())
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        return int(found.timestamp())
    except (ValueError, OverflowError):
        shown = printable(text, 40)
        if _NEGATIVE.fullmatch(text.strip()):
            raise InputError(f"{what}: a height cannot be negative: {shown!r}") from None
        raise InputError(
            f"{what}: not a date or a block's height: {shown!r} (write it as 2026-01-31)"
        ) from None


def parse_height(text: str, what: str) -> int:
    """Return a block's height. Raises InputError, which names it as `what`."""
    if not _HEIGHT.fullmatch(text):
        raise InputError(f"{what}: not a block's height: {printable(text, 40)!r}")
    return int(text)


def outpoint_text(point: OutPoint) -> str:
    """Return TXID:N."""
    return f"{id_text(outpoint_txid(point))}:{outpoint_index(point)}"


def parse_txid(text: str) -> Hash32:
    """Return the id of 64 hex digits. Raises InputError."""
    text = text.strip()
    try:
        return parse_id(text)
    except ValueError:
        shown = printable(text, 80)
        raise InputError(f"not the id of a transaction (64 hex digits): {shown!r}") from None


def parse_outpoint(text: str) -> OutPoint:
    """Return the outpoint TXID:N. Raises InputError."""
    txid, _, index = text.strip().partition(":")
    if _OUTPUT.fullmatch(index) is not None:
        with suppress(ValueError):
            return outpoint(parse_id(txid), int(index))
    shown = printable(text, 80)
    raise InputError(f"not a coin: {shown!r} (write it TXID:N, as `utxos` shows it)")
