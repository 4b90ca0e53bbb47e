"""The node's heartbeat: a row that it writes each second.

By it others tell an idle node from a dead one, and know of it what is not in the tables.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

HEARTBEAT_NAME: Final = "heartbeat"  # in the table node_state
INTERVAL_S: Final = 1.0
SILENT_S: Final = 5.0  # without one, the node is dead, stopped, or busy with one very long step


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """What the node says about itself."""

    beat: int = 0  # how many there were since the start
    started_at: int = 0  # unix seconds
    mock_time: int = 0  # unix seconds at which the node's clock stands still; 0: it does not
    is_syncing: bool = False
    peers: int = 0
    inbound: int = 0  # of these
    hashes_per_second: float = 0.0
    mine_threads: int = 0
    kernel: str = ""
    mining_waits_for: str = ""
    gossip_events: Mapping[str, int] = field(default_factory=dict)  # since the start, by kind

    def encode(self) -> bytes:
        """Return the row's value."""
        return json.dumps(asdict(self)).encode()


def decode_heartbeat(value: bytes) -> Heartbeat:
    """Return a heartbeat; one without contents if it is damaged, or of another release."""
    try:
        found = Heartbeat(**json.loads(value))
    except (TypeError, ValueError):
        return Heartbeat()
    shape = [type(getattr(Heartbeat(), name)) for name in Heartbeat.__slots__]
    values = [getattr(found, name) for name in Heartbeat.__slots__]
    is_right = all(isinstance(v, kind) for v, kind in zip(values, shape, strict=True))
    is_counted = is_right and all(isinstance(n, int) for n in found.gossip_events.values())
    return found if is_counted else Heartbeat()
