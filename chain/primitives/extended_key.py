"""Trees of keys (BIP32): private and public nodes, their children, and their text form."""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any, Final

from btclib import base58
from btclib.exceptions import BTClibValueError

from chain.primitives.hashes import hash160
from chain.primitives.key_origin import HARDENED, DerivationError

keys: Any
try:
    from btclib_secp256k1 import keys
except ImportError:  # no wheel for this platform
    keys = None

_NUMBER_MAX: Final = (1 << 32) - 1
_DEPTH_MAX: Final = 255
_TEXT_BYTES: Final = 78
_VERSIONS: Final = {  # (test network, private): BIP32's four bytes
    (False, False): bytes.fromhex("0488b21e"),
    (False, True): bytes.fromhex("0488ade4"),
    (True, False): bytes.fromhex("043587cf"),
    (True, True): bytes.fromhex("04358394"),
}


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
        left, right = hmac_sha512(self.chain_code, start + number.to_bytes(4, "big"))
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


def decode_node(text: str) -> ExtendedKey:
    """Return the node of a text form.

    Raises DerivationError: not base58 with its checksum, unknown version, not on the curve, or a
    root that claims a parent.
    """
    if keys is None:
        raise DerivationError(
            "deriving keys needs libsecp256k1 (btclib-secp256k1 has no wheel here)"
        )
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


def hmac_sha512(key: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Return the two halves of the HMAC-SHA512 that derives each key (BIP32)."""
    digest = hmac.digest(key, data, hashlib.sha512)
    return digest[:32], digest[32:]
