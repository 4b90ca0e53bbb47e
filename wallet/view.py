"""Text for people: dates, ids (read and written), and foreign strings made harmless."""

import io
import re
import sys
import unicodedata
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
from wallet.errors import InputError

_TXID: Final = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_OUTPUT: Final = re.compile(r"0|[1-9][0-9]{0,5}", re.ASCII)
_TIME_MAX: Final = 1 << 32  # block times have 32 bits


def printable(text: str, characters_max: int = 200) -> str:
    """Return foreign text as one line without control, format or surrogate characters.

    A terminal obeys escape sequences, so a server's error text could otherwise rewrite the screen.
    """
    harmless = (" " if unicodedata.category(each)[0] == "C" else each for each in text)
    shown = " ".join("".join(harmless).split())
    return shown if len(shown) <= characters_max else shown[:characters_max] + "…"


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


def outpoint_text(point: OutPoint) -> str:
    """Return TXID:N."""
    return f"{id_text(outpoint_txid(point))}:{outpoint_index(point)}"


def parse_txid(text: str) -> Hash32:
    """Return the id of 64 hex digits. Raises InputError."""
    text = text.strip()
    if _TXID.fullmatch(text) is None:
        raise InputError(f"not the id of a transaction (64 hex digits): {printable(text, 80)!r}")
    return parse_id(text)


def parse_outpoint(text: str) -> OutPoint:
    """Return the outpoint TXID:N. Raises InputError."""
    txid, _, index = text.strip().partition(":")
    if _TXID.fullmatch(txid) is None or _OUTPUT.fullmatch(index) is None:
        shown = printable(text, 80)
        raise InputError(f"not a coin: {shown!r} (write it TXID:N, as `utxos` shows it)")
    return outpoint(parse_txid(txid), int(index))
