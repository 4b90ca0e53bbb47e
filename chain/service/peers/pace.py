"""How fast this machine is, beside what the gossip core's table of costs assumes."""

import time
from typing import Final

from chain.gossip.limits import SIGNATURE_US
from chain.primitives.signature import verify

COST_FACTOR_MAX: Final = 100.0
_TRIES: Final = 16  # of which the fastest counts: the others waited for a processor
_KEY: Final = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
# Nobody's signature, but of full length, so that as much is worked out as for a right one.
_SIGNATURE: Final = bytes.fromhex(f"30440220{'11' * 32}0220{'22' * 32}")
_DIGEST: Final = b"\x33" * 32


def measured_cost_factor() -> float:
    """Return how many times as long as the table says a signature takes here; at least 1.

    Where libsecp256k1 is missing it is dozens of times. A peer may take a share of a processor,
    so it may then send the fewer transactions.
    """
    took_s = min(_verified_s() for _ in range(_TRIES))
    return min(max(took_s * 1e6 / SIGNATURE_US, 1.0), COST_FACTOR_MAX)


def _verified_s() -> float:
    started_s = time.perf_counter()
    verify(_KEY, _SIGNATURE, _DIGEST)
    return time.perf_counter() - started_s
