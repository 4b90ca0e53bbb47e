"""The journal: the changes from one version of the database to the next, and their retention.

The changes in a row are in the order in which they happened. A process that follows the node
applies them or reports them to its clients; if it finds a gap, it reads everything again.
"""

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chain.node.mempool import RemovalReason
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32

VERSIONS_MAX: Final = 10_000
AGE_S_MAX: Final = 3600
BYTES_MAX: Final = 64_000_000
_CONNECTED: Final = 1
_DISCONNECTED: Final = 2
_ADDED: Final = 3
_REMOVED: Final = 4
_REPRICED: Final = 5
_ID_BYTES: Final = 32
_NO_ID: Final = Hash32(bytes(_ID_BYTES))
_BLOCK: Final = struct.Struct("<B32s")
_ADDITION: Final = struct.Struct("<Bq32s32sIqq")
_REMOVAL: Final = struct.Struct("<B32sB32s")
_DELTA: Final = struct.Struct("<B32sq")
_REASONS: Final = {  # the numbers are stored
    RemovalReason.CONFIRMED: 1,
    RemovalReason.CONFLICT: 2,
    RemovalReason.REPLACED: 3,
    RemovalReason.EVICTED: 4,
    RemovalReason.EXPIRED: 5,
    RemovalReason.REORGANISED: 6,
    RemovalReason.FAULTY: 7,
}
_REASON_OF: Final = {number: reason for reason, number in _REASONS.items()}
assert len(_REASON_OF) == len(RemovalReason), "each reason has its number"


@dataclass(frozen=True, slots=True)
class Connected:
    """A block joined the best chain."""

    block_id: Hash32

    def encode(self) -> bytes:
        """Return 33 bytes."""
        return _BLOCK.pack(_CONNECTED, self.block_id)


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A block left the best chain."""

    block_id: Hash32

    def encode(self) -> bytes:
        """Return 33 bytes."""
        return _BLOCK.pack(_DISCONNECTED, self.block_id)


@dataclass(frozen=True, slots=True)
class Added:
    """A transaction joined the pool, in the row with this number."""

    number: int
    txid: Hash32
    wtxid: Hash32
    vsize: int
    fee: int  # grains
    value: int  # of all outputs, grains

    def encode(self) -> bytes:
        """Return 93 bytes."""
        ids = (self.txid, self.wtxid)
        return _ADDITION.pack(_ADDED, self.number, *ids, self.vsize, self.fee, self.value)


@dataclass(frozen=True, slots=True)
class Removed:
    """A transaction left the pool."""

    txid: Hash32
    reason: RemovalReason
    by: Hash32 | None = None  # its replacement, or what conflicts with it in a block

    def encode(self) -> bytes:
        """Return 66 bytes."""
        return _REMOVAL.pack(_REMOVED, self.txid, _REASONS[self.reason], self.by or _NO_ID)


@dataclass(frozen=True, slots=True)
class Repriced:
    """A transaction's fee delta changed; 0: it was removed."""

    txid: Hash32
    grains: int

    def encode(self) -> bytes:
        """Return 41 bytes."""
        return _DELTA.pack(_REPRICED, self.txid, self.grains)


Change = Connected | Disconnected | Added | Removed | Repriced


def _removed(txid: bytes, code: int, by: bytes) -> Removed:
    if code not in _REASON_OF:
        raise DecodeError("a removal for an unknown reason")
    return Removed(Hash32(txid), _REASON_OF[code], None if by == _NO_ID else Hash32(by))


_FORMS: Final[dict[int, tuple[struct.Struct, Callable[..., Change]]]] = {
    _CONNECTED: (_BLOCK, Connected),
    _DISCONNECTED: (_BLOCK, Disconnected),
    _ADDED: (_ADDITION, Added),
    _REMOVED: (_REMOVAL, _removed),
    _REPRICED: (_DELTA, Repriced),
}


def decode_changes(data: bytes) -> list[Change]:
    """Return the changes of one row. Raises DecodeError."""
    changes: list[Change] = []
    at, end = 0, len(data)
    while at < end:
        known = _FORMS.get(data[at])
        if known is None:
            raise DecodeError(f"a change of kind {data[at]}")
        form, make = known
        if at + form.size > end:
            raise DecodeError("the last change is truncated")
        _, *values = form.unpack_from(data, at)
        changes.append(make(*values))
        at += form.size
    return changes


class Retention:
    """The versions in the journal: at most VERSIONS_MAX, BYTES_MAX and AGE_S_MAX."""

    def __init__(self) -> None:
        self._rows: deque[tuple[int, int, int]] = deque()  # sequence, unix time, bytes
        self._bytes = 0

    def add(self, sequence: int, now: int, size: int) -> int | None:
        """Add a version; return the sequence up to which all are to be deleted, or None."""
        self._rows.append((sequence, now, size))
        self._bytes += size
        trimmed = None
        while len(self._rows) > 1 and self._is_too_much(now):
            trimmed, _, freed = self._rows.popleft()
            self._bytes -= freed
        return trimmed

    def _is_too_much(self, now: int) -> bool:
        is_old = self._rows[0][1] < now - AGE_S_MAX
        return is_old or len(self._rows) > VERSIONS_MAX or self._bytes > BYTES_MAX
