"""The checksum of output descriptors (BIP380), which describe the scripts of a wallet."""

from typing import Final

_INPUT: Final = (
    "0123456789()[],'/*abcdefgh@:$%{}"
    "IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~"
    'ijklmnopqrstuvwxyzABCDEFGH`#"\\ '
)
_CHECKSUM: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR: Final = (0xF5DEE51989, 0xA9FDCA3312, 0x1BAB10E32D, 0x3706B1677A, 0x644D626FFD)
_CHECKSUM_CHARACTERS: Final = 8


class DescriptorError(ValueError):
    """A descriptor is mistyped."""


def checksum(text: str) -> str:
    """Return the 8 characters of the checksum, which follow # (BIP380).

    Raises DescriptorError: a character that is not allowed in a descriptor.
    """
    values: list[int] = []
    groups: list[int] = []
    for character in text:
        at = _INPUT.find(character)
        if at < 0:
            raise DescriptorError("a descriptor has only the characters of BIP380")
        values.append(at % 32)
        groups.append(at // 32)
        if len(groups) == 3:
            values.append(groups[0] * 9 + groups[1] * 3 + groups[2])
            groups = []
    if groups:
        values.append(groups[0] if len(groups) == 1 else groups[0] * 3 + groups[1])
    state = 1
    for value in values + [0] * _CHECKSUM_CHARACTERS:
        state = _step(state, value)
    state ^= 1
    shifts = range(5 * (_CHECKSUM_CHARACTERS - 1), -1, -5)
    return "".join(_CHECKSUM[state >> shift & 31] for shift in shifts)


def split_checksum(text: str) -> str:
    """Return a descriptor without its checksum. Raises DescriptorError: a wrong checksum.

    The checksum is optional. The caller limits the text: each character takes a microsecond.
    """
    body, mark, given = text.partition("#")
    if mark and given != checksum(body):
        raise DescriptorError("mistyped descriptor: its checksum is wrong")
    return body


def _step(state: int, value: int) -> int:
    top = state >> 35
    state = (state & 0x7FFFFFFFF) << 5 ^ value
    for bit, generator in enumerate(_GENERATOR):
        if top >> bit & 1:
            state ^= generator
    return state
