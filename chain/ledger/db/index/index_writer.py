"""The rows that index transactions and scripts: added with a block, deleted with it."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from operator import sub
from typing import Any, Final, Self

from sqlalchemy import Connection

from chain.consensus.block_run import ConnectedRun
from chain.consensus.coin import Coin
from chain.ledger.db.engine import insert_values, write_rows
from chain.ledger.db.index.digests import DigestChanges
from chain.ledger.db.index.row_buffer import RowBuffer
from chain.ledger.db.records import TRANSACTION_CHECKSUM_BYTES
from chain.ledger.db.schema import SCRIPT_KEY_BYTES, transaction_number
from chain.primitives.block import HEADER_BYTES, Block
from chain.primitives.block_tables import P2wpkhColumns
from chain.primitives.encoding import compact_size
from chain.primitives.script import is_unspendable
from chain.primitives.transaction import Transaction

_INSERT_TRANSACTION: Final = "INSERT INTO transactions (number, txid, start, size, checksum)"
_INSERT_HISTORY: Final = "INSERT INTO history (script, number, slot, value, point)"
_TRANSACTION_COLUMNS: Final = 5
_HISTORY_COLUMNS: Final = 5
_DELETE_TRANSACTION: Final = "DELETE FROM transactions WHERE number = ?"
_DELETE_HISTORY: Final = "DELETE FROM history WHERE script = ? AND number = ? AND slot = ?"


class IndexRows:
    """Rows of `transactions` and `history`, in column order."""

    def __init__(self) -> None:
        self.transactions: list[Any] = []  # the values of row after row
        self.history = RowBuffer(_INSERT_HISTORY, _HISTORY_COLUMNS)
        self._count = 0  # of the rows; it is asked for after each block

    @classmethod
    def of(cls, block: Block, height: int, spent: Sequence[Sequence[Coin]]) -> Self:
        """Return one block's rows: see `add`."""
        rows = cls()
        rows.add(block, height, spent)
        return rows

    def __len__(self) -> int:
        return self._count

    def add(self, block: Block, height: int, spent: Sequence[Sequence[Coin]]) -> None:
        """Add the rows of the block at `height`; `spent` are the coins its transactions spent."""
        columns = block.p2wpkh_columns
        if columns is None:
            self._add(block, block.transactions, height, spent)
        else:
            self._add(block, [block.coinbase], height, ())
            first = transaction_number(height, 1)
            numbers = range(first, first + len(columns.txids))
            self._add_columns(columns, numbers, chain.from_iterable(spent))

    def add_run(self, run: ConnectedRun, first: int) -> None:
        """Add the rows of small blocks from height `first` on."""
        transactions, buckets = self.transactions, self.history.buckets
        numbers: list[int] = []  # of the payments
        bounds = pairwise((0, *run.columns.payment_ends))
        coinbases = zip(run.columns.coinbases, bounds, strict=True)
        for height, (coinbase, (start, end)) in enumerate(coinbases, first):
            number = transaction_number(height, 0)
            size = coinbase.end - coinbase.start
            checksum = coinbase.wtxid[:TRANSACTION_CHECKSUM_BYTES]
            transactions += (number, coinbase.txid, coinbase.start, size, checksum)
            for index, (value, script, script_hash) in enumerate(coinbase.outputs):
                if not is_unspendable(script):
                    key = script_hash[:SCRIPT_KEY_BYTES]
                    buckets[key[0]] += (key, number, 2 * index, value, None)
                    self._count += 1
            numbers += range(number + 1, number + 1 + end - start)
        self._count += len(run.columns.coinbases)
        spent = chain.from_iterable(chain.from_iterable(run.spent))
        self._add_columns(run.columns.payments, numbers, spent)

    def _add(
        self,
        block: Block,
        from_first: Sequence[Transaction],
        height: int,
        spent: Sequence[Sequence[Coin]],
    ) -> None:
        """Add the rows of the first transactions, one after the other."""
        transactions, buckets = self.transactions, self.history.buckets
        sha256 = hashlib.sha256
        start = HEADER_BYTES + len(compact_size(block.transaction_count))
        number = transaction_number(height, 0)
        count = len(from_first)
        for transaction, taken in zip(from_first, ((), *spent), strict=True):
            size = len(transaction.raw)
            checksum = transaction.wtxid[:TRANSACTION_CHECKSUM_BYTES]
            transactions += (number, transaction.txid, start, size, checksum)
            slot = 0
            hashes = transaction.script_hashes
            for out in transaction.outputs:
                script = out.script
                if not is_unspendable(script):
                    script_hash = hashes[slot // 2] if hashes else sha256(script).digest()
                    key = script_hash[:SCRIPT_KEY_BYTES]  # script_key, inlined
                    buckets[key[0]].extend((key, number, slot, out.value, None))
                    count += 1
                slot += 2
            slot = 1
            for txin, coin in zip(transaction.inputs, taken, strict=False):  # none for a coinbase
                key = sha256(coin.script).digest()[:SCRIPT_KEY_BYTES]
                buckets[key[0]].extend((key, number, slot, coin.value, txin.outpoint))
                slot += 2
            count += len(taken)
            start += size
            number += 1
        self._count += count

    def _add_columns(
        self, columns: P2wpkhColumns, numbers: Sequence[int], spent: Iterable[Coin]
    ) -> None:
        """Add the rows of payments with these numbers, in passes over columns."""
        sizes = map(sub, columns.ends, columns.starts)
        checksums = [wtxid[:TRANSACTION_CHECKSUM_BYTES] for wtxid in columns.wtxids]
        rows = zip(numbers, columns.txids, columns.starts, sizes, checksums, strict=True)
        self.transactions += chain.from_iterable(rows)
        buckets, sha256, key_bytes = self.history.buckets, hashlib.sha256, SCRIPT_KEY_BYTES
        count, is_checked = len(numbers) + len(columns.points), not columns.are_all_p2wpkh
        places = _places(numbers, columns.output_ends, 0)
        outputs = zip(columns.scripts, columns.script_hashes, places, columns.values, strict=True)
        for script, script_hash, (number, slot), value in outputs:
            if is_checked and is_unspendable(script):
                continue
            buckets[script_hash[0]] += (script_hash[:key_bytes], number, slot, value, None)
            count += 1
        places = _places(numbers, columns.input_ends, 1)
        for coin, (number, slot), point in zip(spent, places, columns.points, strict=True):
            key = sha256(coin.script).digest()[:key_bytes]
            buckets[key[0]] += (key, number, slot, coin.value, point)
        self._count += count

    def extend(self, following: "IndexRows") -> None:
        """Add the rows of the blocks that follow."""
        self.transactions += following.transactions
        self.history.extend(following.history)
        self._count += following._count

    def insert(self, connection: Connection) -> None:
        """Insert the rows, and update the digests. Raises DamagedError."""
        insert_values(connection, _INSERT_TRANSACTION, [self.transactions])
        self.history.insert(connection)
        self._digests().write(connection)

    def delete(self, connection: Connection) -> None:
        """Delete the rows, and update the digests. Raises DamagedError."""
        numbers = [(number,) for number in self.transactions[::_TRANSACTION_COLUMNS]]
        write_rows(connection, _DELETE_TRANSACTION, numbers)
        write_rows(connection, _DELETE_HISTORY, [row[:3] for row in self.history.rows()])
        self._digests().write(connection, -1)

    def _digests(self) -> DigestChanges:
        changes = DigestChanges()
        changes.add_transactions(self.transactions[1::_TRANSACTION_COLUMNS])
        changes.add_history(self.history.buckets.values())
        return changes


class NoIndexRows(IndexRows):
    """No rows at all: for a ledger that nobody will read from."""

    def add(self, block: Block, height: int, spent: Sequence[Sequence[Coin]]) -> None:
        """Add nothing."""

    def add_run(self, run: ConnectedRun, first: int) -> None:
        """Add nothing."""

    def insert(self, connection: Connection) -> None:
        """Insert nothing."""

    def delete(self, connection: Connection) -> None:
        """Delete nothing."""


def _places(numbers: Sequence[int], ends: Sequence[int], slot: int) -> Iterator[tuple[int, int]]:
    """Yield the number and slot of each output, or with `slot` 1 input, of transactions."""
    start = 0
    for number, end in zip(numbers, ends, strict=True):
        for index in range(end - start):
            yield number, index * 2 + slot
        start = end
