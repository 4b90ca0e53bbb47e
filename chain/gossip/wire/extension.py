"""Room for later versions: frames of types that we do not know."""

from dataclasses import dataclass
from typing import ClassVar, Final

EXTENSION_TYPE_MIN: Final = 128  # unknown types below end the link


@dataclass(frozen=True, slots=True)
class Extension:
    """A frame that is skipped; it is a message all the same, so that its sender pays for it."""

    bytes_max: ClassVar[int] = 64 * 1024

    type: int
    size: int  # of the payload, which is not kept

    def encode(self) -> bytes:
        """Return a payload of that size."""
        return bytes(self.size)
