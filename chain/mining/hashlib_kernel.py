"""The portable kernel: one nonce at a time through hashlib."""

import hashlib
from typing import Final

_MIDSTATE_BYTES: Final = 64  # the header's first SHA-256 block, which no nonce changes
_NONCE_AT: Final = 76


class HashlibKernel:
    """Searches with the standard library; about 1 MH/s, and it holds the GIL."""

    name: Final = "hashlib"
    lanes: Final = 1

    def search(self, header: bytes, target: int, start: int, count: int) -> int | None:
        sha256 = hashlib.sha256
        midstate = sha256(header[:_MIDSTATE_BYTES])
        tail = header[_MIDSTATE_BYTES:_NONCE_AT]
        for nonce in range(start, start + count):
            state = midstate.copy()
            state.update(tail + nonce.to_bytes(4, "little"))
            if int.from_bytes(sha256(state.digest()).digest(), "little") <= target:
                return nonce
        return None
