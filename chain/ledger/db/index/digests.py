"""Digests of the indexes, which reveal rows that were changed, lost or added.

The txids of `transactions` and the rows of `history` are divided into 16,384 buckets each by the
first 14 bits of their keys. A bucket's digest is the sum, modulo a prime, of its txids, or of key *
(1 + a * number + b * slot + c * value) over its rows: it does not depend on the order, rows can be
removed as easily as added, and the database can compute nearly all of it. A reader of a bucket that
computes the same digest has read all of its rows. The digests protect against accidental damage:
any single changed field changes the digest, and a damaged page goes unnoticed once in 2^61 cases;
they do not protect against someone who writes to the file.
"""

import struct
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final

from sqlalchemy import Connection

from chain.ledger.db.engine import read_keys, read_rows, write_rows
from chain.ledger.db.index import row_sums
from chain.ledger.db.index.row_sums import MODULUS
from chain.ledger.errors import DamagedError

DIGEST_ROWS: Final = 256  # rows of the table for each index, by the first byte of the key
LANES: Final = 64  # digests in each row, by the next six bits
_LAYOUT: Final = struct.Struct(f"<{LANES}Q")
_ZEROS: Final = bytes(_LAYOUT.size)
_KEY_BYTES_MIN: Final = 2

_INSERT: Final = "INSERT INTO index_digests (kind, shelf, digests) VALUES (?, ?, ?)"
_UPDATE: Final = "UPDATE index_digests SET digests = ? WHERE kind = ? AND shelf = ?"
_DELETE: Final = "DELETE FROM index_digests WHERE kind = ? AND shelf = ?"


class Kind(IntEnum):
    """The index that a digest belongs to."""

    TRANSACTIONS = 0  # keys are txids
    HISTORY = 1  # keys are script keys


_KINDS: Final = frozenset(Kind)
_SELECT: Final = {
    kind: f"SELECT shelf, digests FROM index_digests WHERE kind = {kind:d} AND shelf IN"  # noqa: S608 - a number
    for kind in Kind
}


def bucket_of(key: bytes) -> int:
    """Return the number of a key's bucket."""
    return key[0] << 6 | key[1] >> 2


def bucket_bounds(bucket: int, size: int) -> tuple[bytes, bytes]:
    """Return the lowest and the highest key of `size` bytes in a bucket."""
    low, rest = bucket << 2, size - 2
    return low.to_bytes(2, "big") + bytes(rest), (low | 3).to_bytes(2, "big") + b"\xff" * rest


def transaction_digest(txid: bytes) -> int:
    """Return what a row of `transactions` adds to its bucket's digest, before reduction.

    The digest only proves the absence of a txid; its number is proved when it is found.
    """
    return int.from_bytes(txid, "big")


class DigestChanges:
    """The changes of digests by rows that are written or deleted."""

    def __init__(self) -> None:
        self._sums: tuple[defaultdict[int, int], ...] = tuple(defaultdict(int) for _ in Kind)

    def add(self, kind: Kind, key: bytes, digest: int) -> None:
        """Add the contribution of rows with one key. Raises DamagedError: the key is too short."""
        if len(key) < _KEY_BYTES_MIN:
            raise DamagedError("an index has a truncated key")
        self._sums[kind][bucket_of(key)] += digest

    def add_transactions(self, txids: Sequence[bytes]) -> None:
        """Add rows of `transactions`."""
        row_sums.add_txids(self._sums[Kind.TRANSACTIONS], txids)

    def add_history(self, flat_lists: Collection[Sequence[Any]]) -> None:
        """Add rows of `history`, given as flat lists: script, number, slot, value, point, ..."""
        row_sums.add_history(self._sums[Kind.HISTORY], flat_lists)

    def write(self, connection: Connection, sign: int = 1) -> None:
        """Add these changes to the table, or with -1 subtract them. Raises DamagedError."""
        for kind, sums in zip(Kind, self._sums, strict=True):
            if sums:
                _write_rows(connection, kind, {key: sign * sums[key] for key in sums})


def _write_rows(connection: Connection, kind: Kind, changes: Mapping[int, int]) -> None:
    """Add to the digests of buckets."""
    numbers = sorted({bucket >> 6 for bucket in changes})
    old = _read_stored(connection, kind, numbers)
    rows = {shelf: list(_LAYOUT.unpack(old.get(shelf, _ZEROS))) for shelf in numbers}
    for bucket, change in changes.items():
        row, lane = rows[bucket >> 6], bucket & LANES - 1
        row[lane] = (row[lane] + change) % MODULUS
    packed = {shelf: _LAYOUT.pack(*row) for shelf, row in rows.items()}
    new = [shelf for shelf in numbers if shelf not in old]
    kept = [shelf for shelf in numbers if shelf in old and any(packed[shelf])]
    zero = old.keys() - kept  # equal to rows that were never written
    write_rows(connection, _INSERT, [(int(kind), shelf, packed[shelf]) for shelf in new])
    write_rows(connection, _UPDATE, [(packed[shelf], int(kind), shelf) for shelf in kept])
    write_rows(connection, _DELETE, [(int(kind), shelf) for shelf in zero])


def read_digest(connection: Connection, kind: Kind, bucket: int) -> int:
    """Return a bucket's digest as written; 0 if the bucket never had a row. Raises DamagedError."""
    digests = _read_stored(connection, kind, [bucket >> 6]).get(bucket >> 6)
    return int(_LAYOUT.unpack(digests)[bucket & LANES - 1]) if digests else 0


def check_digests(connection: Connection) -> None:
    """Check that all digests can be read. Raises DamagedError."""
    query = "SELECT kind, shelf, digests FROM index_digests"
    for kind, shelf, digests in read_rows(connection, query, (), (int, int, bytes)):
        if kind not in _KINDS or not 0 <= shelf < DIGEST_ROWS or len(digests) != _LAYOUT.size:
            raise DamagedError("the digests of the indexes are damaged")


def _read_stored(connection: Connection, kind: Kind, numbers: Sequence[int]) -> dict[int, bytes]:
    """Return those rows that exist. Raises DamagedError."""
    rows = dict(read_keys(connection, _SELECT[kind], numbers, (int, bytes)))
    if any(len(digests) != _LAYOUT.size for digests in rows.values()):
        raise DamagedError("a digest of the indexes is truncated")
    return rows
