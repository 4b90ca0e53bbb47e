"""ECDSA and Schnorr (BIP340) on secp256k1: verifying as Bitcoin's consensus does, and signing.

libsecp256k1 does all of it. Where it is missing, the portable packages `ecdsa` and `ecc` verify
with the same verdicts (fifty times slower); they never sign, since their timing leaks the key.
"""

import warnings
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

from ecdsa import SECP256k1, VerifyingKey
from ecdsa.ecdsa import Signature
from ecdsa.errors import MalformedPointError

dsa: Any
keys: Any
ssa: Any
xonly: Any
try:
    from btclib_secp256k1 import dsa, keys, ssa, xonly
except ImportError:  # no wheel for this platform
    dsa = keys = ssa = xonly = None
    warnings.warn("libsecp256k1 is missing: signatures are checked slowly in Python", stacklevel=2)

ORDER: Final[int] = int(SECP256k1.order)
_KEY_BYTES: Final = {2: 33, 3: 33, 4: 65, 6: 65, 7: 65}  # by first byte (Bitcoin: CPubKey::GetLen)


def verify(key: bytes, signature: bytes, digest: bytes) -> bool:
    """Return whether `signature` (DER, without hash type) of the 32-byte `digest` is by `key`.

    The verdict is Bitcoin's consensus: strict DER (BIP66), high S allowed, keys compressed,
    uncompressed or hybrid. Malformed bytes are False, never an error.
    """
    if not is_strict_der(signature) or not has_key_size(key):
        return False
    if dsa is None:
        return _verify_in_python(key, signature, digest)
    return _verify_with_library(key, signature, digest)


def verify_schnorr(key: bytes, signature: bytes, digest: bytes) -> bool:
    """Return whether `signature` (64 bytes) of the 32-byte `digest` is by the x-only `key`.

    BIP340. 32 bytes that are no point's x verify nothing.
    """
    if ssa is None:
        return _verify_schnorr_in_python(key, signature, digest)
    try:
        return bool(ssa.verify(digest, key, signature))
    except ValueError:  # the key is no point of the curve
        return False


def is_tweaked_key(tweaked: bytes, parity: int, key: bytes, tweak: bytes) -> bool:
    """Return whether the x-only `key` plus `tweak` times G is `tweaked`, its y of `parity`.

    BIP341. All but the parity are 32 bytes. False also where `key` is no point's x, or `tweak` is
    not below the group's order.
    """
    if xonly is None:
        return _is_tweaked_key_in_python(tweaked, parity, key, tweak)
    try:
        return bool(xonly.tweak_add_check(tweaked, parity, key, tweak))
    except ValueError:
        return False


def has_key_size(key: bytes) -> bool:
    """Return whether the first byte is a public key's and agrees with the size.

    Bitcoin: CPubKey::IsValid, hybrid keys included; the point is not looked at.
    """
    return _KEY_BYTES.get(key[0] if key else 0) == len(key)


def is_strict_der(signature: bytes) -> bool:
    """Return whether bytes are a DER signature (BIP66, without the hash type's byte)."""
    size = len(signature)
    if not 8 <= size <= 72 or signature[0] != 0x30 or signature[1] != size - 2:
        return False
    r_size = signature[3]
    s_tag = r_size + 4
    if s_tag + 1 >= size:
        return False
    s_size = signature[s_tag + 1]
    if r_size + s_size + 6 != size:
        return False
    return _is_der_number(signature, 2, r_size) and _is_der_number(signature, s_tag, s_size)


def is_low_s(signature: bytes) -> bool:
    """Return whether the S of a strict DER signature is in the lower half (BIP62, policy only).

    So is that of one with a number beyond the order, which Bitcoin reads as zeros: it is refused
    for being wrong, not for its form (Bitcoin: CPubKey::CheckLowS).
    """
    r, s = _der_numbers(signature)
    return s <= ORDER // 2 or s >= ORDER or r >= ORDER


def sign(private_key: bytes, digest: bytes) -> bytes:
    """Return the DER signature (RFC 6979 nonce, low S, low R, verified) of a 32-byte `digest`.

    Raises RuntimeError: libsecp256k1 is missing; ValueError: no valid private key.
    """
    if dsa is None:
        raise RuntimeError("signing needs libsecp256k1 (btclib-secp256k1 has no wheel here)")
    signature: bytes = dsa.sign(digest, private_key, grind=True)  # it verifies its own signature
    return signature


def public_key(private_key: bytes) -> bytes:
    """Return the 33 bytes of the compressed public key. Raises as `sign` does."""
    if keys is None:
        raise RuntimeError("deriving keys needs libsecp256k1 (btclib-secp256k1 has no wheel here)")
    key: bytes = keys.pubkey_from_prvkey(private_key)
    return key


def is_public_key(key: bytes) -> bool:
    """Return whether bytes are a public key, compressed or uncompressed, on the curve.

    Hybrid keys, which only consensus accepts, do not count.
    """
    if len(key) != {2: 33, 3: 33, 4: 65}.get(key[0] if key else 0):
        return False
    if keys is not None:
        return bool(keys.pubkey_verify(key))
    return _point(key, ("compressed", "uncompressed")) is not None


def _verify_with_library(key: bytes, signature: bytes, digest: bytes) -> bool:
    try:
        return bool(dsa.verify(digest, key, signature, normalize=True))
    except ValueError:  # the key is not on the curve
        return False


def _verify_in_python(key: bytes, signature: bytes, digest: bytes) -> bool:
    r, s = _der_numbers(signature)
    if not (0 < r < ORDER and 0 < s < ORDER):
        return False
    point = _point(key, ("compressed", "uncompressed", "hybrid"))
    if point is None:
        return False
    try:
        return bool(point.verifies(int.from_bytes(digest, "big"), Signature(r, s)))
    except TypeError:  # ecdsa 0.19 fails if the sum is the point at infinity: not a signature
        return False


def _verify_schnorr_in_python(key: bytes, signature: bytes, digest: bytes) -> bool:
    try:
        return bool(_portable_schnorr().verify_(digest, key, signature))
    except ValueError:
        return False


def _is_tweaked_key_in_python(tweaked: bytes, parity: int, key: bytes, tweak: bytes) -> bool:
    try:
        x, y_parity = _portable_schnorr().pub_key_tweak_add_var(key, tweak)
    except ValueError:
        return False
    return bool(x == int.from_bytes(tweaked, "big") and y_parity == parity)


@lru_cache(maxsize=1)
def _portable_schnorr() -> Any:  # noqa: ANN401 - what is imported by name has no type
    """Return the portable module, imported when first needed: that takes a quarter of a second."""
    return import_module("ecc.ecc.ssa")


def _point(key: bytes, encodings: tuple[str, ...]) -> Any | None:  # noqa: ANN401 - ecdsa has no types
    """Return the curve point of a key, by the portable library; None: not on the curve."""
    try:
        return VerifyingKey.from_string(key, SECP256k1, valid_encodings=encodings).pubkey
    except MalformedPointError:
        return None


def _is_der_number(data: bytes, at: int, size: int) -> bool:
    """Return whether tag, `size` and value at `at` are a positive integer without padding."""
    if data[at] != 2 or size == 0 or data[at + 2] & 0x80:
        return False
    return not (size > 1 and data[at + 2] == 0 and not data[at + 3] & 0x80)


def _der_numbers(signature: bytes) -> tuple[int, int]:
    s_at = 4 + signature[3]
    return (
        int.from_bytes(signature[4:s_at], "big"),
        int.from_bytes(signature[s_at + 2 :], "big"),
    )
