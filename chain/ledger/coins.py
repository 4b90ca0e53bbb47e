"""The coin set: a table, with the hot coins in memory in front of it."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from chain.consensus.coin import Coin
from chain.ledger.engine import delete_keys, insert_rows, read_keys, table_order
from chain.ledger.errors import DamagedError
from chain.ledger.records import encode_coin
from chain.primitives.numbers import Amount, Height, OutPoint

HOT_COINS_MAX: Final = 200_000  # in each of two generations, about 350 bytes a coin
DIGEST_BYTES: Final = 32
_DIGEST_MODULUS: Final = 1 << 8 * DIGEST_BYTES

_SELECT: Final = "SELECT point, value, script, height, from_coinbase FROM coins WHERE point IN"
_INSERT: Final = "INSERT INTO coins (point, value, script, height, from_coinbase)"
_DELETE: Final = "DELETE FROM coins WHERE point IN"


@dataclass(frozen=True, slots=True)
class CoinSet:
    """What sums up the table: equal sets, and practically only those, have equal sums."""

    digest: int = 0  # of each coin's SHA-256, added up: any order gives the same
    count: int = 0

    def after(self, removed: Mapping[OutPoint, Coin], added: Mapping[OutPoint, Coin]) -> "CoinSet":
        """Return the sums without `removed` and with `added`."""
        digest = self.digest + _digest(added.items()) - _digest(removed.items())
        return CoinSet(digest % _DIGEST_MODULUS, self.count + len(added) - len(removed))


def _digest(coins: Iterable[tuple[OutPoint, Coin]]) -> int:
    number, sha256 = int.from_bytes, hashlib.sha256
    return sum(
        [number(sha256(point + encode_coin(coin)).digest(), "little") for point, coin in coins]
    )


class CoinStore:
    """The coins at the tip; a CoinView. Changes stay in memory until `flush`."""

    def __init__(self, connection: Connection, summed: CoinSet) -> None:
        self.summed = summed  # of the table, so without what waits in memory
        self._connection = connection
        self._fresh: dict[OutPoint, Coin] = {}  # not in the table yet
        self._gone: dict[OutPoint, Coin] = {}  # still in the table
        self._young: dict[OutPoint, Coin] = {}  # as in the table, and so is _old
        self._old: dict[OutPoint, Coin] = {}

    @property
    def waiting(self) -> int:
        """How many rows a flush would write."""
        return len(self._fresh) + len(self._gone)

    def get(self, point: OutPoint) -> Coin | None:
        """Return an unspent coin, or None."""
        coin = self._in_memory(point)
        if coin is None and point not in self._gone:
            self._read([point])
            coin = self._in_memory(point)
        return coin

    def preload(self, points: Iterable[OutPoint]) -> None:
        """Read coins that `get` will be asked for, many at a time."""
        missing = [
            point for point in points if self._in_memory(point) is None and point not in self._gone
        ]
        if missing:
            missing.sort()
            self._read(missing)

    def apply(self, removed: Mapping[OutPoint, Coin], created: Mapping[OutPoint, Coin]) -> None:
        """Take away coins that exist, then add coins that do not."""
        fresh, gone = self._fresh, self._gone
        for point, coin in removed.items():
            if fresh.pop(point, None) is None:  # else the table never hears of it
                gone[point] = coin
                self._young.pop(point, None)
                self._old.pop(point, None)
        fresh.update(created)

    def flush(self) -> None:
        """Write all changes to the table, in the order of its keys. Raises DamagedError."""
        if delete_keys(self._connection, _DELETE, sorted(self._gone, key=table_order)) != len(
            self._gone
        ):
            raise DamagedError("coins that were spent are not in the table of coins")
        rows = [_row(point, coin) for point, coin in self._fresh.items()]
        rows.sort(key=lambda row: table_order(row[0]))
        insert_rows(self._connection, _INSERT, rows)
        self.summed = self.summed.after(self._gone, self._fresh)
        for point, coin in self._fresh.items():
            self._keep(point, coin)
        self._fresh, self._gone = {}, {}

    def revert(self, summed: CoinSet) -> None:
        """Drop everything in memory, after the table went back to what `summed` sums up."""
        self.summed = summed
        self._fresh, self._gone, self._young, self._old = {}, {}, {}, {}

    def _in_memory(self, point: OutPoint) -> Coin | None:
        return self._fresh.get(point) or self._young.get(point) or self._old.get(point)

    def _read(self, points: list[OutPoint]) -> None:
        for row in read_keys(self._connection, _SELECT, points):
            point, coin = coin_of_row(row)
            self._keep(point, coin)

    def _keep(self, point: OutPoint, coin: Coin) -> None:
        self._young[point] = coin
        if len(self._young) >= HOT_COINS_MAX:
            self._old = self._young  # what was used in neither of two generations is cold
            self._young = {}


def _row(point: OutPoint, coin: Coin) -> tuple[bytes, int, bytes, int, int]:
    return point, coin.value, coin.script, coin.height, int(coin.from_coinbase)


def coin_of_row(row: tuple[bytes, int, bytes, int, int]) -> tuple[OutPoint, Coin]:
    """Return the coin that a row of the table (in the order of its columns) is."""
    point, value, script, height, from_coinbase = row
    return OutPoint(point), Coin(Amount(value), script, Height(height), bool(from_coinbase))
