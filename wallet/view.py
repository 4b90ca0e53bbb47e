"""Text for people: dates, ids, and foreign strings made harmless."""

import unicodedata
from datetime import UTC, datetime
from typing import Final

from chain.primitives.numbers import OutPoint, id_text, outpoint_index, outpoint_txid

_TIME_MAX: Final = 1 << 32  # block times have 32 bits


def printable(text: str, characters_max: int = 200) -> str:
    """Return foreign text as one line without control, format or surrogate characters.

    A terminal obeys escape sequences, so a server's error text could otherwise rewrite the screen.
    """
    harmless = (" " if unicodedata.category(each)[0] == "C" else each for each in text)
    kept = " ".join("".join(harmless).split())
    return kept if len(kept) <= characters_max else kept[:characters_max] + "…"


def date_text(time: int) -> str:
    """Return a block's time as a date in UTC."""
    if not 0 <= time < _TIME_MAX:
        return "?"
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def outpoint_text(point: OutPoint) -> str:
    """Return TXID:N."""
    return f"{id_text(outpoint_txid(point))}:{outpoint_index(point)}"
