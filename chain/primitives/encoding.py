"""CompactSize and bounded reading, the basis of all of Bitcoin's formats."""

import re
from typing import Final

COUNT_MAX: Final = 0x02000000  # Bitcoin: MAX_SIZE in serialize.h
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*", re.ASCII)


class DecodeError(ValueError):
    """Bytes that are not in the expected format."""


def parse_hex(text: str) -> bytes:
    """Return the bytes of pairs of hex digits; of no digits, none (Bitcoin: TryParseHex).

    Raises DecodeError: anything else in between, white space too.
    """
    if _HEX.fullmatch(text) is None:
        raise DecodeError("not pairs of hex digits")
    return bytes.fromhex(text)


def compact_size(value: int) -> bytes:
    """Return `value` (0 to 2^64-1) as the shortest CompactSize."""
    if value < 0xFD:
        return value.to_bytes(1, "little")
    if value <= 0xFFFF:
        return b"\xfd" + value.to_bytes(2, "little")
    if value <= 0xFFFFFFFF:
        return b"\xfe" + value.to_bytes(4, "little")
    return b"\xff" + value.to_bytes(8, "little")


def with_size(data: bytes) -> bytes:
    """Return `data` with its length, as a CompactSize, in front."""
    return compact_size(len(data)) + data


def read_compact_size(data: bytes, at: int) -> tuple[int, int]:
    """Return the CompactSize at offset `at` of `data`, and the offset after it.

    Raises DecodeError: truncated, not in the shortest form, over COUNT_MAX (Bitcoin:
    ReadCompactSize).
    """
    if at >= len(data):
        raise DecodeError("truncated: a size is missing")
    first = data[at]
    if first < 0xFD:
        return first, at + 1
    width = 1 << (first - 0xFC)  # 2, 4 or 8 bytes
    end = at + 1 + width
    if end > len(data):
        raise DecodeError("truncated inside a size")
    value = int.from_bytes(data[at + 1 : end], "little")
    if value < 0xFD or (width > 2 and value >> (width * 4) == 0):
        raise DecodeError("non-canonical size")
    if value > COUNT_MAX:
        raise DecodeError(f"size {value} is too large")
    return value, end


def read_bytes(data: bytes, at: int, count: int) -> tuple[bytes, int]:
    """Return `count` bytes at offset `at`, and the offset after them.

    Raises DecodeError: truncated.
    """
    end = at + count
    if end > len(data):
        raise DecodeError(f"truncated: {count} bytes wanted, {max(len(data) - at, 0)} left")
    return data[at:end], end


def read_sized(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the bytes whose size is the CompactSize at `at`, and the offset after them."""
    count, at = read_compact_size(data, at)
    return read_bytes(data, at, count)


def read_uint(data: bytes, at: int, width: int) -> tuple[int, int]:
    """Return the little-endian integer of `width` bytes at `at`, and the offset after it."""
    taken, at = read_bytes(data, at, width)
    return int.from_bytes(taken, "little"), at


def read_count(payload: bytes, at: int, limit: int) -> tuple[int, int]:
    """Return the count at offset `at`, and the offset after. Raises DecodeError: over `limit`."""
    count, at = read_compact_size(payload, at)
    if count > limit:
        raise DecodeError(f"{count} entries, at most {limit}")
    return count, at


def check_end(payload: bytes, at: int) -> None:
    """Raise DecodeError if the payload continues after offset `at`."""
    if at != len(payload):
        raise DecodeError(f"{len(payload) - at} bytes after the message")
