"""The mempool in the database: rows of transactions, fee deltas and the journal of changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from chain.ledger.db.engine import delete_keys, read_keys, read_rows, write_rows
from chain.ledger.db.node_state import Version, read_state, write_state

_READ: Final = "SELECT number, wtxid, txid, raw, time, height, fee FROM pool ORDER BY number"
_READ_SOME: Final = "SELECT number, wtxid, txid, raw, time, height, fee FROM pool WHERE number IN"
_READ_DELTAS: Final = "SELECT txid, grains FROM deltas"
_READ_JOURNAL: Final = (
    "SELECT sequence, time, changes FROM journal WHERE sequence > ? ORDER BY sequence LIMIT ?"
)
_INSERT: Final = (
    "INSERT INTO pool (number, wtxid, txid, raw, time, height, fee) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_DELETE: Final = "DELETE FROM pool WHERE number IN"
_DELETE_DELTAS: Final = "DELETE FROM deltas WHERE txid IN"
_INSERT_DELTA: Final = "INSERT INTO deltas (txid, grains) VALUES (?, ?)"
JOURNAL_ALL: Final = 1 << 62  # rows: no limit
_NOTE: Final = "INSERT INTO journal (sequence, time, changes) VALUES (?, ?, ?)"
_TRIM: Final = "DELETE FROM journal WHERE sequence <= ?"

PoolRow = tuple[int, bytes, bytes, bytes, int, int, int]  # number, wtxid, txid, raw, time, ...


@dataclass(frozen=True, slots=True)
class SavedRows:
    """What the tables hold; nothing is checked, not even the values' types."""

    pool: list[tuple[Any, ...]]  # as PoolRow, in order of arrival
    deltas: list[tuple[Any, ...]]  # txid, grains
    state: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class JournalNote:
    """One version's row of the journal, and the last of the rows that are no longer kept."""

    sequence: int
    time: int
    changes: bytes
    trimmed: int | None = None  # up to this sequence, itself included


@dataclass(frozen=True, slots=True)
class PoolChanges:
    """Rows that take the tables from one version to the next."""

    removed: Sequence[int]  # numbers
    added: Sequence[PoolRow]
    deltas: dict[bytes, int]  # by txid; 0: there is none any more
    state: dict[str, bytes]
    note: JournalNote

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.removed) + len(self.added) + len(self.deltas) + len(self.state) + 1

    def write(self, connection: Connection) -> None:
        """Write everything in the open transaction."""
        delete_keys(connection, _DELETE, self.removed)  # first: a transaction may be in both
        write_rows(connection, _INSERT, self.added)
        delete_keys(connection, _DELETE_DELTAS, list(self.deltas))
        write_rows(connection, _INSERT_DELTA, [item for item in self.deltas.items() if item[1]])
        write_state(connection, self.state)
        write_rows(connection, _NOTE, [(self.note.sequence, self.note.time, self.note.changes)])
        if self.note.trimmed is not None:
            write_rows(connection, _TRIM, [(self.note.trimmed,)])


def read_saved_rows(connection: Connection) -> SavedRows:
    """Return everything but the journal."""
    return SavedRows(
        read_rows(connection, _READ), read_rows(connection, _READ_DELTAS), read_state(connection)
    )


def read_pool_rows(connection: Connection, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    """Return those of these rows that exist, in order of arrival; nothing is checked."""
    rows: list[tuple[Any, ...]] = read_keys(connection, _READ_SOME, sorted(numbers))
    return sorted(rows, key=lambda row: row[0])


def read_journal(
    connection: Connection, after: int, limit: int = JOURNAL_ALL
) -> list[tuple[int, int, bytes]]:
    """Return (sequence, unix time, changes) of the first versions after one, in order.

    Raises DamagedError.
    """
    return read_rows(connection, _READ_JOURNAL, (after, limit), (int, int, bytes))


def read_unbroken_journal(
    connection: Connection, before: Version, version: Version, limit: int = JOURNAL_ALL
) -> list[tuple[int, int, bytes]] | None:
    """Return the first rows after `before`; None if one is missing up to the snapshot's `version`.

    `before` may be a client's: of any epoch, and later than `version`. Raises DamagedError.
    """
    count = version.sequence - before.sequence
    if before.epoch != version.epoch or count < 0:
        return None
    rows = read_journal(connection, before.sequence, limit)
    if len(rows) != (count if limit == JOURNAL_ALL else min(count, limit)):
        return None
    is_unbroken = all(row[0] == before.sequence + at for at, row in enumerate(rows, 1))
    return rows if is_unbroken else None
