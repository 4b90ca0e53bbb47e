"""Stack items as numbers and as booleans."""

from typing import Final

from chain.script.errors import ScriptError, fail

NUMBER_BYTES_MAX: Final = 4
LOCK_TIME_BYTES_MAX: Final = 5  # BIP65: a lock time is unsigned and has 32 bits

TRUE: Final = b"\x01"
FALSE: Final = b""


def decode_number(item: bytes, size_max: int, *, minimal: bool) -> int:
    """Return the value of an item as a number: little-endian, the highest bit is the sign.

    Fails with SCRIPTNUM: over `size_max` bytes, or not in its shortest form if `minimal`
    (Bitcoin: CScriptNum).
    """
    size = len(item)
    if size > size_max:
        fail(ScriptError.SCRIPTNUM)
    if size == 0:
        return 0
    last = item[-1]
    if minimal and last & 0x7F == 0 and (size == 1 or item[-2] & 0x80 == 0):
        fail(ScriptError.SCRIPTNUM)
    number = int.from_bytes(item, "little")
    return number if last < 0x80 else (0x80 << 8 * (size - 1)) - number


def encode_number(number: int) -> bytes:
    """Return the shortest encoding of a number of any size (Bitcoin: CScriptNum::serialize)."""
    if number == 0:
        return FALSE
    size = abs(number).bit_length() // 8 + 1  # one more bit than the number, for the sign
    sign = 0x80 << 8 * (size - 1) if number < 0 else 0
    return (abs(number) | sign).to_bytes(size, "little")


def as_bool(item: bytes) -> bool:
    """Return whether an item of any size is true: neither zero nor negative zero.

    Bitcoin: CastToBool.
    """
    return item.lstrip(b"\x00") not in (b"", b"\x80")
