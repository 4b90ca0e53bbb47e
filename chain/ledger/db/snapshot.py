"""Queries on the best chain and its coins, all as of one commit."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection

from chain.consensus.coin import Coin
from chain.ledger.db.archive import Spent, read_block, read_spent, read_undo
from chain.ledger.db.best_chain_reader import BestChain
from chain.ledger.db.coins import COIN_TYPES, SELECT_COINS, coin_of_row
from chain.ledger.db.engine import LOOKUP_KEYS_MAX, read_keys, read_rows
from chain.ledger.db.index.script_index_reader import ScriptIndex
from chain.ledger.db.index.tx_index_reader import (
    Places,
    TransactionIndex,
    TxLocation,
    rows_in,
)
from chain.ledger.db.meta import read_coin_sums
from chain.ledger.db.schema import POSITION_BITS, SCRIPT_KEY_BYTES, script_key, transaction_number
from chain.ledger.errors import DamagedError
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
from chain.primitives.script import is_unspendable
from chain.primitives.transaction import Transaction

T = TypeVar("T")
Made = TypeVar("Made")

_TOTALS: Final = (
    "SELECT count(*), CAST(coalesce(sum(value), 0) AS BIGINT),"
    " CAST(coalesce(sum(length(script)), 0) AS BIGINT) FROM coins"
)


@dataclass(frozen=True, slots=True)
class Spender:
    """The input in the best chain that spent a coin."""

    txid: Hash32
    vin: int
    height: Height
    block_id: Hash32


@dataclass(slots=True, unsafe_hash=True)
class ConfirmedTx:
    """A transaction of the best chain with the coins that it spent, in input order."""

    location: Final[TxLocation]
    transaction: Final[Transaction]
    coins: Final[tuple[Coin, ...]]  # empty for a coinbase


@dataclass(slots=True, unsafe_hash=True)
class ConfirmedBytes:
    """The bytes of a transaction of the best chain with the coins that it spent."""

    location: Final[TxLocation]
    raw: Final[bytes]
    coins: Final[tuple[Coin, ...]]  # empty for a coinbase


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


class LedgerSnapshot:
    """The ledger as of one commit; use it on one thread and only inside its `with`.

    Every method may raise DamagedError: each result is proved by the data from which it comes, and
    so is an empty result (docs/decisions/0006-what-a-read-proves.md). Genesis is a block of the
    chain, but its coinbase was never connected: it has no coins, no history, and is not found by
    id.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._chain = BestChain(connection)
        self._index = TransactionIndex(connection, self._chain)
        self._scripts = ScriptIndex(connection)
        self._last: tuple[TxLocation, Transaction] | None = (
            None  # the last transaction whose outputs were looked up
        )
        self.tip_id: Hash32 = self._chain.tip_id
        self.tip_height: Height = self._chain.tip_height

    def query(self, read: Callable[[Connection], T]) -> T:
        """Return what `read` reads of other tables, as of the same commit."""
        return read(self._connection)

    def block_id(self, height: int) -> Hash32 | None:
        """Return the id of the best chain's block at `height`, or None above the tip."""
        return self._chain.id_at(height)

    def height_of(self, block_id: Hash32) -> Height | None:
        """Return the height of a block of the best chain; None for any other."""
        return self._chain.height_of(block_id)

    def block(self, block_id: Hash32) -> bytes | None:
        """Return any stored raw block, in the best chain or not."""
        return read_block(self._connection, block_id)

    def spent_coins(self, block_id: Hash32) -> Spent:
        """Return the coins spent by each transaction other than the coinbase, in input order.

        Empty for genesis and for blocks outside the best chain, whose spent coins are not kept.
        """
        spent = self.undo(block_id)
        if spent is None and self.height_of(block_id):
            raise DamagedError(f"the undo data of block {id_text(block_id)} is missing")
        return spent or ()

    def undo(self, block_id: Hash32) -> Spent | None:
        """Return the coins that a block of the best chain spent, or None if they are not kept."""
        return read_undo(self._connection, block_id)

    def find(self, txid: Hash32) -> TxLocation | None:
        """Return the location of a transaction in the best chain."""
        return self._index.find(txid)

    def transaction(self, txid: Hash32) -> Transaction | None:
        """Return a transaction of the best chain; only its own bytes are decoded."""
        located = self._index.find(txid)
        return None if located is None else self._index.read(located)

    def transactions(
        self, block_id: Hash32, start: int, count: int
    ) -> list[tuple[Transaction, tuple[Coin, ...]]]:
        """Return `count` transactions of a block from position `start`, with the coins they spent.

        The coins are left out (empty) where `spent_coins` has none, and for a coinbase. The result
        is empty if the block is unknown or `start` is past its end.
        """
        height = self.height_of(block_id)
        if not height:
            return [(tx, ()) for tx in self._whole(block_id)[start : start + count]]
        found = self._index.page(height, start, count)
        wanted = {block_id: range(start, start + len(found))}
        return list(zip(found, read_spent(self._connection, wanted)[block_id], strict=True))

    def read(self, locations: Sequence[TxLocation]) -> list[ConfirmedTx]:
        """Return the transactions at locations that this snapshot returned, in their order.

        A block that has several of them is read once.
        """
        return self._read_all(locations, self._index.read_all, ConfirmedTx)

    def read_bytes(self, locations: Sequence[TxLocation]) -> list[ConfirmedBytes]:
        """Do as `read`, for a caller that has no use for objects of the transactions."""
        return self._read_all(locations, self._index.read_bytes, ConfirmedBytes)

    def coin(self, point: OutPoint) -> Coin | None:
        """Return a coin that is unspent at the tip, or None."""
        return self.coins([point]).get(point)

    def coins(self, points: Sequence[OutPoint]) -> dict[OutPoint, Coin]:
        """Return those coins of `points` that are unspent at the tip."""
        rows = self._coin_rows(points)
        states = ((point, self._state_of(point, rows.get(point))) for point in points)
        return {point: state for point, state in states if isinstance(state, Coin)}

    def spender(self, point: OutPoint) -> Spender | None:
        """Return the spender of an output; None if it is unspent or does not exist."""
        state = self._state_of(point, self._coin_rows([point]).get(point))
        return state if isinstance(state, Spender) else None

    def history(
        self, script_hash: Hash32, *, before: tuple[int, int] | None = None, limit: int
    ) -> list[TxLocation]:
        """Return the transactions that paid to or spent from a script, newest first.

        `script_hash` is SHA-256 of the script, the only form that Esplora's clients send. `before`
        is the (height, position) of the last one already seen.
        """
        end = transaction_number(*before) if before else transaction_number(self.tip_height + 1, 0)
        return self._index.at(self._scripts.numbers(script_hash[:SCRIPT_KEY_BYTES], end, limit))

    def script_stats(self, script_hash: Hash32) -> ScriptStats:
        """Return the number and the sum of a script's payments, and of those spent."""
        key = script_hash[:SCRIPT_KEY_BYTES]
        sums, count = self._scripts.sums(key), self._scripts.transaction_count(key)
        funded, spent = Amount(sums.funded_value), Amount(sums.spent_value)
        return ScriptStats(count, sums.funded, funded, sums.spent, spent)

    def funded_count(self, script_hash: Hash32) -> int:
        """Return how many outputs a script has had: `script_coins` looks at each."""
        return self._scripts.sums(script_hash[:SCRIPT_KEY_BYTES]).funded

    def script_coins(self, script_hash: Hash32, *, limit: int) -> list[tuple[OutPoint, Coin]]:
        """Return at most `limit` unspent coins locked by a script, oldest first."""
        key = script_hash[:SCRIPT_KEY_BYTES]
        sums = self._scripts.sums(key)
        coins: list[tuple[OutPoint, Coin]] = []
        after = (0, -1)
        while len(coins) < limit:
            rows = self._scripts.funding(key, after, LOOKUP_KEYS_MAX)
            coins += self._unspent(key, rows)
            if len(rows) < LOOKUP_KEYS_MAX:
                break
            after = rows[-1][:2]
        if min(len(coins), limit) != min(sums.funded - sums.spent, limit):
            raise DamagedError(f"the coins of script {key.hex()} do not match its history")
        return coins[:limit]

    def coin_totals(self) -> CoinTotals:
        """Return sums over all coins; reads every row."""
        [(count, value, size)] = read_rows(self._connection, _TOTALS, (), (int, int, int))
        summed = read_coin_sums(self._connection)
        if (count, value, size) != (summed.count, summed.value, summed.script_bytes):
            raise DamagedError("the sums of the coins differ from those written")
        return CoinTotals(count, Amount(value), size)

    def transaction_count(self, first: int, last: int) -> int:
        """Return how many transactions the blocks at heights `first` to `last` hold."""
        return self._index.count(first, last)

    def _read_all(
        self,
        locations: Sequence[TxLocation],
        read: Callable[[Places], Mapping[Hash32, Sequence[T]]],
        make: Callable[[TxLocation, T, tuple[Coin, ...]], Made],
    ) -> list[Made]:
        places: defaultdict[Hash32, list[TxLocation]] = defaultdict(list)
        for located in locations:
            places[located.block_id].append(located)
        transactions = read(places)
        positions = {key: [at.position for at in there] for key, there in places.items()}
        spent = read_spent(self._connection, positions, rows_in(places, "undo"))
        found = {
            key: map(make, there, transactions[key], spent[key]) for key, there in places.items()
        }
        return [next(found[at.block_id]) for at in locations]  # each block's are in this order

    def _whole(self, block_id: Hash32) -> Sequence[Transaction]:
        raw = self.block(block_id)
        if raw is None:
            return ()
        try:
            return decode_block(raw).transactions
        except DecodeError as error:
            raise DamagedError(f"block {id_text(block_id)} is damaged") from error

    def _coin_rows(self, points: Sequence[OutPoint]) -> dict[OutPoint, Coin]:
        rows = read_keys(self._connection, SELECT_COINS, points, COIN_TYPES)
        return dict(map(coin_of_row, rows))

    def _unspent(self, key: bytes, rows: list[tuple[int, int, int]]) -> list[tuple[OutPoint, Coin]]:
        """Return the unspent coins among the outputs in a script's (proved) history."""
        txids = self._index.txids(list(dict.fromkeys(row[0] for row in rows)))
        points = [outpoint(txids[number], slot >> 1) for number, slot, _ in rows]
        found = self._coin_rows(points)
        coins = []
        for point, (number, _, value) in zip(points, rows, strict=True):
            coin = found.get(point)
            if coin is None:
                continue  # spent, not missing: the caller compares the counts
            is_first = number & ((1 << POSITION_BITS) - 1) == 0
            right = (value, key, number >> POSITION_BITS, is_first)
            if (coin.value, script_key(coin.script), coin.height, coin.from_coinbase) != right:
                raise _changed(point)
            coins.append((point, coin))
        return coins

    def _state_of(self, point: OutPoint, row: Coin | None) -> Coin | Spender | None:
        """Return the state of an output; `row` is its row in the table of coins, if any."""
        created = self._created(point)
        if created is None:
            if row is not None:
                raise _changed(point)
            return None
        if row is None:
            return self._spender(point, created)
        if row != created[1]:
            raise _changed(point)
        return row

    def _created(self, point: OutPoint) -> tuple[TxLocation, Coin] | None:
        """Return the coin of an outpoint as created, and its transaction."""
        txid, index = outpoint_txid(point), outpoint_index(point)
        if self._last is None or self._last[0].txid != txid:
            located = self._index.find(txid)
            if located is None:
                return None
            self._last = located, self._index.read(located)
        located, transaction = self._last
        if index >= len(transaction.outputs) or is_unspendable(transaction.outputs[index].script):
            return None
        out = transaction.outputs[index]
        coin = Coin(out.value, out.script, located.height, from_coinbase=located.position == 0)
        return located, coin

    def _spender(self, point: OutPoint, created: tuple[TxLocation, Coin]) -> Spender:
        """Return the spender of a spent coin, proved by its transaction."""
        located, coin = created
        funded = transaction_number(located.height, located.position)
        spend = self._scripts.spend(script_key(coin.script), funded, point)
        if spend is None:
            raise _changed(point)
        [at] = self._index.at([spend[0]])
        inputs, vin = self._index.read(at).inputs, spend[1] >> 1
        if vin >= len(inputs) or inputs[vin].outpoint != point:
            raise _changed(point)
        return Spender(at.txid, vin, at.height, at.block_id)


def _changed(point: OutPoint) -> DamagedError:
    name = f"{id_text(outpoint_txid(point))}:{outpoint_index(point)}"
    return DamagedError(f"output {name} is neither unspent nor spent, or was changed")
