"""The coin set: a table, with a cache of recently used coins in memory."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection

from chain.consensus.coin import Coin
from chain.ledger.db.engine import Types, delete_keys, table_order
from chain.ledger.db.index.row_buffer import RowBuffer
from chain.ledger.db.index.row_sums import HashSum
from chain.ledger.db.records import encode_coin
from chain.ledger.errors import DamagedError
from chain.primitives.numbers import Amount, Height, OutPoint

HOT_COINS_MAX: Final = 200_000  # in each of two generations of the cache
HOT_COINS_BYTES: Final = 2 * HOT_COINS_MAX * 350  # memory of that many, as measured
DIGEST_BYTES: Final = 32
_HEIGHTS: Final = 1 << 31  # limits of `encode_coin`
_COINS_AT_ONCE: Final = 1_024  # with what is encoded of them, they stay in the processor's cache
_DIGEST_MODULUS: Final = 1 << 8 * DIGEST_BYTES

SELECT_ALL_COINS: Final = "SELECT point, value, script, height, from_coinbase FROM coins"
SELECT_COINS: Final = f"{SELECT_ALL_COINS} WHERE point IN"
_INSERT: Final = "INSERT INTO coins (point, value, script, height, from_coinbase)"
COIN_TYPES: Final = (bytes, int, bytes, int, int)  # bytes of one row
_COLUMNS: Final = 5
_DELETE: Final = "DELETE FROM coins WHERE point IN"


@dataclass(frozen=True, slots=True)
class CoinSet:
    """Checksums of the table: equal coin sets have equal sums, different ones practically never."""

    digest: int = 0  # sum of each coin's SHA-256, so that the order does not matter
    count: int = 0
    value: int = 0  # of all coins, in grains
    script_bytes: int = 0

    def after(self, removed: Mapping[OutPoint, Coin], added: Mapping[OutPoint, Coin]) -> "CoinSet":
        """Return the sums without `removed` and with `added`."""
        digest = self.digest + _digest(added) - _digest(removed)
        value, script_bytes = self.value, self.script_bytes
        for coin in added.values():
            value, script_bytes = value + coin.value, script_bytes + len(coin.script)
        for coin in removed.values():
            value, script_bytes = value - coin.value, script_bytes - len(coin.script)
        count = self.count + len(added) - len(removed)
        return CoinSet(digest % _DIGEST_MODULUS, count, value, script_bytes)


def _digest(coins: Mapping[OutPoint, Coin]) -> int:
    hashes = HashSum(len(coins))
    for some in _parts(coins):
        hashes.add([point + encode_coin(coin) for point, coin in some])
    return hashes.total()


def _parts(coins: Mapping[OutPoint, Coin]) -> Iterator[list[tuple[OutPoint, Coin]]]:
    items = iter(coins.items())
    while some := list(islice(items, _COINS_AT_ONCE)):
        yield some


@dataclass(slots=True)
class CoinChanges:
    """Coins to insert into the table, and coins to delete from it."""

    fresh: dict[OutPoint, Coin]
    spent: dict[OutPoint, Coin]

    def __len__(self) -> int:
        return len(self.fresh) + len(self.spent)

    def write(self, connection: Connection, summed: CoinSet) -> CoinSet:
        """Write them to the table with the sums `summed`; return the new sums.

        Raises DamagedError.
        """
        keys = sorted(self.spent, key=table_order)
        if delete_keys(connection, _DELETE, keys) != len(keys):
            raise DamagedError("spent coins are missing in the table of coins")
        rows = RowBuffer(_INSERT, _COLUMNS)
        buckets, hashes = rows.buckets, HashSum(len(self.fresh))
        total, script_bytes = summed.value, summed.script_bytes
        for some in _parts(self.fresh):
            for point, coin in some:
                value, script = coin.value, coin.script
                buckets[point[0]] += (point, value, script, coin.height, int(coin.from_coinbase))
                total += value
                script_bytes += len(script)
            hashes.add([point + encode_coin(coin) for point, coin in some])
        rows.insert(connection)
        count = summed.count + len(self.fresh)
        digest = summed.digest + hashes.total()
        return CoinSet(digest, count, total, script_bytes).after(self.spent, {})


# A SELECT that ends in `IN`, its keys, and the types of its columns.
ReadRows = Callable[[str, list[OutPoint], Types], list[Any]]


class CoinStore:
    """The coins at the tip; a CoinView. Changes stay in memory until `take`.

    Coins that were taken are still found here until `written` is called.
    """

    def __init__(self, read: ReadRows, summed: CoinSet) -> None:
        self._read_rows = read
        self._changes: CoinChanges
        self._writing: CoinChanges
        self._young: dict[OutPoint, Coin]  # as in the table, like `_old`
        self._old: dict[OutPoint, Coin]
        self.summed: CoinSet  # of the table, without the buffered changes
        self.revert(summed)

    @property
    def buffered(self) -> int:
        """The number of rows that `take` would return."""
        return len(self._changes)

    def get(self, point: OutPoint) -> Coin | None:
        """Return an unspent coin, or None."""
        return self.find([point]).get(point)

    def find(self, points: Iterable[OutPoint]) -> dict[OutPoint, Coin]:
        """Return the unspent ones of these coins, with few queries."""
        fresh, spent = self._changes.fresh, self._changes.spent
        found, missing = {}, []
        for point in points:
            coin = fresh.get(point)
            if coin is None:
                if point in spent:
                    continue
                coin = self._as_written(point)
            if coin is not None:
                found[point] = coin
            elif point not in self._writing.spent:
                missing.append(point)
        if missing:
            found |= self._read(missing)
        return found

    def apply(self, removed: Mapping[OutPoint, Coin], created: Mapping[OutPoint, Coin]) -> None:
        """Remove coins that exist, then add coins that do not."""
        fresh, spent = self._changes.fresh, self._changes.spent
        for point, coin in removed.items():
            if fresh.pop(point, None) is None:  # it is not in the table
                spent[point] = coin
                self._young.pop(point, None)
                self._old.pop(point, None)
        fresh.update(created)

    def take(self) -> CoinChanges:
        """Return the buffered changes, to be written; those taken before must have been written."""
        assert not len(self._writing), "the previous batch was written"
        self._writing, self._changes = self._changes, CoinChanges({}, {})
        return self._writing

    def written(self, summed: CoinSet) -> None:
        """Record that the taken changes are in the table, whose sums are `summed` now."""
        self.summed = summed
        fresh = self._writing.fresh
        for point in self._changes.spent:
            fresh.pop(point, None)
        if len(self._young) + len(fresh) <= HOT_COINS_MAX:
            self._young.update(fresh)
        else:  # coins not used in the last two generations are dropped
            self._old, self._young = self._young, fresh
        self._writing = CoinChanges({}, {})

    def revert(self, summed: CoinSet) -> None:
        """Discard all memory state, after the table was rolled back to the sums `summed`."""
        self.summed = summed
        self._changes, self._writing = CoinChanges({}, {}), CoinChanges({}, {})
        self._young, self._old = {}, {}

    def _as_written(self, point: OutPoint) -> Coin | None:
        return self._young.get(point) or self._writing.fresh.get(point) or self._old.get(point)

    def _read(self, points: list[OutPoint]) -> dict[OutPoint, Coin]:
        points.sort()
        found = dict(map(coin_of_row, self._read_rows(SELECT_COINS, points, COIN_TYPES)))
        if len(self._young) + len(found) > HOT_COINS_MAX:
            self._old, self._young = self._young, {}
        self._young.update(found)
        return found


def coin_of_row(row: tuple[bytes, int, bytes, int, int]) -> tuple[OutPoint, Coin]:
    """Return the coin in a row of the table, in the order of its columns.

    Raises DamagedError: not a valid coin.
    """
    point, value, script, height, from_coinbase = row
    if value < 0 or not 0 <= height < _HEIGHTS:
        raise DamagedError("a coin has an invalid value or height")
    return OutPoint(point), Coin(Amount(value), script, Height(height), bool(from_coinbase))
