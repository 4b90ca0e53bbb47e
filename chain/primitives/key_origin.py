"""The origin of a BIP32 key, as in descriptors and PSBTs."""

import re
from dataclasses import dataclass
from typing import Final

HARDENED: Final = 1 << 31  # children from this number on need the private key
_HARDENED_MARKS: Final = "hH'"
_ORIGIN: Final = re.compile(r"[0-9a-fA-F]{8}(?:/\d{1,10}[hH']?){0,255}", re.ASCII)


class DerivationError(ValueError):
    """There is no such key, or the text is not a key."""


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


def parse_origin(text: str) -> Origin:
    """Return the origin of a text; h, H and ' all mean hardened. Raises DerivationError."""
    if _ORIGIN.fullmatch(text) is None:
        raise DerivationError("not the origin of a key")
    fingerprint, *steps = text.split("/")
    return Origin(bytes.fromhex(fingerprint), tuple(map(child_number, steps)))


def child_number(step: str) -> int:
    """Return the number of a step of a path, digits and perhaps a mark. Raises DerivationError."""
    number = int(step.rstrip(_HARDENED_MARKS))
    if number >= HARDENED:
        raise DerivationError(f"no child has number {number}")
    return number + (HARDENED if step[-1] in _HARDENED_MARKS else 0)


def child_text(number: int) -> str:
    """Return a child number as text; a hardened one ends in h."""
    return f"{number - HARDENED}h" if number >= HARDENED else str(number)
