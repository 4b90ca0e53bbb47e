"""The node's saved state: values that belong to a version besides the chain and the pool."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Final

from chain.node.fees import BLOCKS_REMEMBERED
from chain.node.policy import Policy
from chain.primitives.numbers import Hash32

_NUMBER_BYTES: Final = 8  # little-endian


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """Values that readers need, and with which a node continues after a restart."""

    pool_tip: Hash32  # of the pool's rows; an import moves the best chain's tip without them
    best_header: Hash32
    block_feerates: tuple[int, ...]  # newest first
    rolling_rate: int
    rolling_since: int | None
    policy: Policy
    pool_copy: bytes  # checksum of the pool file that was last written on request

    def encode(self) -> dict[str, bytes]:
        """Return the values by name."""
        since = () if self.rolling_since is None else (self.rolling_since,)
        return {
            "pool_tip": self.pool_tip,
            "best_header": self.best_header,
            "block_feerates": _encode_numbers(self.block_feerates),
            "rolling_feerate": _encode_numbers((self.rolling_rate, *since)),
            "policy": _encode_policy(self.policy),
            "pool_copy": self.pool_copy,
        }


@lru_cache(maxsize=1)  # each commit has it
def _encode_policy(policy: Policy) -> bytes:
    return json.dumps(asdict(policy)).encode()


@dataclass(frozen=True, slots=True)
class SavedState:
    """The values that a restart needs; missing or damaged ones are those of a new node."""

    pool_tip: bytes
    block_feerates: tuple[int, ...]
    rolling_rate: int
    rolling_since: int | None
    pool_copy: bytes


def decode_state(values: Mapping[str, bytes]) -> SavedState:
    """Return a saved state from its values by name."""
    rolling = _decode_numbers(values.get("rolling_feerate", b""))
    return SavedState(
        values.get("pool_tip", b""),
        _decode_numbers(values.get("block_feerates", b""))[:BLOCKS_REMEMBERED],
        rolling[0] if rolling else 0,
        rolling[1] if len(rolling) > 1 else None,
        values.get("pool_copy", b""),
    )


def decode_policy(values: Mapping[str, bytes]) -> Policy:
    """Return the policy of the node that wrote these values; the usual one if it is damaged."""
    try:
        return Policy(**json.loads(values.get("policy", b"{}")))
    except (TypeError, ValueError):
        return Policy()


def _encode_numbers(numbers: tuple[int, ...]) -> bytes:
    return b"".join(number.to_bytes(_NUMBER_BYTES, "little") for number in numbers)


def _decode_numbers(data: bytes) -> tuple[int, ...]:
    whole = len(data) - len(data) % _NUMBER_BYTES
    return tuple(
        int.from_bytes(data[at : at + _NUMBER_BYTES], "little")
        for at in range(0, whole, _NUMBER_BYTES)
    )
