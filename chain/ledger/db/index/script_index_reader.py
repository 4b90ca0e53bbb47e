"""The history of scripts by their keys, with proof that all rows of a script are there.

Before anything about a script is returned, the database sums up its whole bucket, and the sum is
compared with the digest that was written (see digests.py). That costs about 0.2 us for each row of
the bucket: those of this script, and one in 16,384 of all others.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from chain.ledger.db.engine import read_rows
from chain.ledger.db.index.digests import (
    Kind,
    bucket_bounds,
    bucket_of,
    read_digest,
)
from chain.ledger.db.index.row_sums import MODULUS, history_digest
from chain.ledger.db.schema import SCRIPT_KEY_BYTES
from chain.ledger.errors import DamagedError
from chain.primitives.numbers import OutPoint

_BUCKET: Final = (
    "SELECT script, count(*), CAST(sum(number) AS BIGINT), CAST(sum(slot) AS BIGINT),"
    " CAST(sum(value) AS BIGINT), CAST(sum(slot & 1) AS BIGINT),"
    " CAST(sum((slot & 1) * value) AS BIGINT)"
    " FROM history WHERE script >= ? AND script <= ? GROUP BY script"
)
_BUCKET_TYPES: Final = (bytes, int, int, int, int, int, int)
_NUMBERS: Final = (
    "SELECT DISTINCT number FROM history WHERE script = ? AND number < ?"
    " ORDER BY number DESC LIMIT ?"
)
_FUNDING: Final = (
    "SELECT number, slot, value FROM history"
    " WHERE script = ? AND (number, slot) > (?, ?)"
    " AND slot & 1 = 0 ORDER BY number, slot LIMIT ?"
)
_SPEND: Final = (
    "SELECT number, slot FROM history"
    " WHERE script = ? AND number >= ? AND slot & 1 = 1 AND point = ? LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class ScriptSums:
    """Sums over the rows of one script."""

    funded: int = 0  # outputs
    funded_value: int = 0
    spent: int = 0
    spent_value: int = 0


class ScriptIndex:
    """The script index as of one snapshot. Every method may raise DamagedError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._proved: dict[bytes, ScriptSums] = {}  # scripts whose rows are proved complete

    def sums(self, key: bytes) -> ScriptSums:
        """Return the sums of a script, proved by its bucket's digest."""
        if key not in self._proved:
            self._proved[key] = self._prove(key)
        return self._proved[key]

    def transaction_count(self, key: bytes) -> int:
        """Return how many transactions paid to or spent from a script."""
        self.sums(key)
        query = "SELECT count(DISTINCT number) FROM history WHERE script = ?"
        [(count,)] = read_rows(self._connection, query, (key,), (int,))
        return int(count)

    def numbers(self, key: bytes, below: int, limit: int) -> list[int]:
        """Return the numbers of a script's transactions below a number, highest first."""
        self.sums(key)
        rows = read_rows(self._connection, _NUMBERS, (key, below, limit), (int,))
        return [number for (number,) in rows]

    def funding(self, key: bytes, after: tuple[int, int], limit: int) -> list[tuple[int, int, int]]:
        """Return (number, slot, value) of the outputs to a script after a (number, slot)."""
        values = (key, *after, limit)
        return read_rows(self._connection, _FUNDING, values, (int, int, int))

    def spend(self, key: bytes, funded: int, point: OutPoint) -> tuple[int, int] | None:
        """Return (number, slot) of the spend of a script's output made by transaction `funded`.

        The caller must prove it by the transaction that it refers to.
        """
        for number, slot in read_rows(self._connection, _SPEND, (key, funded, point), (int, int)):
            return number, slot
        return None

    def _prove(self, key: bytes) -> ScriptSums:
        bucket = bucket_of(key)
        found, digest = ScriptSums(), 0
        bounds = bucket_bounds(bucket, SCRIPT_KEY_BYTES)
        rows = read_rows(self._connection, _BUCKET, bounds, _BUCKET_TYPES)
        for script, count, numbers, slots, values, spent, spent_value in rows:
            digest += history_digest(script, count, numbers, slots, values)
            if script == key:
                found = ScriptSums(count - spent, values - spent_value, spent, spent_value)
        if digest % MODULUS != read_digest(self._connection, Kind.HISTORY, bucket):
            raise DamagedError(
                f"the history of script {key.hex()}, or of another one in its bucket, is damaged"
            )
        return found
