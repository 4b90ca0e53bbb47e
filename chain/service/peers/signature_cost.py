"""The measured cost of a signature on this machine, for charging peers."""

import time
from typing import Final

from chain.gossip.limits import SIGNATURE_US
from chain.primitives.numbers import SECOND_US
from chain.primitives.signature import verify

SIGNATURE_US_MAX: Final = 100 * SIGNATURE_US
_TRIES: Final = 16  # the fastest counts: the others waited for a processor
_KEY: Final = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
# An invalid signature of full length costs as much as a valid one.
_SIGNATURE: Final = bytes.fromhex(f"30440220{'11' * 32}0220{'22' * 32}")
_DIGEST: Final = b"\x33" * 32


def measured_signature_us() -> int:
    """Return the microseconds per signature on this machine, at least SIGNATURE_US.

    Without libsecp256k1 it is a dozen times as many. A peer may use a share of a processor,
    so it may then send fewer transactions.
    """
    took_us = round(min(_verified_s() for _ in range(_TRIES)) * SECOND_US)
    return min(max(took_us, SIGNATURE_US), SIGNATURE_US_MAX)


def _verified_s() -> float:
    started_s = time.perf_counter()
    verify(_KEY, _SIGNATURE, _DIGEST)
    return time.perf_counter() - started_s
