"""How many bytes passed over links since the start."""

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Bytes of frames over all links, those that ended too; HTTP's own bytes are not among them."""

    sent_bytes: int = 0
    received_bytes: int = 0
