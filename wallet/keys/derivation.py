"""The root of a tree of keys (BIP32), from a seed; chain.primitives.extended_key has the rest."""

from typing import Final

from btclib_secp256k1 import keys

from chain.primitives.extended_key import ExtendedKey, hmac_sha512
from chain.primitives.key_origin import DerivationError

_SEED_BYTES: Final = range(16, 65)


def root(seed: bytes) -> ExtendedKey:
    """Return the root of the tree of a seed of 16 to 64 bytes (BIP32).

    Raises DerivationError: wrong length, or (once in 2^127) the seed gives no key.
    """
    if len(seed) not in _SEED_BYTES:
        raise DerivationError("a seed has 16 to 64 bytes")
    left, right = hmac_sha512(b"Bitcoin seed", seed)
    if not keys.prvkey_verify(left):
        raise DerivationError("this seed has no key")
    return ExtendedKey(b"\x00" + left, right, 0, bytes(4), 0)
