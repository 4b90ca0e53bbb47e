"""The encoding of coins and undo data in the database."""

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from chain.consensus.coin import Coin
from chain.primitives.encoding import (
    DecodeError,
    compact_size,
    read_bytes,
    read_compact_size,
    read_sized,
    with_size,
)
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Amount, Hash32, Height

TRANSACTION_CHECKSUM_BYTES: Final = 8
_FIXED: Final = struct.Struct("<qI")  # value; height * 2, plus 1 if from a coinbase
_pack: Final = _FIXED.pack
_pack_short: Final = struct.Struct("<qIB").pack  # with the size of a script up to 252 bytes


def encode_coin(coin: Coin) -> bytes:
    """Return the encoding of a coin; equal coins have equal bytes."""
    script, origin = coin.script, coin.height << 1 | coin.from_coinbase
    size = len(script)
    if size < 0xFD:  # the usual case, three times as fast
        return _pack_short(coin.value, origin, size) + script
    return _pack(coin.value, origin) + with_size(script)


def encode_spent(spent: Sequence[Sequence[Coin]]) -> bytes:
    """Return the encoding of the coins spent by a block's transactions other than the coinbase."""
    parts = [compact_size(len(spent))]
    for coins in spent:
        parts.append(compact_size(len(coins)))
        parts += map(encode_coin, coins)
    return b"".join(parts)


def decode_spent(data: bytes) -> tuple[tuple[Coin, ...], ...]:
    """Return what `encode_spent` encoded. Raises DecodeError."""
    return tuple(_read_all(data))


def decode_spent_slice(data: bytes, start: int, count: int) -> tuple[tuple[Coin, ...], ...]:
    """Return `count` items of `decode_spent`'s result from item `start`, ten times as fast.

    Raises DecodeError, but only for the bytes that it reads.
    """
    total, at = read_compact_size(data, 0)
    try:
        for _ in range(min(start, total)):
            at = _skip_all(data, at)
    except IndexError as error:
        raise DecodeError("truncated") from error
    found = []
    for _ in range(min(count, max(total - start, 0))):
        coins, at = _read_coins(data, at)
        found.append(coins)
    return tuple(found)


def block_checksum(raw: bytes) -> bytes:
    """Return the checksum stored beside a raw block to detect any changed bit."""
    return sha256(raw)


def undo_checksum(block_id: Hash32, raw: bytes) -> bytes:
    """Return the checksum stored beside a block's undo data."""
    return sha256(block_id + raw)


def transaction_checksum(wtxid: Hash32) -> bytes:
    """Return the checksum stored beside a transaction's location to detect any changed bit."""
    return wtxid[:TRANSACTION_CHECKSUM_BYTES]


def _read_all(data: bytes) -> Iterator[tuple[Coin, ...]]:
    count, at = read_compact_size(data, 0)
    for _ in range(count):
        coins, at = _read_coins(data, at)
        yield coins
    if at != len(data):
        raise DecodeError("bytes behind the last coin")


def _read_coins(data: bytes, at: int) -> tuple[tuple[Coin, ...], int]:
    inputs, at = read_compact_size(data, at)
    coins = []
    for _ in range(inputs):
        coin, at = _read_coin(data, at)
        coins.append(coin)
    return tuple(coins), at


def _skip_all(data: bytes, at: int) -> int:
    """Return the offset after the coins of one transaction. Raises IndexError."""
    inputs, at = (data[at], at + 1) if data[at] < 0xFD else read_compact_size(data, at)
    for _ in range(inputs):
        at += _FIXED.size
        size, at = (data[at], at + 1) if data[at] < 0xFD else read_compact_size(data, at)
        at += size
    return at


def _read_coin(data: bytes, at: int) -> tuple[Coin, int]:
    fixed, at = read_bytes(data, at, _FIXED.size)
    value, origin = _FIXED.unpack(fixed)
    script, at = read_sized(data, at)
    return Coin(Amount(value), script, Height(origin >> 1), bool(origin & 1)), at
