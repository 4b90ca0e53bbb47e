"""State of the peer protocol that survives a restart."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SavedState:
    """What `SaveState` stored in the last run; None: nothing was stored."""

    addresses: bytes | None = None
    anchors: bytes | None = None
    discouraged: bytes | None = None
