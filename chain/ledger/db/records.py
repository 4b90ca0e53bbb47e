"""The encoding of coins and undo data in the database."""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from chain.consensus.coin import Coin
from chain.ledger.db.large_values import ReadPiece
from chain.primitives.encoding import (
    DecodeError,
    check_end,
    compact_size,
    read_bytes,
    read_compact_size,
    read_sized,
    with_size,
)
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Amount, Hash32, Height

TRANSACTION_CHECKSUM_BYTES: Final = 8
SPENT_CHECKSUM_BYTES: Final = 8
_COUNT_BYTES_MAX: Final = 5  # enough for COUNT_MAX
_WIDE: Final = 0xFD  # from this value, a size takes more than one byte
_NOTHING_SPENT: Final = compact_size(0)  # of most blocks of a young network
_FIXED: Final = struct.Struct("<qI")  # value; height * 2, plus 1 if from a coinbase
_pack_index: Final = struct.Struct("<I").pack
_ENTRY: Final = struct.Struct(f"<I{SPENT_CHECKSUM_BYTES}s")  # of the table in undo data
_sha256: Final = hashlib.sha256
_pack_entry: Final = _ENTRY.pack
_read_entry: Final = _ENTRY.unpack
_TWO_ENTRIES: Final = struct.Struct(f"<I{SPENT_CHECKSUM_BYTES}sI{SPENT_CHECKSUM_BYTES}s")
_read_two_entries: Final = _TWO_ENTRIES.unpack
_pack: Final = _FIXED.pack
_SHORT: Final = struct.Struct("<qIB")  # with a one-byte size, of a script up to 252 bytes
_pack_short: Final = _SHORT.pack
_read_short: Final = _SHORT.unpack_from  # raises struct.error if the bytes end too early


def encode_coin(coin: Coin) -> bytes:
    """Return the encoding of a coin; equal coins have equal bytes."""
    script, origin = coin.script, coin.height << 1 | coin.from_coinbase
    size = len(script)
    if size < _WIDE:  # the usual case, three times as fast
        return _pack_short(coin.value, origin, size) + script
    return _pack(coin.value, origin) + with_size(script)


def encode_spent(block_id: Hash32, spent: Sequence[Sequence[Coin]]) -> bytes:
    """Return the encoding of the coins spent by a block's transactions other than the coinbase.

    It has the number of transactions (CompactSize); a table with an entry for each, the offset at
    which its coins end (4 bytes, from the table's end) and 8 bytes of their checksum; and the coins
    of each transaction, preceded by their number.
    """
    if not spent:
        return _NOTHING_SPENT
    entries, parts, end = [], [], 0
    for index, coins in enumerate(spent):
        if len(coins) == 1:  # the usual case
            part = b"\x01" + encode_coin(coins[0])
        else:
            part = compact_size(len(coins)) + b"".join(map(encode_coin, coins))
        end += len(part)
        entries.append(_pack_entry(end, _spent_checksum(block_id, index, part)))
        parts.append(part)
    return b"".join((compact_size(len(parts)), *entries, *parts))


def decode_spent(data: bytes) -> tuple[tuple[Coin, ...], ...]:
    """Return what `encode_spent` encoded, ignoring the table. Raises DecodeError."""
    return tuple(_read_all(data))


def decode_spent_at(
    block_id: Hash32, read: ReadPiece, positions: Iterable[int]
) -> list[tuple[Coin, ...]]:
    """Return the coins that transactions spent, by their positions in the block; a coinbase: none.

    Each result is proved by its checksum. `read` returns bytes of the data at an offset; nothing
    else is read. Raises DecodeError: an item or its entry in the table is damaged or missing.
    """
    count, table_start = read_compact_size(read(0, _COUNT_BYTES_MAX), 0)
    coins_start = table_start + count * _ENTRY.size
    found: list[tuple[Coin, ...]] = []
    for position in positions:
        if not 0 < position <= count:
            if position:
                raise DecodeError("no such transaction")
            found.append(())
            continue
        index = position - 1
        try:
            if index:  # the coins start where those before end
                entries = read(table_start + (index - 1) * _ENTRY.size, _TWO_ENTRIES.size)
                first, _, end, checksum = _read_two_entries(entries)
            else:
                first, (end, checksum) = 0, _read_entry(read(table_start, _ENTRY.size))
        except struct.error as error:
            raise DecodeError("truncated inside the table") from error
        part = read(coins_start + first, end - first)
        if _spent_checksum(block_id, index, part) != checksum:
            raise DecodeError("wrong checksum")
        found.append(_decode_part(part))
    return found


def block_checksum(raw: bytes) -> bytes:
    """Return the checksum stored beside a raw block to detect any changed bit."""
    return sha256(raw)


def undo_checksum(block_id: Hash32, raw: bytes) -> bytes:
    """Return the checksum stored beside a block's undo data."""
    return sha256(block_id + raw)


def transaction_checksum(wtxid: Hash32) -> bytes:
    """Return the checksum stored beside a transaction's location to detect any changed bit."""
    return wtxid[:TRANSACTION_CHECKSUM_BYTES]


def _spent_checksum(block_id: Hash32, index: int, part: bytes) -> bytes:
    return _sha256(block_id + _pack_index(index) + part).digest()[:SPENT_CHECKSUM_BYTES]


def _read_all(data: bytes) -> Iterator[tuple[Coin, ...]]:
    count, at = read_compact_size(data, 0)
    _, at = read_bytes(data, at, count * _ENTRY.size)
    for _ in range(count):
        coins, at = _read_coins(data, at)
        yield coins
    check_end(data, at)


def _decode_part(part: bytes) -> tuple[Coin, ...]:
    """Return the coins that one transaction spent; `part` is all of their encoding."""
    if part[:1] == b"\x01" and len(part) > _SHORT.size:  # the usual case, in a third of the time
        value, origin, size = _read_short(part, 1)
        if size < _WIDE and len(part) == 1 + _SHORT.size + size:
            return (Coin(value, part[1 + _SHORT.size :], origin >> 1, bool(origin & 1)),)
    coins, at = _read_coins(part, 0)
    check_end(part, at)
    return coins


def _read_coins(data: bytes, at: int) -> tuple[tuple[Coin, ...], int]:
    inputs, at = read_compact_size(data, at)
    coins = []
    for _ in range(inputs):
        coin, at = _read_coin(data, at)
        coins.append(coin)
    return tuple(coins), at


def _read_coin(data: bytes, at: int) -> tuple[Coin, int]:
    try:
        value, origin, size = _read_short(data, at)
    except struct.error as error:
        raise DecodeError("truncated inside a coin") from error
    if size < _WIDE:  # the usual case, three times as fast
        script, end = read_bytes(data, at + _SHORT.size, size)
    else:
        script, end = read_sized(data, at + _FIXED.size)
    return Coin(Amount(value), script, Height(origin >> 1), bool(origin & 1)), end
