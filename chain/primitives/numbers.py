"""Distinct types for numbers and ids."""

import re
from typing import Final, NewType

Amount = NewType("Amount", int)  # grains, never a float
Height = NewType("Height", int)  # 0 is genesis
Hash32 = NewType("Hash32", bytes)  # as SHA-256 gives it; ids are printed reversed
OutPoint = NewType("OutPoint", bytes)  # 36 bytes as on the wire: txid, little-endian index

GRAINS_PER_GROAT: Final = 100_000_000
SECOND_US: Final = 1_000_000  # microseconds in a second
AMOUNT_MAX: Final = Amount(21_000_000 * GRAINS_PER_GROAT)  # Bitcoin: MAX_MONEY; no network has more
NULL_HASH: Final = Hash32(bytes(32))
NULL_OUTPOINT: Final = OutPoint(bytes(32) + b"\xff\xff\xff\xff")  # the input of a coinbase

_LOW_INDEXES: Final = tuple(index.to_bytes(4, "little") for index in range(256))
_ID_TEXT: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


def outpoint(txid: Hash32, index: int) -> OutPoint:
    """Return the 36 wire bytes of the outpoint `index` of `txid`."""
    # Without OutPoint(), a call that does nothing: this runs for each output of a block.
    low = _LOW_INDEXES[index] if index < 256 else index.to_bytes(4, "little")
    return txid + low  # type: ignore[return-value]


def outpoint_txid(point: OutPoint) -> Hash32:
    """Return the txid of an outpoint."""
    return Hash32(point[:32])


def outpoint_index(point: OutPoint) -> int:
    """Return the output index of an outpoint; 0xffffffff in a coinbase."""
    return int.from_bytes(point[32:], "little")


def coins_text(grains: int, separator: str = "") -> str:
    """Return an amount in coins, with all eight decimals and `separator` between thousands."""
    whole, rest = divmod(abs(grains), GRAINS_PER_GROAT)
    return f"{'-' if grains < 0 else ''}{whole:{separator}}.{rest:08d}"


def counted(count: int, noun: str) -> str:
    """Return a number and its noun, such as `1 block`, `2 blocks`, `2 addresses`."""
    return f"{count:,} {noun}{'' if count == 1 else 'es' if noun.endswith('s') else 's'}"


def id_text(value: bytes) -> str:
    """Return an id as text: hex of the reversed bytes."""
    return value[::-1].hex()


def parse_id(text: str) -> Hash32:
    """Return the id of 64 hex digits, in either case: the inverse of `id_text`.

    Raises ValueError: `text` is not exactly 64 hex digits (no white space or sign).
    """
    if _ID_TEXT.fullmatch(text) is None:
        raise ValueError("an id is 64 hex digits")
    return Hash32(bytes.fromhex(text)[::-1])
