"""The hash functions of Bitcoin's formats."""

import hashlib
from typing import Any

from btclib.hashes import ripemd160 as portable_ripemd160  # pure Python, if OpenSSL lacks it

from chain.primitives.numbers import Hash32

_sha256 = hashlib.sha256
try:
    _EMPTY_RIPEMD160: Any = hashlib.new("ripemd160", usedforsecurity=False)
except ValueError:  # OpenSSL 3.0.0 to 3.0.6 do not have it
    _EMPTY_RIPEMD160 = None


def sha256(data: bytes) -> Hash32:
    """Return SHA-256 of `data`."""
    return _sha256(data).digest()  # type: ignore[return-value]  # see sha256d


def sha256d(data: bytes) -> Hash32:
    """Return SHA-256 of SHA-256 of `data`: transaction ids, block ids, Merkle nodes."""
    # Without Hash32(), a call that does nothing: this runs seven times for each payment of a block.
    return _sha256(_sha256(data).digest()).digest()  # type: ignore[return-value]


def hash160(data: bytes) -> bytes:
    """Return RIPEMD-160 (20 bytes) of SHA-256 of `data`: the key hash in P2WPKH."""
    return ripemd160(_sha256(data).digest())


def ripemd160(data: bytes) -> bytes:
    """Return RIPEMD-160 (20 bytes) of `data`."""
    if _EMPTY_RIPEMD160 is None:
        return bytes(portable_ripemd160(data))
    state = _EMPTY_RIPEMD160.copy()  # looking up the algorithm each time costs more than the hash
    state.update(data)
    ripemd: bytes = state.digest()
    return ripemd


def sha1(data: bytes) -> bytes:
    """Return the 20 bytes of SHA-1 of `data`, which one opcode still asks for."""
    return hashlib.sha1(data, usedforsecurity=False).digest()


class TaggedHash:
    """SHA-256 for one purpose: two copies of the tag's hash go first (BIP340)."""

    __slots__ = ("_state",)

    def __init__(self, tag: str) -> None:
        self._state = _sha256(_sha256(tag.encode()).digest() * 2)

    def __call__(self, data: bytes) -> Hash32:
        """Return the hash of `data` under the tag."""
        state = self._state.copy()
        state.update(data)
        return Hash32(state.digest())
