"""The origin of a BIP32 key, as in descriptors and PSBTs."""

from dataclasses import dataclass
from typing import Final

HARDENED: Final = 1 << 31  # children from this number on need the private key


@dataclass(frozen=True, slots=True)
class Origin:
    """A key's origin: the root's fingerprint and the derivation path (BIP380)."""

    fingerprint: bytes  # 4 bytes
    path: tuple[int, ...]  # child numbers, HARDENED included

    def text(self) -> str:
        """Return the origin as text, such as 73c5da0a/84h/1h/0h."""
        return "/".join([self.fingerprint.hex(), *map(child_text, self.path)])

    def path_text(self) -> str:
        """Return the derivation path as text, such as m/84h/1h/0h (Bitcoin: WriteHDKeypath)."""
        return "/".join(["m", *map(child_text, self.path)])


def child_text(number: int) -> str:
    """Return a child number as text; a hardened one ends in h."""
    return f"{number - HARDENED}h" if number >= HARDENED else str(number)
