"""The hash functions of Bitcoin's formats."""

import hashlib

from btclib.hashes import ripemd160  # hashlib's where OpenSSL has it, else pure Python

from chain.primitives.numbers import Hash32

_sha256 = hashlib.sha256


def sha256(data: bytes) -> Hash32:
    """Return SHA-256 of `data`."""
    return Hash32(_sha256(data).digest())


def sha256d(data: bytes) -> Hash32:
    """Return SHA-256 of SHA-256 of `data`: transaction ids, block ids, Merkle nodes."""
    return Hash32(_sha256(_sha256(data).digest()).digest())


def hash160(data: bytes) -> bytes:
    """Return the 20 bytes RIPEMD-160 of SHA-256 of `data`: what P2WPKH commits a key by."""
    digest: bytes = ripemd160(_sha256(data).digest())
    return digest
