"""Keys whose coins are locked to other bytes than the compressed public key."""

from dataclasses import dataclass

from ecdsa import SECP256k1, SigningKey

from chain.primitives.script import p2wpkh_script
from tests.builders import Key


@dataclass(frozen=True)
class ShownKey(Key):
    """A key that shows `shown` as its public key, whatever these bytes are."""

    shown: bytes = b""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "public", self.shown)
        object.__setattr__(self, "script", p2wpkh_script(self.key_hash))


def point(number: int) -> bytes:
    """Return X and Y of the public key of Key(number), 64 bytes."""
    own = SigningKey.from_string(Key(number).private, SECP256k1)
    coordinates: bytes = own.verifying_key.to_string("raw")
    return coordinates


def uncompressed(number: int) -> ShownKey:
    return ShownKey(number, b"\x04" + point(number))


def hybrid(number: int, *, wrong_parity: bool = False) -> ShownKey:
    odd = point(number)[-1] & 1
    return ShownKey(number, bytes([6 + (odd ^ wrong_parity)]) + point(number))


def malformed(number: int, form: str) -> ShownKey:
    """Return a key shown in a form that is no public key to Bitcoin."""
    compressed, xy = Key(number).public, point(number)
    forms = {
        "empty": b"",
        "one byte": b"\x02",
        "32 bytes": compressed[:-1],
        "34 bytes": compressed + b"\x00",
        "64 bytes": xy,
        "uncompressed cut": b"\x04" + xy[:-1],
        "uncompressed long": b"\x04" + xy + b"\x00",
        "uncompressed as compressed": b"\x04" + xy[:32],
        "compressed as uncompressed": b"\x02" + xy,
        "first byte 0": b"\x00" + compressed[1:],
        "first byte 5": b"\x05" + compressed[1:],
        "not on the curve": b"\x04" + xy[:32] + bytes(31) + b"\x05",
        "x not on the curve": b"\x02" + bytes(31) + b"\x05",
        "x over the field": b"\x02" + b"\xff" * 32,
        "x zero": b"\x02" + bytes(32),
        "infinity": b"\x04" + bytes(64),
        "520 bytes": b"\x02" * 520,
    }
    return ShownKey(number, forms[form])


MALFORMED_FORMS = [
    "empty",
    "one byte",
    "32 bytes",
    "34 bytes",
    "64 bytes",
    "uncompressed cut",
    "uncompressed long",
    "uncompressed as compressed",
    "compressed as uncompressed",
    "first byte 0",
    "first byte 5",
    "not on the curve",
    "x not on the curve",
    "x over the field",
    "x zero",
    "infinity",
    "520 bytes",
]
