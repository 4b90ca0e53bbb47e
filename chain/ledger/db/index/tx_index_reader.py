"""Locations and bytes of the transactions in the best chain, with proof against damage.

The location of a transaction is stored in two trees of the database, which must agree; its bytes
are proved by its txid and a checksum that covers the witnesses. The absence of a txid is proved by
the digest of its bucket (chain/ledger/db/index/digests.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeVar

from sqlalchemy import Connection

from chain.ledger.db.archive import read_block
from chain.ledger.db.best_chain_reader import BestChain
from chain.ledger.db.engine import ROW_NUMBER, has_types, read_keys, read_rows, reading_driver
from chain.ledger.db.index.digests import (
    Kind,
    bucket_bounds,
    bucket_of,
    read_digest,
    transaction_digest,
)
from chain.ledger.db.index.row_sums import MODULUS
from chain.ledger.db.large_values import BlobQuery, ReadPiece, read_values
from chain.ledger.db.records import transaction_checksum
from chain.ledger.db.schema import POSITION_BITS, transaction_number
from chain.ledger.errors import DamagedError
from chain.primitives.block import HEADER_BYTES
from chain.primitives.encoding import DecodeError, read_compact_size
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Hash32, Height, id_text
from chain.primitives.transaction import Transaction, decode_transaction, witness_base

_TXID_BYTES: Final = 32
_NUMBERS: Final = "SELECT txid, number FROM transactions WHERE txid IN"
_ROWS: Final = "SELECT number, txid, size, start, checksum FROM transactions WHERE number IN"
_ROWS_TYPES: Final = (int, bytes, int, int, bytes)
_RAW: Final = BlobQuery("blocks", "raw", "id")
_BUCKET: Final = "SELECT txid FROM transactions WHERE txid >= ? AND txid <= ?"
_PAGE: Final = (
    "SELECT number, txid, start, size FROM transactions"
    " WHERE number >= ? AND number < ? ORDER BY number"
)
_COUNT_ROWS: Final = "SELECT count(*) FROM transactions WHERE number >= ? AND number < ?"
_COUNT_CHAIN: Final = (
    "SELECT count(tx_count), CAST(coalesce(sum(tx_count), 0) AS BIGINT) FROM chain"
    " WHERE height >= ? AND height <= ?"
)

# All that proves places, in one statement for SQLite: two trees have the number of a txid, and two
# the height of a block. Several statements say what is wrong if they differ.
_PLACES: Final = (
    "SELECT t.number, t.txid, t.size, t.start, t.checksum,"  # noqa: S608 - names of ours
    " (SELECT n.number FROM transactions n WHERE n.txid = t.txid),"
    f" c.id, h.height, h.raw, b.{ROW_NUMBER}, u.{ROW_NUMBER}"
    f" FROM transactions t JOIN chain c ON c.height = t.number >> {POSITION_BITS}"
    " JOIN headers h ON h.id = c.id JOIN blocks b ON b.id = c.id JOIN undo u ON u.id = c.id"
    " WHERE t.number IN"
)
_PLACES_TYPES: Final = (int, bytes, int, int, bytes, int, bytes, int, bytes, int, int)
_POSITION_MASK: Final = (1 << POSITION_BITS) - 1

_Row: TypeAlias = Sequence[Any]  # txid, size, start, checksum
_Read = TypeVar("_Read", Transaction, bytes)
BlockRows: TypeAlias = tuple[int, int]  # the numbers of a block's rows in `blocks` and in `undo`


@dataclass(slots=True, unsafe_hash=True)
class TxLocation:
    """The location of a transaction in the best chain.

    The last four are unproved until the transaction is read.
    """

    txid: Final[Hash32]
    block_id: Final[Hash32]
    height: Final[Height]
    time: Final[int]  # in the block's header, unix seconds
    position: Final[int]  # 0 is the coinbase
    size: Final[int] = field(compare=False)  # in bytes
    byte_offset: Final[int] = field(compare=False)  # in the block
    checksum: Final[bytes] = field(compare=False)  # of the wtxid
    rows: Final[BlockRows | None] = field(compare=False, default=None)  # None: not known


Places: TypeAlias = Mapping[Hash32, Sequence[TxLocation]]  # by block, at least one of each


def rows_in(places: Places, table: Literal["blocks", "undo"]) -> dict[Hash32, int] | None:
    """Return the numbers of the rows of blocks in a table, if they are known of all of them."""
    found, column = {}, 0 if table == "blocks" else 1
    for key, there in places.items():
        rows = there[0].rows
        if rows is None:
            return None
        found[key] = rows[column]
    return found


class TransactionIndex:
    """The transaction index as of one snapshot. Every method may raise DamagedError."""

    def __init__(self, connection: Connection, chain: BestChain) -> None:
        self._connection = connection
        self._chain = chain

    def find(self, txid: Hash32) -> TxLocation | None:
        """Return the location of a transaction; None if it is not in the best chain."""
        rows = read_keys(self._connection, _NUMBERS, [txid], (bytes, int))
        if not rows:
            self._prove_absent(txid)
            return None
        [(_, number)] = rows
        places = self._places([number])
        if places is None:  # without reading the number again
            places = dict(zip([number], self._located(self._read_rows([number])), strict=False))
        if number not in places or places[number].txid != txid:
            raise DamagedError(f"the index of transactions is damaged at {id_text(txid)}")
        return places[number]

    def at(self, numbers: Sequence[int]) -> list[TxLocation]:
        """Return the transactions with these existing numbers."""
        places = self._places(numbers)
        if places is None:
            rows = self._rows(numbers)
            return self._located({number: rows[number] for number in numbers})
        return [places[number] for number in numbers]

    def txids(self, numbers: Sequence[int]) -> dict[int, Hash32]:
        """Return the txids of the transactions with these numbers, which exist."""
        return {number: Hash32(row[0]) for number, row in self._rows(numbers).items()}

    def read(self, located: TxLocation) -> Transaction:
        """Return the transaction at a location returned by `find` or `at`."""
        [transaction] = self.read_all({located.block_id: [located]})[located.block_id]
        return transaction

    def read_all(self, places: Places) -> dict[Hash32, list[Transaction]]:
        """Return the transactions at locations, by block; only their bytes are read."""
        return self._read_all(places, _proved)

    def read_bytes(self, places: Places) -> dict[Hash32, list[bytes]]:
        """Return the bytes of the transactions at locations, by block; proved like them."""
        return self._read_all(places, _proved_bytes)

    def _read_all(
        self, places: Places, prove: Callable[[TxLocation, bytes], _Read]
    ) -> dict[Hash32, list[_Read]]:
        def decode(key: Hash32, read: ReadPiece) -> list[_Read]:
            return [prove(at, read(at.byte_offset, at.size)) for at in places[key]]

        rows = rows_in(places, "blocks")
        found = read_values(self._connection, _RAW, list(places), decode, rows)
        for key in places:
            if key not in found:
                raise DamagedError(f"block {id_text(key)} is missing")
        return found

    def page(self, height: int, start: int, count: int) -> list[Transaction]:
        """Return `count` transactions of a block from position `start`; fewer at its end.

        A single one is read by its offset; for more, the whole block is read and checked.
        """
        first = transaction_number(height, start)
        if count == 1 and start >> POSITION_BITS == 0 and self._read_rows([first]):
            return [self.read(self.at([first])[0])]
        block = self._block(self._chain.require([height])[height])
        there = max(min(count, _transaction_count(block) - start), 0)
        wanted = list(range(first, first + there))
        rows = read_rows(self._connection, _PAGE, (first, first + there), (int, bytes, int, int))
        if [row[0] for row in rows] != wanted:
            raise DamagedError(f"the index of transactions is damaged at height {height}")
        return [_decode(block[at : at + size], txid) for _, txid, at, size in rows]

    def count(self, first: int, last: int) -> int:
        """Return how many transactions the blocks at heights `first` to `last` hold."""
        numbers = (transaction_number(first, 0), transaction_number(last + 1, 0))
        [(rows,)] = read_rows(self._connection, _COUNT_ROWS, numbers, (int,))
        [counted] = read_rows(self._connection, _COUNT_CHAIN, (first, last), (int, int))
        if tuple(counted) != (last - first + 1, rows):
            raise DamagedError(f"the index of transactions is damaged below height {last}")
        return int(rows)

    def _places(self, numbers: Sequence[int]) -> dict[int, TxLocation] | None:
        """Return the transactions with these numbers, as far as one statement proves them all."""
        if reading_driver(self._connection) is None:
            return None
        rows = read_keys(self._connection, _PLACES, numbers)
        found, confirms, time_at = {}, self._chain.confirms, self._chain.time_at
        if not has_types(rows, _PLACES_TYPES):
            return None
        for number, txid, size, start, checksum, same, block_id, known, raw, block, undo in rows:
            height, position = number >> POSITION_BITS, number & _POSITION_MASK
            if number != same or not confirms(height, block_id, known, raw):
                return None
            at = (Height(height), time_at(height), position, size, start, checksum, (block, undo))
            found[number] = TxLocation(txid, block_id, *at)
        return found if len(found) == len(set(numbers)) else None

    def _rows(self, numbers: Sequence[int]) -> dict[int, _Row]:
        """Return the rows of these numbers; two trees confirm the number of each txid."""
        found = self._read_rows(numbers)
        txids = [row[0] for row in found.values()]
        numbered = dict(read_keys(self._connection, _NUMBERS, txids, (bytes, int)))
        for number in numbers:
            if number not in found or numbered.get(found[number][0]) != number:
                raise DamagedError(f"the index of transactions is damaged at {place(number)}")
        return found

    def _read_rows(self, numbers: Sequence[int]) -> dict[int, _Row]:
        rows = read_keys(self._connection, _ROWS, numbers, _ROWS_TYPES)
        return {number: row for number, *row in rows}

    def _located(self, rows: Mapping[int, _Row]) -> list[TxLocation]:
        ids = self._chain.require(number >> POSITION_BITS for number in rows)
        found = []
        for number, (txid, *hints) in rows.items():
            height, position = number >> POSITION_BITS, number & _POSITION_MASK
            time = self._chain.time_at(height)
            at = TxLocation(Hash32(txid), ids[height], Height(height), time, position, *hints)
            found.append(at)
        return found

    def _prove_absent(self, txid: Hash32) -> None:
        bucket = bucket_of(txid)
        bounds = bucket_bounds(bucket, _TXID_BYTES)
        txids = [row[0] for row in read_rows(self._connection, _BUCKET, bounds, (bytes,))]
        digest = sum(map(transaction_digest, txids)) % MODULUS
        is_whole = digest == read_digest(self._connection, Kind.TRANSACTIONS, bucket)
        if not is_whole or txid in txids:
            raise DamagedError(f"the index of transactions is damaged near {id_text(txid)}")

    def _block(self, block_id: Hash32) -> bytes:
        raw = read_block(self._connection, block_id)
        if raw is None:
            raise DamagedError(f"block {id_text(block_id)} is missing")
        return raw


def place(number: int) -> str:
    """Return the place of a transaction as text for a message."""
    return f"height {number >> POSITION_BITS}, position {number & _POSITION_MASK}"


def _proved(located: TxLocation, raw: bytes) -> Transaction:
    """Return the transaction that `raw` is, if it is the one at this location."""
    transaction = _decode(raw, located.txid)
    checksum = transaction_checksum(transaction.wtxid)
    if (len(raw), checksum) != (located.size, located.checksum):
        raise _damaged(located.txid)
    return transaction


def _proved_bytes(located: TxLocation, raw: bytes) -> bytes:
    """Do as `_proved`, without making a transaction if it looks like most."""
    base = witness_base(raw)
    if base is None or sha256d(base) != located.txid:
        return _proved(located, raw).raw
    if (len(raw), transaction_checksum(sha256d(raw))) != (located.size, located.checksum):
        raise _damaged(located.txid)
    return raw


def _decode(raw: bytes, txid: bytes) -> Transaction:
    try:
        transaction = decode_transaction(raw)
    except DecodeError as error:
        raise _damaged(txid) from error
    if transaction.txid != txid:
        raise _damaged(txid)
    return transaction


def _damaged(txid: bytes) -> DamagedError:
    return DamagedError(f"transaction {id_text(Hash32(txid))} is damaged")


def _transaction_count(block: bytes) -> int:
    try:
        return read_compact_size(block, HEADER_BYTES)[0]
    except DecodeError as error:
        raise DamagedError("a block is truncated in its header") from error
