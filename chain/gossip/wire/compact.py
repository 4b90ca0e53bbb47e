"""Compact blocks (BIP152 version 2): a block as a list of short ids, and the missing transactions.

Nothing here keeps state; blocks/compactrelay.py and blocks/compact_download.py do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

from chain.primitives.block import HEADER_BYTES, Header, decode_header
from chain.primitives.encoding import (
    DecodeError,
    check_end,
    compact_size,
    read_bytes,
    read_compact_size,
    read_count,
    read_uint,
)
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Hash32, counted
from chain.primitives.transaction import Transaction, read_transaction

COMPACT_VERSION: Final = 2  # short ids of wtxids, and transactions with their witnesses
BLOCK_TRANSACTIONS_MAX: Final = 16_666  # 4,000,000 weight units, at least 60 bytes of 4 units each
SHORT_ID_BYTES: Final = 6
_ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class SendCompact:
    """Announces support of compact blocks of a version; `announces` requests pushes."""

    type: ClassVar[int] = 20
    name: ClassVar[str] = "sendcmpct"
    bytes_max: ClassVar[int] = 9
    announces: bool
    version: int

    def encode(self) -> bytes:
        return bytes([self.announces]) + self.version.to_bytes(8, "little")

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        announces, at = read_uint(payload, 0, 1)
        version, at = read_uint(payload, at, 8)
        check_end(payload, at)
        if announces > 1:
            raise DecodeError(f"sendcmpct with flag {announces}, not 0 or 1")
        return cls(bool(announces), version)


@dataclass(frozen=True, slots=True)
class CompactBlock:
    """A block's header, the short ids of its transactions, and some whole transactions."""

    type: ClassVar[int] = 4
    name: ClassVar[str] = "cmpctblock"
    bytes_max: ClassVar[int] = 256 * 1024
    header: Header
    nonce: int
    short_ids: tuple[int, ...]  # in block order, without the prefilled ones
    prefilled: tuple[tuple[int, Transaction], ...]  # by position in the block, ascending
    _encoded: list[bytes] = field(default_factory=list, init=False, compare=False, repr=False)

    @property
    def block_id(self) -> Hash32:
        """The block's id."""
        return self.header.id

    @property
    def key(self) -> bytes:
        """The 16 bytes that key the short ids."""
        return sha256(self.header.encode() + self.nonce.to_bytes(8, "little"))[:16]

    def encode(self) -> bytes:
        """Return the payload; encoded once, since many links get the same."""
        if not self._encoded:
            parts = [self.header.encode(), self.nonce.to_bytes(8, "little")]
            parts.append(compact_size(len(self.short_ids)))
            parts += [short.to_bytes(SHORT_ID_BYTES, "little") for short in self.short_ids]
            parts.append(compact_size(len(self.prefilled)))
            positions = [position for position, _ in self.prefilled]
            for gap, (_, transaction) in zip(_gaps(positions), self.prefilled, strict=True):
                parts += (compact_size(gap), transaction.raw)
            self._encoded.append(b"".join(parts))
        return self._encoded[0]

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        head, at = read_bytes(payload, 0, HEADER_BYTES)
        nonce, at = read_uint(payload, at, 8)
        count, at = read_count(payload, at, BLOCK_TRANSACTIONS_MAX)
        packed, at = read_bytes(payload, at, count * SHORT_ID_BYTES)
        short_ids = tuple(
            int.from_bytes(packed[start : start + SHORT_ID_BYTES], "little")
            for start in range(0, len(packed), SHORT_ID_BYTES)
        )
        prefilled_count, at = read_count(payload, at, BLOCK_TRANSACTIONS_MAX - count)
        total = count + prefilled_count
        prefilled = []
        position = -1
        for _ in range(prefilled_count):
            gap, at = read_compact_size(payload, at)
            position += gap + 1
            transaction, at = read_transaction(payload, at)
            if position >= total:
                size = counted(total, "transaction")
                raise DecodeError(f"position {position} in a block of {size}")
            prefilled.append((position, transaction))
        check_end(payload, at)
        if not total:
            raise DecodeError("a compact block without transactions")
        return cls(decode_header(head), nonce, short_ids, tuple(prefilled))


@dataclass(frozen=True, slots=True)
class GetBlockTransactions:
    """Requests the transactions at these positions of a compact block."""

    type: ClassVar[int] = 10
    name: ClassVar[str] = "getblocktxn"
    bytes_max: ClassVar[int] = _ID_BYTES + 3 + 3 * BLOCK_TRANSACTIONS_MAX
    block_id: Hash32
    positions: tuple[int, ...]  # ascending

    def encode(self) -> bytes:
        gaps = b"".join(compact_size(gap) for gap in _gaps(self.positions))
        return self.block_id + compact_size(len(self.positions)) + gaps

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        block_id, at = read_bytes(payload, 0, _ID_BYTES)
        count, at = read_count(payload, at, BLOCK_TRANSACTIONS_MAX)
        positions = []
        position = -1
        for _ in range(count):
            gap, at = read_compact_size(payload, at)
            position += gap + 1
            if position >= BLOCK_TRANSACTIONS_MAX:
                raise DecodeError(f"position {position} in a block")
            positions.append(position)
        check_end(payload, at)
        return cls(Hash32(block_id), tuple(positions))


@dataclass(frozen=True, slots=True)
class BlockTransactions:
    """The requested transactions of a block, in the order of the request."""

    type: ClassVar[int] = 3
    name: ClassVar[str] = "blocktxn"
    bytes_max: ClassVar[int] = 4_000_000
    block_id: Hash32
    transactions: tuple[Transaction, ...]

    def encode(self) -> bytes:
        raws = b"".join(transaction.raw for transaction in self.transactions)
        return self.block_id + compact_size(len(self.transactions)) + raws

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        block_id, at = read_bytes(payload, 0, _ID_BYTES)
        count, at = read_count(payload, at, BLOCK_TRANSACTIONS_MAX)
        transactions = []
        for _ in range(count):
            transaction, at = read_transaction(payload, at)
            transactions.append(transaction)
        check_end(payload, at)
        return cls(Hash32(block_id), tuple(transactions))


def _gaps(positions: Sequence[int]) -> list[int]:
    """Return the number of positions skipped before each one (BIP152)."""
    return [here - before - 1 for before, here in zip((-1, *positions), positions, strict=False)]
