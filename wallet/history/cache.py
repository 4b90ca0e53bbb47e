"""Transactions cached between commands: deep ones are not requested again.

The others are kept to show the wallet as it was when the node last answered. All of it can be
fetched from the node again: the file may be deleted at any time. A transaction
that is read back must have the id it was stored under, and lie below a block that is still in the
node's best chain. Each node's data is used with that node only; while that is away, what another
one last showed can be looked at.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Final
from urllib.parse import quote

from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32, Height
from chain.primitives.transaction import decode_transaction
from chain.regular_file import check_sqlite_files
from wallet.esplora_shapes import SeenTransaction

DEPTH: Final = 6  # depth of cached transactions: shorter reorganisations cost nothing
_ANCHORS_MAX: Final = 32  # number of deeper reorganisations that it can undo
_FORMAT: Final = 3  # 1 stored scans from a birthday as complete ones; 2 lacks recent and view
_NOT_KEPT: Final = -1  # no position
_FILE_MODE: Final = 0o600
_WAIT_S: Final = 5.0  # for another command's write
_PRIMARY_CODE: Final = 0xFF  # mask of an extended result code
_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
_TABLES: Final = (
    "DROP TABLE IF EXISTS origin",
    "DROP TABLE IF EXISTS anchors",
    "DROP TABLE IF EXISTS scripts",
    "DROP TABLE IF EXISTS transactions",
    "DROP TABLE IF EXISTS recent",
    "DROP TABLE IF EXISTS view",
    "CREATE TABLE origin (source TEXT NOT NULL, generation INTEGER NOT NULL)",
    "CREATE TABLE anchors (height INTEGER PRIMARY KEY, id BLOB NOT NULL)",
    "CREATE TABLE scripts (script BLOB PRIMARY KEY, complete_to INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE transactions (txid BLOB PRIMARY KEY, height INTEGER NOT NULL, "
    "time INTEGER NOT NULL, position INTEGER, "
    "arrival INTEGER NOT NULL, raw BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE recent (txid BLOB PRIMARY KEY, height INTEGER, time INTEGER, position INTEGER, "
    "arrival INTEGER NOT NULL, raw BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE view (height INTEGER NOT NULL, time INTEGER NOT NULL)",  # one row, or none
    f"PRAGMA user_version = {_FORMAT}",
)
_Sql = sqlite3.Connection
BlockAt = Callable[[Height], Hash32]  # the id of the node's best block at a height


@dataclass(frozen=True, slots=True)
class Anchor:
    """A block of the best chain: everything up to it is cached."""

    height: Height
    block_id: Hash32


@dataclass(frozen=True, slots=True)
class CachedHistory:
    """The content of the cache."""

    seen: tuple[SeenTransaction, ...] = ()
    complete_to: Mapping[bytes, Height] = field(default_factory=dict)  # by script
    generation: int = 0  # number of writes to the file; shows whether another command wrote since


@dataclass(frozen=True, slots=True)
class LastView:
    """What a node last showed of the wallet, oldest first."""

    seen: tuple[SeenTransaction, ...]
    height: Height  # of its best block
    time: int  # of the answer, in seconds since 1970
    source: str  # the node's address


class Cache:
    """One wallet's cache file of one node (`source` is its address)."""

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source
        self.problem: OSError | str | None = None  # why the file cannot be used

    def load(self, block_at: BlockAt, tip: Height) -> CachedHistory:
        """Return the valid content; entries that a reorganisation undid are dropped.

        A file that is damaged (it is deleted), busy, or not writable counts as empty.
        """
        with self._recording_problem(), self._opened() as sql:
            return self._load(sql, block_at, tip)
        return CachedHistory()

    def forget(self, height: int) -> bool:
        """Drop entries at `height` and above, to be fetched again. False: the file is unusable."""
        with self._recording_problem(), self._opened() as sql:
            sql.execute("DELETE FROM view")
            sql.execute("DELETE FROM transactions WHERE height >= ?", (height,))
            sql.execute("UPDATE scripts SET complete_to = min(complete_to, ?)", (height - 1,))
            sql.execute("UPDATE origin SET generation = generation + 1")
            return True
        return False

    def save(
        self,
        before: CachedHistory,
        seen: Iterable[SeenTransaction],
        scripts: Iterable[bytes],
        at: Anchor,
    ) -> None:
        """Store transactions up to the anchor, in order; `scripts` were scanned up to there.

        Skipped if nothing is new, or if another command has written since `before` was loaded.
        """
        known = {each.transaction.txid: each.position for each in before.seen}
        new = [
            (txid, each.height, each.time, each.position, arrival, each.transaction.raw)
            for arrival, each in enumerate(seen)
            if each.height is not None and each.height <= at.height
            if known.get(txid := each.transaction.txid, _NOT_KEPT) != each.position
        ]
        if not new:
            return
        with self._recording_problem(), self._opened() as sql:
            if _generation(sql) != before.generation:
                return
            sql.execute("UPDATE origin SET generation = generation + 1")
            sql.execute("INSERT OR REPLACE INTO anchors VALUES (?, ?)", (at.height, at.block_id))
            sql.execute(
                "DELETE FROM anchors WHERE height NOT IN "
                "(SELECT height FROM anchors ORDER BY height DESC LIMIT ?)",
                (_ANCHORS_MAX,),
            )
            sql.executemany("INSERT OR REPLACE INTO transactions VALUES (?, ?, ?, ?, ?, ?)", new)
            sql.executemany(
                "INSERT OR REPLACE INTO scripts VALUES (?, ?)",
                ((script, at.height) for script in scripts),
            )

    def save_view(self, view: LastView) -> None:
        """Store what a complete scan has found; only what is not stored as deep takes space."""
        with self._recording_problem(), self._opened() as sql:
            deep = dict(sql.execute("SELECT txid, height FROM transactions").fetchall())
            sql.execute("DELETE FROM recent")
            sql.executemany(
                "INSERT INTO recent VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (each.transaction.txid, each.height, each.time, each.position, arrival, raw)
                    for arrival, each in enumerate(view.seen)
                    if each.height is None or deep.get(each.transaction.txid) != each.height
                    if (raw := each.transaction.raw)
                ),
            )
            sql.execute("DELETE FROM view")
            sql.execute("INSERT INTO view VALUES (?, ?)", (view.height, view.time))

    def last_view(self) -> LastView | None:
        """Return what a node last showed, not only this one; None: nothing complete is stored."""
        if not self._path.exists():
            return None
        with self._recording_problem():
            check_sqlite_files(self._path)
            address = f"file:{quote(str(self._path))}?mode=rw"  # another node's too: keep it
            with contextlib.closing(sqlite3.connect(address, uri=True, timeout=_WAIT_S)) as sql:
                sql.execute("BEGIN")
                return self._last_view(sql)
        return None

    def _last_view(self, sql: _Sql) -> LastView | None:
        if sql.execute("PRAGMA user_version").fetchone() != (_FORMAT,):
            return None
        found = sql.execute("SELECT height, time, source FROM view, origin").fetchall()
        if not found:
            return None
        stored: dict[bytes, SeenTransaction] = {}
        for table in ("transactions", "recent"):
            rows = sql.execute(
                f"SELECT txid, height, time, position, raw FROM {table} "  # noqa: S608 - two names
                "ORDER BY height IS NULL, height, arrival"
            )
            stored |= {row[0]: _seen(*row) for row in rows}
        seen = sorted(stored.values(), key=lambda each: (each.height is None, each.height or 0))
        height, time, source = found[0]
        return LastView(tuple(seen), Height(height), int(time), str(source))

    def _load(self, sql: _Sql, block_at: BlockAt, tip: Height) -> CachedHistory:
        anchors = sql.execute("SELECT height, id FROM anchors ORDER BY height DESC").fetchall()
        good = -1
        for height, block_id in anchors:
            if height <= tip and block_at(Height(height)) == block_id:
                good = height
                break
        if anchors and anchors[0][0] != good:
            sql.execute("DELETE FROM view")
            sql.execute("DELETE FROM anchors WHERE height > ?", (good,))
            sql.execute("DELETE FROM transactions WHERE height > ?", (good,))
            sql.execute("UPDATE scripts SET complete_to = min(complete_to, ?)", (good,))
            sql.execute("UPDATE origin SET generation = generation + 1")
        rows = sql.execute(
            "SELECT txid, height, time, position, raw FROM transactions ORDER BY height, arrival"
        ).fetchall()
        scripts = sql.execute("SELECT script, complete_to FROM scripts").fetchall()
        return CachedHistory(
            tuple(_seen(*row) for row in rows),
            {script: Height(height) for script, height in scripts},
            _generation(sql),
        )

    @contextlib.contextmanager
    def _recording_problem(self) -> Iterator[None]:
        """Continue without an unusable file; delete a damaged one."""
        try:
            yield
        except OSError as error:
            self.problem = error
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & _PRIMARY_CODE
            if code in _PASSING:
                self.problem = None if code == sqlite3.SQLITE_BUSY else f"{self._path}: {error}"
            else:
                self._delete()
        except (DecodeError, TypeError):  # rows that were changed after they were stored
            self._delete()

    def _delete(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            self.problem = error

    @contextlib.contextmanager
    def _opened(self) -> Iterator[_Sql]:
        """Open a SQL transaction on the file, which is recreated if missing or another node's."""
        check_sqlite_files(self._path)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _FILE_MODE))
        with contextlib.closing(
            sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None)
        ) as sql:
            sql.execute("BEGIN IMMEDIATE")
            self._prepare(sql)
            yield sql
            sql.execute("COMMIT")

    def _prepare(self, sql: _Sql) -> None:
        if sql.execute("PRAGMA user_version").fetchone() == (_FORMAT,):
            found = sql.execute("SELECT source FROM origin").fetchall()
            if found == [(self._source,)]:
                return
        for statement in _TABLES:
            sql.execute(statement)
        sql.execute("INSERT INTO origin VALUES (?, 0)", (self._source,))


def _seen(
    txid: bytes, height: int | None, time: int | None, position: int | None, raw: bytes
) -> SeenTransaction:
    if not {type(height), type(time), type(position)} <= {int, NoneType}:
        raise TypeError("a stored number is not an integer")
    transaction = decode_transaction(raw)
    if transaction.txid != txid:
        raise DecodeError("a stored transaction has another id than its key")
    return SeenTransaction(transaction, None if height is None else Height(height), time, position)


def _generation(sql: _Sql) -> int:
    (generation,) = sql.execute("SELECT generation FROM origin").fetchone()
    return int(generation)
