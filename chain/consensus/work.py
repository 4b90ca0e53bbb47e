"""Proof of work: whether a header meets its target, and which target the next one must meet."""

from typing import Final

from chain.consensus.params import Params
from chain.primitives.compact import bits_from_target, target_from_bits
from chain.primitives.numbers import Hash32

_RADIX: Final = 1 << 16


def meets_target(block_id: Hash32, bits: int, params: Params) -> bool:
    """Return whether a block id, read as a little-endian number, is within the target of `bits`.

    False for `bits` easier than the network's limit (Bitcoin: CheckProofOfWork).
    """
    target = derive_target(bits, params)
    return target is not None and int.from_bytes(block_id, "little") <= target


def derive_target(bits: int, params: Params) -> int | None:
    """Return the target of `bits`; None if they are no target, or easier than the limit.

    Bitcoin: DeriveTarget.
    """
    target = target_from_bits(bits)
    limit = target_from_bits(params.target_limit_bits)
    assert limit is not None, "a network's limit is a target"
    return None if target is None or target > limit else target


def asert_target(reference: int, drift_s: int, half_life_s: int, limit: int) -> int:
    """Return the target after the chain drifted `drift_s` seconds behind its ideal schedule.

    aserti3-2d: the target doubles for each half-life of drift; the exponent is in 1/65536 and,
    as in the reference, truncated toward zero (Python's // would round down).
    """
    scaled = drift_s * _RADIX
    exponent = scaled // half_life_s if scaled >= 0 else -(-scaled // half_life_s)
    shifts, fraction = exponent >> 16, exponent & (_RADIX - 1)
    factor = _RADIX + (
        195_766_423_245_049 * fraction + 971_821_376 * fraction**2 + 5_127 * fraction**3 + (1 << 47)
        >> 48
    )
    target = reference * factor
    shifts -= 16
    target = target << shifts if shifts >= 0 else target >> -shifts
    return min(max(target, 1), limit)


def next_bits(parent_height: int, parent_time: int, anchor_time: int, params: Params) -> int:
    """Return the bits that the block after `parent_height` must carry.

    `anchor_time` is block 1's time on this branch; the schedule is counted from there, because a
    genesis may be old when a network starts. Blocks 1 and 2 have the easiest target.
    """
    if not params.asert_half_life_s or parent_height < 2:
        return params.target_limit_bits
    limit = target_from_bits(params.target_limit_bits)
    assert limit is not None, "a network's limit is a target"
    drift_s = parent_time - anchor_time - params.spacing_s * (parent_height - 1)
    return bits_from_target(asert_target(limit, drift_s, params.asert_half_life_s, limit))
