"""Where a key of a tree of keys (BIP32) comes from, as descriptors and PSBTs say it."""

from dataclasses import dataclass
from typing import Final

HARDENED: Final = 1 << 31  # from this number on, a child needs the private key


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a key comes from: the root's fingerprint and the way down from it (BIP380)."""

    fingerprint: bytes  # 4 bytes
    path: tuple[int, ...]  # child numbers, HARDENED included

    def text(self) -> str:
        """Return it as 73c5da0a/84h/1h/0h."""
        return "/".join([self.fingerprint.hex(), *map(child_text, self.path)])

    def path_text(self) -> str:
        """Return the way down alone, as m/84h/1h/0h (Bitcoin: WriteHDKeypath)."""
        return "/".join(["m", *map(child_text, self.path)])


def child_text(number: int) -> str:
    """Return a child number as text, h behind a hardened one."""
    return f"{number - HARDENED}h" if number >= HARDENED else str(number)
