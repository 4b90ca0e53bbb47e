"""The rows by which transactions and scripts are found: made with a block, taken away with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from chain.consensus.coin import Coin
from chain.ledger.engine import insert_rows, table_order, write_rows
from chain.ledger.schema import script_key, transaction_number
from chain.primitives.block import HEADER_BYTES, Block
from chain.primitives.encoding import compact_size
from chain.primitives.script import is_unspendable

_INSERT_TRANSACTION = "INSERT INTO transactions (number, txid, start, size)"
_INSERT_HISTORY = "INSERT INTO history (script, number, slot, value, point)"
_DELETE_TRANSACTION = "DELETE FROM transactions WHERE number = ?"
_DELETE_HISTORY = "DELETE FROM history WHERE script = ? AND number = ? AND slot = ?"

TransactionTuple = tuple[int, bytes, int, int]
HistoryTuple = tuple[bytes, int, int, int, bytes | None]


@dataclass(frozen=True, slots=True)
class IndexRows:
    """Rows of `transactions` and `history`, as their columns are ordered."""

    transactions: list[TransactionTuple]
    history: list[HistoryTuple]

    def insert(self, connection: Connection) -> None:
        """Write the rows."""
        self.transactions.sort()
        self.history.sort(key=lambda row: table_order(row[0]))
        insert_rows(connection, _INSERT_TRANSACTION, self.transactions)
        insert_rows(connection, _INSERT_HISTORY, self.history)

    def delete(self, connection: Connection) -> None:
        """Take the rows away again."""
        numbers = [row[:1] for row in self.transactions]
        write_rows(connection, _DELETE_TRANSACTION, numbers)
        write_rows(connection, _DELETE_HISTORY, [row[:3] for row in self.history])


def index_rows(block: Block, height: int, spent: Sequence[Sequence[Coin]]) -> IndexRows:
    """Return a block's rows; `spent` are the coins that its transactions took."""
    transactions: list[TransactionTuple] = []
    history: list[HistoryTuple] = []
    add = history.append
    start = HEADER_BYTES + len(compact_size(len(block.transactions)))
    number = transaction_number(height, 0)
    for transaction, taken in zip(block.transactions, ((), *spent), strict=True):
        size = len(transaction.raw)
        transactions.append((number, transaction.txid, start, size))
        slot = 0
        for out in transaction.outputs:
            if not is_unspendable(out.script):
                add((script_key(out.script), number, slot, out.value, None))
            slot += 2
        slot = 1
        for txin, coin in zip(transaction.inputs, taken, strict=False):  # a coinbase takes none
            add((script_key(coin.script), number, slot, coin.value, txin.outpoint))
            slot += 2
        start += size
        number += 1
    return IndexRows(transactions, history)
