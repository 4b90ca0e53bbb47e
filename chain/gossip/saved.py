"""What a node's peer protocol keeps while it does not run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SavedState:
    """What `Save` kept when the node last ran; None: nothing."""

    addresses: bytes | None = None
    anchors: bytes | None = None
    discouraged: bytes | None = None
