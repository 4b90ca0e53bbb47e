"""Locations and bytes of the transactions in the best chain, with proof against damage.

The location of a transaction is stored in two trees of the database, which must agree; its bytes
are proved by its txid and a checksum that covers the witnesses. The absence of a txid is proved by
the digest of its bucket (chain/ledger/db/digests.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from chain.ledger.db.archive import read_block
from chain.ledger.db.best_chain_reader import BestChain
from chain.ledger.db.digests import (
    MODULUS,
    Kind,
    bucket_bounds,
    bucket_of,
    read_digest,
    transaction_digest,
)
from chain.ledger.db.engine import read_keys, read_rows
from chain.ledger.db.records import transaction_checksum
from chain.ledger.db.schema import POSITION_BITS, transaction_number
from chain.ledger.errors import DamagedError
from chain.primitives.block import HEADER_BYTES
from chain.primitives.encoding import DecodeError, read_compact_size
from chain.primitives.numbers import Hash32, Height, id_text
from chain.primitives.transaction import Transaction, decode_transaction

_TXID_BYTES: Final = 32
_NUMBERS: Final = "SELECT txid, number FROM transactions WHERE txid IN"
_ROWS: Final = "SELECT number, txid, size FROM transactions WHERE number IN"
_ROWS_TYPES: Final = (int, bytes, int)
_BUCKET: Final = "SELECT txid FROM transactions WHERE txid >= ? AND txid <= ?"
_ONE: Final = (
    "SELECT t.txid, t.start, t.size, coalesce(t.checksum, ?), substr(b.raw, t.start + 1, t.size)"
    " FROM transactions t JOIN blocks b ON b.id = ? WHERE t.number = ?"
)
_ONE_TYPES: Final = (bytes, int, int, bytes, bytes)
_PAGE: Final = (
    "SELECT number, txid, start, size FROM transactions"
    " WHERE number >= ? AND number < ? ORDER BY number"
)
_COUNT_ROWS: Final = "SELECT count(*) FROM transactions WHERE number >= ? AND number < ?"
_COUNT_CHAIN: Final = (
    "SELECT count(tx_count), CAST(coalesce(sum(tx_count), 0) AS BIGINT) FROM chain"
    " WHERE height >= ? AND height <= ?"
)


@dataclass(frozen=True, slots=True)
class TxLocation:
    """The location of a transaction in the best chain."""

    txid: Hash32
    block_id: Hash32
    height: Height
    position: int  # 0 is the coinbase
    size: int = field(compare=False)  # in bytes; a hint, proved only when the transaction is read


class TransactionIndex:
    """The transaction index as of one snapshot. Every method may raise DamagedError."""

    def __init__(self, connection: Connection, chain: BestChain) -> None:
        self._connection = connection
        self._chain = chain

    def find(self, txid: Hash32) -> TxLocation | None:
        """Return the location of a transaction; None if it is in no block of the best chain."""
        rows = read_keys(self._connection, _NUMBERS, [txid], (bytes, int))
        if not rows:
            self._prove_absent(txid)
            return None
        return self.at([rows[0][1]], txid)[0]

    def at(self, numbers: Sequence[int], txid: Hash32 | None = None) -> list[TxLocation]:
        """Return the transactions with these existing numbers; `txid`, if given, must match."""
        found = self._rows(numbers)
        if txid is not None and [row[0] for row in found.values()] != [txid]:
            raise DamagedError(f"the index of transactions is damaged at {id_text(txid)}")
        return [self._located(number, *found[number]) for number in numbers]

    def txids(self, numbers: Sequence[int]) -> dict[int, Hash32]:
        """Return the txids of the transactions with these numbers, which exist."""
        return {number: Hash32(txid) for number, (txid, _) in self._rows(numbers).items()}

    def read(self, located: TxLocation) -> Transaction:
        """Return the transaction at a location returned by `find` or `at`."""
        number = transaction_number(located.height, located.position)
        values = (b"", located.block_id, number)
        for txid, start, size, checksum, raw in read_rows(
            self._connection, _ONE, values, _ONE_TYPES
        ):
            if checksum:
                transaction = _decode(raw, txid)
                is_right = transaction_checksum(transaction.wtxid) == checksum
            else:  # the row is older than checksums; the whole block has one
                block = self._block(located.block_id)
                transaction = _decode(block[start : start + size], txid)
                is_right = True
            if is_right and (txid, len(transaction.raw)) == (located.txid, located.size):
                return transaction
        raise DamagedError(f"transaction {id_text(located.txid)} is damaged")

    def page(self, height: int, start: int, count: int) -> list[Transaction]:
        """Return `count` transactions of a block from position `start`; fewer at its end.

        A single one is read by its offset; for more, the whole block is read and checked.
        """
        first = transaction_number(height, start)
        if count == 1 and start >> POSITION_BITS == 0:
            rows = read_keys(self._connection, _ROWS, [first], _ROWS_TYPES)
            if rows:
                return [self.read(self.at([first])[0])]
        block = self._block(self._chain.require(height))
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

    def _rows(self, numbers: Sequence[int]) -> dict[int, tuple[bytes, int]]:
        """Return (txid, size) of these numbers; two trees confirm the number of each txid."""
        rows = read_keys(self._connection, _ROWS, numbers, _ROWS_TYPES)
        txids = [txid for _, txid, _ in rows]
        numbered = dict(read_keys(self._connection, _NUMBERS, txids, (bytes, int)))
        found = {n: (txid, size) for n, txid, size in rows if numbered.get(txid) == n}
        for number in numbers:
            if number not in found:
                raise DamagedError(f"the index of transactions is damaged at {place(number)}")
        return found

    def _located(self, number: int, txid: bytes, size: int) -> TxLocation:
        height = Height(number >> POSITION_BITS)
        position = number & ((1 << POSITION_BITS) - 1)
        return TxLocation(Hash32(txid), self._chain.require(height), height, position, size)

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
    """Return the location of a transaction as text for a message."""
    return f"height {number >> POSITION_BITS}, position {number & ((1 << POSITION_BITS) - 1)}"


def _decode(raw: bytes, txid: bytes) -> Transaction:
    try:
        transaction = decode_transaction(raw)
    except DecodeError as error:
        raise DamagedError(f"transaction {id_text(Hash32(txid))} is damaged") from error
    if transaction.txid != txid:
        raise DamagedError(f"transaction {id_text(Hash32(txid))} is damaged")
    return transaction


def _transaction_count(block: bytes) -> int:
    try:
        return read_compact_size(block, HEADER_BYTES)[0]
    except DecodeError as error:
        raise DamagedError("a block ends in its header") from error
