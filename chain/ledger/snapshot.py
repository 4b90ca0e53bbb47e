"""What a reader can ask about the best chain and its coins, all as of one commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from chain.consensus.coin import Coin
from chain.ledger.archive import Spent, read_block, read_undo
from chain.ledger.coins import coin_of_row
from chain.ledger.engine import LOOKUP_KEYS_MAX, read_keys, read_rows
from chain.ledger.errors import DamagedError
from chain.ledger.meta import read_tip
from chain.ledger.records import decode_spent_slice
from chain.ledger.schema import POSITION_BITS, SCRIPT_KEY_BYTES, script_key, transaction_number
from chain.primitives.block import decode_block
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import (
    Amount,
    Hash32,
    Height,
    OutPoint,
    id_text,
    outpoint,
    outpoint_index,
    outpoint_txid,
)
from chain.primitives.transaction import Transaction, decode_transaction

_COIN: Final = "SELECT point, value, script, height, from_coinbase FROM coins WHERE point IN"
_TRANSACTION: Final = (
    "SELECT t.txid, substr(b.raw, t.start + 1, t.size) FROM transactions t"
    " JOIN chain c ON c.height = ? JOIN blocks b ON b.id = c.id"
    " WHERE t.number >= ? AND t.number < ? ORDER BY t.number"
)
_HISTORY: Final = (
    "SELECT DISTINCT h.number, t.txid, c.id, t.size FROM history h"
    " JOIN transactions t ON t.number = h.number"
    " JOIN chain c ON c.height = (h.number >> ?)"
    " WHERE h.script = ? AND h.number < ? ORDER BY h.number DESC LIMIT ?"
)
_STATS: Final = (
    "SELECT slot & 1, count(*), sum(value) FROM history WHERE script = ? GROUP BY slot & 1"
)
_FUNDING: Final = (
    "SELECT h.number, h.slot, t.txid FROM history h JOIN transactions t ON t.number = h.number"
    " WHERE h.script = ? AND (h.number > ? OR (h.number = ? AND h.slot > ?))"
    " AND h.slot & 1 = 0 ORDER BY h.number, h.slot LIMIT ?"
)
_SPEND: Final = (
    "SELECT number, slot FROM history"
    " WHERE script = ? AND number >= ? AND slot & 1 = 1 AND point = ? LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class Located:
    """Where in the best chain a transaction is."""

    txid: Hash32
    block_id: Hash32
    height: Height
    position: int  # 0 is the coinbase
    size: int  # bytes, witnesses included


@dataclass(frozen=True, slots=True)
class Spender:
    """The input in the best chain that took a coin."""

    txid: Hash32
    vin: int
    height: Height
    block_id: Hash32


@dataclass(frozen=True, slots=True)
class ScriptStats:
    """Sums over the history of one script."""

    tx_count: int
    funded_txo_count: int
    funded_txo_sum: Amount
    spent_txo_count: int
    spent_txo_sum: Amount


@dataclass(frozen=True, slots=True)
class CoinTotals:
    """Sums over all unspent coins."""

    count: int
    value: Amount
    script_bytes: int


class Snapshot:
    """The ledger as of one commit; use it on one thread and only inside its `with`.

    Every method may raise DamagedError. Genesis is a block of the chain, but its coinbase was never
    connected: it has no coins, no history, and is not found by id.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.tip_id: Hash32 = read_tip(connection)  # the first read: from here nothing changes
        height = self.height_of(self.tip_id)
        if height is None:
            raise DamagedError("the tip is not in the best chain")
        self.tip_height: Height = height

    def block_id(self, height: int) -> Hash32 | None:
        """Return the id of the best chain's block at `height`, or None above the tip."""
        rows = read_rows(self._connection, "SELECT id FROM chain WHERE height = ?", (height,))
        return Hash32(rows[0][0]) if rows else None

    def height_of(self, block_id: Hash32) -> Height | None:
        """Return the height of a block of the best chain; None for any other."""
        rows = read_rows(self._connection, "SELECT height FROM chain WHERE id = ?", (block_id,))
        return Height(rows[0][0]) if rows else None

    def block(self, block_id: Hash32) -> bytes | None:
        """Return any stored raw block, in the best chain or not."""
        return read_block(self._connection, block_id)

    def spent_coins(self, block_id: Hash32) -> Spent:
        """Return the coins that each transaction but the coinbase spent, in input order.

        Empty for genesis and for blocks outside the best chain: what they spend is not kept.
        """
        return self.undo(block_id) or ()

    def undo(self, block_id: Hash32) -> Spent | None:
        """Return the coins that a block of the best chain spent, or None if that is not kept."""
        return read_undo(self._connection, block_id)

    def find(self, txid: Hash32) -> Located | None:
        """Return where in the best chain a transaction is."""
        rows = read_rows(
            self._connection, "SELECT number, size FROM transactions WHERE txid = ?", (txid,)
        )
        return self._located(txid, *rows[0]) if rows else None

    def transaction(self, txid: Hash32) -> Transaction | None:
        """Return a transaction of the best chain; only its own bytes are read and decoded."""
        rows = read_rows(
            self._connection, "SELECT number FROM transactions WHERE txid = ?", (txid,)
        )
        return self._between(rows[0][0], rows[0][0] + 1)[0] if rows else None

    def transactions(
        self, block_id: Hash32, start: int, count: int
    ) -> list[tuple[Transaction, tuple[Coin, ...]]]:
        """Return `count` transactions of a block from position `start`, and the coins they spent.

        The coins are left out (empty) where `spent_coins` has none, and for a coinbase. Empty if
        the block is unknown or `start` behind its end.
        """
        height = self.height_of(block_id)
        if height:
            first = transaction_number(height, start)
            end = min(first + count, transaction_number(height + 1, 0))
            found = self._between(first, end)
        else:
            raw = self.block(block_id)
            found = list(decode_block(raw).transactions[start : start + count]) if raw else []
        first, skipped = (0, 1) if start == 0 else (start - 1, 0)  # a coinbase has no item
        wanted = max(len(found) - skipped, 0)
        spent = read_undo(
            self._connection, block_id, lambda raw: decode_spent_slice(raw, first, wanted)
        )
        taken = ((),) * skipped + (spent or ())
        return list(zip(found, taken if spent else ((),) * len(found), strict=True))

    def coin(self, point: OutPoint) -> Coin | None:
        """Return a coin that is unspent at the tip."""
        return self.coins([point]).get(point)

    def coins(self, points: Sequence[OutPoint]) -> dict[OutPoint, Coin]:
        """Return those coins of `points` that are unspent at the tip."""
        return dict(map(coin_of_row, read_keys(self._connection, _COIN, points)))

    def spender(self, point: OutPoint) -> Spender | None:
        """Return what spent an output; None if nothing did or there was no such output."""
        if self.coin(point) is not None:
            return None
        funding = self.find(outpoint_txid(point))
        if funding is None:
            return None
        transaction = self.transaction(funding.txid)
        index = outpoint_index(point)
        if transaction is None or index >= len(transaction.outputs):
            return None
        key = script_key(transaction.outputs[index].script)
        number = transaction_number(funding.height, funding.position)
        for spend, slot in read_rows(self._connection, _SPEND, (key, number, point)):
            found = self._numbered(spend)
            return Spender(found.txid, slot >> 1, found.height, found.block_id)
        return None

    def history(
        self, script_hash: Hash32, *, before: tuple[int, int] | None = None, limit: int
    ) -> list[Located]:
        """Return the transactions that paid to or spent from a script, newest first.

        `script_hash` is SHA-256 of the script: that is all Esplora's wallets tell. `before` is the
        (height, position) of the last one already seen.
        """
        end = transaction_number(*before) if before else transaction_number(self.tip_height + 1, 0)
        key = script_hash[:SCRIPT_KEY_BYTES]
        rows = read_rows(self._connection, _HISTORY, (POSITION_BITS, key, end, limit))
        return [_locate(txid, number, block_id, size) for number, txid, block_id, size in rows]

    def script_stats(self, script_hash: Hash32) -> ScriptStats:
        """Return how often and how much a script was paid, and how much of it was spent."""
        key = script_hash[:SCRIPT_KEY_BYTES]
        sums = {spent: (count, total) for spent, count, total in self._rows(_STATS, key)}
        [(tx_count,)] = self._rows(
            "SELECT count(DISTINCT number) FROM history WHERE script = ?", key
        )
        funded, spent = sums.get(0, (0, 0)), sums.get(1, (0, 0))
        return ScriptStats(
            tx_count, funded[0], Amount(int(funded[1])), spent[0], Amount(int(spent[1]))
        )

    def script_coins(self, script_hash: Hash32, *, limit: int) -> list[tuple[OutPoint, Coin]]:
        """Return at most `limit` unspent coins that a script locks, oldest first."""
        coins: list[tuple[OutPoint, Coin]] = []
        number, slot = 0, -1
        while len(coins) < limit:
            values = (script_hash[:SCRIPT_KEY_BYTES], number, number, slot, LOOKUP_KEYS_MAX)
            rows = read_rows(self._connection, _FUNDING, values)
            points = [outpoint(Hash32(txid), slot >> 1) for _, slot, txid in rows]
            found = self.coins(points)
            coins += [(point, found[point]) for point in points if point in found]
            if len(rows) < LOOKUP_KEYS_MAX:
                break
            number, slot, _ = rows[-1]
        return coins[:limit]

    def coin_totals(self) -> CoinTotals:
        """Return sums over all coins; every row is read."""
        [(count, value, size)] = self._rows(
            "SELECT count(*), coalesce(sum(value), 0), coalesce(sum(length(script)), 0) FROM coins"
        )
        return CoinTotals(count, Amount(int(value)), int(size))

    def transaction_count(self, first: int, last: int) -> int:
        """Return how many transactions the blocks at heights `first` to `last` hold."""
        [(count,)] = self._rows(
            "SELECT count(*) FROM transactions WHERE number >= ? AND number < ?",
            transaction_number(first, 0),
            transaction_number(last + 1, 0),
        )
        return count

    def _rows(self, statement: str, *values: object) -> list[tuple[int, ...]]:
        return read_rows(self._connection, statement, values)

    def _numbered(self, number: int) -> Located:
        for txid, size in read_rows(
            self._connection, "SELECT txid, size FROM transactions WHERE number = ?", (number,)
        ):
            return self._located(Hash32(txid), number, size)
        raise DamagedError(f"the transaction at {_place(number)} is not in the index")

    def _located(self, txid: Hash32, number: int, size: int) -> Located:
        block_id = self.block_id(number >> POSITION_BITS)
        if block_id is None:
            raise DamagedError(f"the index names {_place(number)}, which the chain lacks")
        return _locate(txid, number, block_id, size)

    def _between(self, first: int, end: int) -> list[Transaction]:
        """Return the transactions with these numbers, all of one block, read by offset."""
        rows = read_rows(self._connection, _TRANSACTION, (first >> POSITION_BITS, first, end))
        found = []
        for txid, raw in rows:
            try:
                transaction = decode_transaction(bytes(raw))
            except DecodeError as error:
                raise DamagedError(f"transaction {id_text(txid)} is damaged") from error
            if transaction.txid != txid:
                raise DamagedError(f"transaction {id_text(txid)} is damaged")
            found.append(transaction)
        return found


def _locate(txid: bytes, number: int, block_id: bytes, size: int) -> Located:
    position = number & ((1 << POSITION_BITS) - 1)
    height = Height(number >> POSITION_BITS)
    return Located(Hash32(txid), Hash32(block_id), height, position, size)


def _place(number: int) -> str:
    return f"height {number >> POSITION_BITS}, position {number & ((1 << POSITION_BITS) - 1)}"
