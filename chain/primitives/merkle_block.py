"""Proof that transactions are in a block: a header and a pruned Merkle tree (BIP37)."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from chain.primitives.block import HEADER_BYTES, Header, decode_header
from chain.primitives.encoding import (
    DecodeError,
    compact_size,
    read_bytes,
    read_compact_size,
    read_sized,
    read_uint,
    with_size,
)
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Hash32

_HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class MerkleBlock:
    """The content of a proof."""

    header: Header
    root: Hash32  # computed from the hashes; a valid proof has the header's
    proven: tuple[Hash32, ...]


def encode_merkle_block(header: Header, txids: Sequence[Hash32], wanted: Set[Hash32]) -> bytes:
    """Return the proof that the `wanted` of a block's transactions are in it (CMerkleBlock)."""
    levels = [[txid in wanted for txid in txids]]
    hashes = [list(txids)]
    while len(hashes[-1]) > 1:
        below, marked = hashes[-1], levels[-1]
        pairs = range(0, len(below), 2)
        hashes.append([sha256d(below[i] + below[min(i + 1, len(below) - 1)]) for i in pairs])
        levels.append([any(marked[i : i + 2]) for i in pairs])
    bits: list[bool] = []
    shown: list[bytes] = []

    def walk(height: int, at: int) -> None:
        bits.append(levels[height][at])
        if height == 0 or not levels[height][at]:
            shown.append(hashes[height][at])
            return
        for child in (2 * at, 2 * at + 1):
            if child < len(hashes[height - 1]):
                walk(height - 1, child)

    walk(len(levels) - 1, 0)
    flags = bytearray((len(bits) + 7) // 8)
    for position, bit in enumerate(bits):
        flags[position // 8] |= bit << position % 8
    count = len(txids).to_bytes(4, "little")
    listed = compact_size(len(shown)) + b"".join(shown)
    return header.encode() + count + listed + with_size(bytes(flags))


def decode_merkle_block(data: bytes, transactions_max: int) -> MerkleBlock:
    """Decode a proof. Raises DecodeError: not a proof, or of an impossible block."""
    raw, at = read_bytes(data, 0, HEADER_BYTES)
    count, at = read_uint(data, at, 4)
    if not 0 < count <= transactions_max:
        raise DecodeError("no block has so many transactions")
    shown, at = read_compact_size(data, at)
    hashes, at = read_bytes(data, at, shown * _HASH_BYTES)
    flags, at = read_sized(data, at)
    if at != len(data):
        raise DecodeError("bytes after the proof")
    reading = _Reading(count, hashes, flags)
    height = (count - 1).bit_length()
    root = reading.walk(height, 0)
    reading.check_end()
    return MerkleBlock(decode_header(raw), root, tuple(reading.proven))


@dataclass(slots=True)
class _Reading:
    """A traversal of a pruned tree, from left to right."""

    count: int  # of leaves
    hashes: bytes
    flags: bytes
    proven: list[Hash32] = field(default_factory=list)
    _bit: int = 0
    _hash: int = 0

    def walk(self, height: int, at: int) -> Hash32:
        """Return the hash of the node at `height` and position `at`."""
        if height == 0 or not self._next_bit():
            is_wanted = height == 0 and self._next_bit()
            found = self._next_hash()
            if is_wanted:
                self.proven.append(found)
            return found
        left = self.walk(height - 1, 2 * at)
        width = (self.count + (1 << height - 1) - 1) >> height - 1
        if 2 * at + 1 >= width:
            return sha256d(left + left)
        right = self.walk(height - 1, 2 * at + 1)
        if left == right:
            raise DecodeError("two equal nodes side by side (CVE-2012-2459)")
        return sha256d(left + right)

    def check_end(self) -> None:
        """Check that nothing is left over."""
        if self._hash * _HASH_BYTES != len(self.hashes) or (self._bit + 7) // 8 != len(self.flags):
            raise DecodeError("more hashes or flags than the tree has")

    def _next_bit(self) -> bool:
        if self._bit >= 8 * len(self.flags):
            raise DecodeError("too few flags")
        self._bit += 1
        return bool(self.flags[(self._bit - 1) // 8] >> (self._bit - 1) % 8 & 1)

    def _next_hash(self) -> Hash32:
        found, _ = read_bytes(self.hashes, self._hash * _HASH_BYTES, _HASH_BYTES)
        self._hash += 1
        return Hash32(found)
