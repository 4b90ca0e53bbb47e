"""Trees of keys (BIP32): private and public nodes, their children, and their text form."""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final

from btclib import base58
from btclib.exceptions import BTClibValueError
from btclib_secp256k1 import keys

from chain.primitives.hashes import hash160
from chain.primitives.key_origin import HARDENED, Origin

_NUMBER_MAX: Final = (1 << 32) - 1
_DEPTH_MAX: Final = 255
_HARDENED_MARKS: Final = "hH'"
_ORIGIN: Final = re.compile(r"[0-9a-fA-F]{8}(?:/\d{1,10}[hH']?){0,255}", re.ASCII)
_SEED_BYTES: Final = range(16, 65)
_TEXT_BYTES: Final = 78
_VERSIONS: Final = {  # (test network, private): BIP32's four bytes
    (False, False): bytes.fromhex("0488b21e"),
    (False, True): bytes.fromhex("0488ade4"),
    (True, False): bytes.fromhex("043587cf"),
    (True, True): bytes.fromhex("04358394"),
}


class DerivationError(ValueError):
    """There is no such key, or the text is not a key."""


@dataclass(frozen=True, slots=True)
class ExtendedKey:
    """One key of a tree, private or public."""

    key: bytes = field(repr=False)  # 33 bytes: compressed public key, or 00 and the private key
    chain_code: bytes = field(repr=False)
    depth: int
    parent: bytes  # the first 4 bytes of the parent key's HASH160
    number: int  # its child number, HARDENED included

    @property
    def is_private(self) -> bool:
        """Whether this node can sign and derive hardened children."""
        return self.key[0] == 0

    @property
    def private_key(self) -> bytes:
        """The 32 bytes that sign. Raises DerivationError: a public node has none."""
        if not self.is_private:
            raise DerivationError("a public key cannot sign")
        return self.key[1:]

    @property
    def public_key(self) -> bytes:
        """The 33 bytes of the compressed public key."""
        return keys.pubkey_from_prvkey(self.key[1:]) if self.is_private else self.key

    @property
    def fingerprint(self) -> bytes:
        """The 4 bytes by which its children refer to it."""
        return hash160(self.public_key)[:4]

    def child(self, number: int) -> "ExtendedKey":
        """Return a child (BIP32: CKDpriv, CKDpub).

        Raises DerivationError: number out of range, hardened from a public node, too deep, or (once
        in 2^127 numbers) no key has this number.
        """
        if not 0 <= number <= _NUMBER_MAX or self.depth == _DEPTH_MAX:
            raise DerivationError(f"no child number {number} at depth {self.depth}")
        start = self.public_key if number < HARDENED else b"\x00" + self.private_key
        left, right = _hmac_sha512(self.chain_code, start + number.to_bytes(4, "big"))
        try:
            if self.is_private:
                key = b"\x00" + keys.prvkey_tweak_add(self.private_key, left)
            else:
                key = keys.pubkey_tweak_add(self.key, left)
        except ValueError:
            raise DerivationError(f"child number {number} has no key") from None
        return ExtendedKey(key, right, self.depth + 1, self.fingerprint, number)

    def descend(self, *numbers: int) -> "ExtendedKey":
        """Return the descendant at these child numbers, one per generation."""
        node = self
        for number in numbers:
            node = node.child(number)
        return node

    def public(self) -> "ExtendedKey":
        """Return the node without its private key (BIP32: N)."""
        return ExtendedKey(self.public_key, self.chain_code, self.depth, self.parent, self.number)

    def encode(self, *, test: bool) -> str:
        """Return the text form (xpub and xprv; tpub and tprv on test networks)."""
        version = _VERSIONS[test, self.is_private]
        place = bytes([self.depth]) + self.parent + self.number.to_bytes(4, "big")
        return base58.encode(version + place + self.chain_code + self.key).decode("ascii")


def parse_origin(text: str) -> Origin:
    """Return the origin of a text; h, H and ' all mean hardened. Raises DerivationError."""
    if _ORIGIN.fullmatch(text) is None:
        raise DerivationError("not the origin of a key")
    fingerprint, *steps = text.split("/")
    path = []
    for step in steps:
        number = int(step.rstrip(_HARDENED_MARKS))
        if number >= HARDENED:
            raise DerivationError(f"no child has number {number}")
        path.append(number + (HARDENED if step[-1] in _HARDENED_MARKS else 0))
    return Origin(bytes.fromhex(fingerprint), tuple(path))


def root(seed: bytes) -> ExtendedKey:
    """Return the root of the tree of a seed of 16 to 64 bytes (BIP32).

    Raises DerivationError: wrong length, or (once in 2^127) the seed gives no key.
    """
    if len(seed) not in _SEED_BYTES:
        raise DerivationError("a seed has 16 to 64 bytes")
    left, right = _hmac_sha512(b"Bitcoin seed", seed)
    if not keys.prvkey_verify(left):
        raise DerivationError("this seed has no key")
    return ExtendedKey(b"\x00" + left, right, 0, bytes(4), 0)


def decode_node(text: str) -> ExtendedKey:
    """Return the node of a text form.

    Raises DerivationError: not base58 with its checksum, unknown version, not on the curve, or a
    root that claims a parent.
    """
    try:
        raw = base58.decode(text, _TEXT_BYTES)
    except BTClibValueError as error:
        raise DerivationError("not an extended key: not base58 with a correct checksum") from error
    version, depth, parent, number = raw[:4], raw[4], raw[5:9], int.from_bytes(raw[9:13], "big")
    key = raw[45:]
    is_key = keys.prvkey_verify(key[1:]) if key[0] == 0 else keys.pubkey_verify(key)
    if version not in {_VERSIONS[test, key[0] == 0] for test in (False, True)} or not is_key:
        raise DerivationError("not an extended key: version and key do not fit together")
    if depth == 0 and (any(parent) or number):
        raise DerivationError("not an extended key: a root has no parent")
    return ExtendedKey(key, raw[13:45], depth, parent, number)


def _hmac_sha512(key: bytes, data: bytes) -> tuple[bytes, bytes]:
    digest = hmac.digest(key, data, hashlib.sha512)
    return digest[:32], digest[32:]
