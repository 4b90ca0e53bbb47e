"""Compact bits: the four-byte encoding of a 256-bit target in a header."""

from functools import lru_cache
from typing import Final

_BITS_MAX: Final = 64  # bits whose target is remembered: those of headers in a row are often equal


@lru_cache(maxsize=_BITS_MAX)
def target_from_bits(bits: int) -> int | None:
    """Return the target that compact `bits` encode, or None for an invalid encoding.

    Invalid: negative, zero or over 256 bits (Bitcoin: arith_uint256::SetCompact).
    """
    exponent, mantissa = bits >> 24, bits & 0x7FFFFF
    target = mantissa << 8 * (exponent - 3) if exponent > 3 else mantissa >> 8 * (3 - exponent)
    if not target or bits & 0x800000 or target >> 256:
        return None
    return target


def bits_from_target(target: int) -> int:
    """Return the compact form of a target; keeps its 15 to 23 most significant bits."""
    size = (target.bit_length() + 7) // 8
    mantissa = target << 8 * (3 - size) if size <= 3 else target >> 8 * (size - 3)
    if mantissa & 0x800000:  # the sign bit
        mantissa >>= 8
        size += 1
    return size << 24 | mantissa


@lru_cache(maxsize=_BITS_MAX)
def work_from_bits(bits: int) -> int:
    """Return the expected number of hashes to meet `bits` (Bitcoin: GetBlockProof)."""
    target = target_from_bits(bits)
    return 0 if target is None else (1 << 256) // (target + 1)


_DIFFICULTY_1_MANTISSA: Final = 0xFFFF


_DIFFICULTY_1_EXPONENT: Final = 29


def difficulty(bits: int) -> float:
    """Return the difficulty of `bits`, relative to bits 1d00ffff (Bitcoin: GetDifficulty)."""
    mantissa, exponent = bits & 0xFFFFFF, bits >> 24
    return _DIFFICULTY_1_MANTISSA / mantissa * 256.0 ** (_DIFFICULTY_1_EXPONENT - exponent)
