"""How many bytes passed over links since the start, and over each link by what they carried."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

_TYPE_AT: Final = 4  # of a frame's bytes, behind its length
_NS_PER_US: Final = 1000


@dataclass(slots=True)
class Tally:
    """Bytes of frames over all links, those that ended too; HTTP's own bytes are not among them."""

    sent_bytes: int = 0
    received_bytes: int = 0


@dataclass(slots=True)
class LinkTally:
    """Bytes of frames over one link, by the frames' type."""

    sent: Counter[int] = field(default_factory=Counter)
    received: Counter[int] = field(default_factory=Counter)
    last_sent_us: int = -1  # monotonic; -1: never

    def wrote(self, frames: Iterable[bytes]) -> int:
        """Count frames that were written now; return their bytes."""
        size = 0
        for frame in frames:
            self.sent[frame[_TYPE_AT]] += len(frame)
            size += len(frame)
        self.last_sent_us = time.monotonic_ns() // _NS_PER_US
        return size
