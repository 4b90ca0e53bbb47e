"""Frames of unknown types, reserved for later versions."""

from dataclasses import dataclass
from typing import ClassVar, Final

EXTENSION_TYPE_MIN: Final = 128  # lower unknown types end the link


@dataclass(frozen=True, slots=True)
class Extension:
    """A skipped frame; it is routed like a message so that its sender is charged for it."""

    bytes_max: ClassVar[int] = 64 * 1024

    type: int
    size: int  # of the payload, which is not kept

    def encode(self) -> bytes:
        """Return a payload of zeros of that size."""
        return bytes(self.size)
