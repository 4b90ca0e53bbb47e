"""The node's small state in the database: what belongs to a version beside chain and pool."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from chain.node.fees import BLOCKS_REMEMBERED
from chain.node.policy import Policy
from chain.primitives.numbers import Hash32

_NUMBER: Final = 8  # bytes of one, little-endian


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """Values that readers need, and that a node goes on with after a restart."""

    pool_tip: Hash32  # the pool's rows are valid on top of it; an import moves the tip without them
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
            "policy": json.dumps(asdict(self.policy)).encode(),
            "pool_copy": self.pool_copy,
        }


@dataclass(frozen=True, slots=True)
class SavedState:
    """What a node takes from an earlier one; what is missing or damaged is as in a new node."""

    pool_tip: bytes
    block_feerates: tuple[int, ...]
    rolling_rate: int
    rolling_since: int | None
    pool_copy: bytes


def decode_state(values: Mapping[str, bytes]) -> SavedState:
    """Return the values that a restart needs."""
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
    return b"".join(number.to_bytes(_NUMBER, "little") for number in numbers)


def _decode_numbers(data: bytes) -> tuple[int, ...]:
    whole = len(data) - len(data) % _NUMBER
    return tuple(
        int.from_bytes(data[at : at + _NUMBER], "little") for at in range(0, whole, _NUMBER)
    )
