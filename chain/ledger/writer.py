"""The connection that writes, and a thread that may use it while the ledger continues."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from threading import Event
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from chain.ledger.db.batch import Batch, CommitRows
from chain.ledger.db.coins import CoinSet
from chain.ledger.db.engine import (
    RESTART_WAIT_MS,
    Types,
    checkpoint,
    connect_to_read_latest,
    open_engine,
    read_keys,
    restart_log,
    without_sync,
)
from chain.ledger.db.log_file import LogFile
from chain.ledger.db.node_state import write_state
from chain.ledger.db.url import Database, is_in_memory
from chain.ledger.signature_verifier import Verification, lower_thread_priority

LOG_BYTES_LONG: Final = 96_000_000  # longer than any that was emptied in time
RESTART_S_MAX: Final = 0.2  # of one attempt to begin a long log again ...
RESTART_EVERY_S: Final = 1.0  # ... and from one to the next
AHEAD_S_MAX: Final = 3.0  # of a pause that an attempt waits for: a node commits each second
CHECKPOINT_ROWS: Final = 16_000  # each row touches about one more page of the log: 64 MB


class Writer:
    """Writes on the caller's thread, or one batch at a time on its own thread.

    While the thread has a batch, nothing else may use the connection.
    """

    def __init__(self, connection: Connection, database: Database) -> None:
        """Use `connection` to a database."""
        self.connection = connection
        self._reader = None if is_in_memory(database) else open_engine(database, read_only=True)
        self._latest: Connection | None = None  # of `_reader`, once something was read
        self._thread = None if self._reader is None else ThreadPoolExecutor(1, "write")
        self._idle = ThreadPoolExecutor(
            1, "empty", initializer=lower_thread_priority
        )  # for the log: not urgent
        self._job: Future[CoinSet | None] | None = None
        self._batch: tuple[Batch, CommitRows] | None = None
        self._rows = 0  # written since the log was last emptied
        self._emptying: Future[None] | None = None
        self._log = LogFile(database)
        self._restarted_s = float("-inf")  # when that was last attempted
        self._is_opening = False  # a transaction waits for the log to be begun again
        self._closing = Event()

    @property
    def is_busy(self) -> bool:
        """Whether a batch was begun and is not finished."""
        return self._job is not None

    @property
    def can_begin(self) -> bool:
        """Whether `begin` may be called: there is a thread, and no transaction is open."""
        return self._thread is not None and not self.is_busy and not self.is_open

    @property
    def is_open(self) -> bool:
        """Whether the caller has a transaction open."""
        return self.connection.in_transaction()

    def open(self) -> None:
        """Open a transaction that may write. Raises FencedError: this process may not any more."""
        self._is_opening = True
        self.connection.begin()
        self._is_opening = False

    def write(self, batch: Batch) -> CoinSet:
        """Write `batch` in the open transaction; return the new sums of the coins."""
        self._rows += len(batch)
        return batch.write(self.connection)

    def without_sync(self) -> AbstractContextManager[None]:
        """Let commits inside not wait for the disk: see `without_sync`."""
        return without_sync(self.connection)

    def commit(self, last: CommitRows) -> None:
        """Write the last rows and commit the open transaction; it survives any failure.

        At intervals the log is emptied after a commit, on a thread of low priority: that takes half
        a second, which must not delay a block on its way through the network. Raises the error of
        the previous emptying, if it failed.
        """
        self._write_last(last)
        self.connection.commit()
        self._empty_if_due()

    def commit_note(self, values: Mapping[str, bytes]) -> None:
        """Write values to the table node_state, and commit the open transaction."""
        write_state(self.connection, values)
        self.connection.commit()
        self._empty_if_due()

    def begin(self, batch: Batch, last: CommitRows, verifications: Sequence[Verification]) -> None:
        """Write and commit `batch` on the thread, unless one of its signatures is wrong.

        The rows `last` are written after it.
        """
        assert self._thread is not None, "asked before"
        assert self.can_begin, "one is written after the other"
        self._batch = (batch, last)
        self._job = self._thread.submit(self._write, batch, last, verifications)

    def finish(self) -> CoinSet:
        """Wait until the batch is written; return the new sums of the coins.

        If a signature was wrong, the batch is in a transaction that is still open. Raises whatever
        the writing raised.
        """
        assert self._job is not None, "one was begun"
        assert self._batch is not None, "one was begun"
        job, (batch, last), self._job, self._batch = self._job, self._batch, None, None
        summed = job.result()
        if summed is None:
            self.open()
            summed = self.write(batch)
            self._write_last(last)
        return summed

    def read(self, statement: str, keys: Sequence[Any], types: Types) -> list[Any]:
        """Return rows as `read_keys` does, from the open transaction if there is one.

        Otherwise they are as last committed, read without delay on another connection; no
        transaction is opened here. Raises DamagedError: a value has a wrong type.
        """
        if self._reader is None or (not self.is_busy and self.is_open):
            return read_keys(self.connection, statement, keys, types)
        if self._latest is None:
            self._latest = connect_to_read_latest(self._reader)
        return read_keys(self._latest, statement, keys, types)

    def close(self) -> None:
        """Close the connections once the thread has ended, whether it succeeded or not."""
        self._closing.set()
        if self._thread is not None:
            self._thread.shutdown()
        self._idle.shutdown()
        for connection in (self.connection, self._latest):
            if connection is not None:
                with suppress(SQLAlchemyError):  # closing a broken connection may fail
                    connection.close()
        if self._reader is not None:
            self._reader.dispose()

    def _write(
        self, batch: Batch, last: CommitRows, verifications: Sequence[Verification]
    ) -> CoinSet | None:
        if any(verification.finish() is not None for verification in verifications):
            return None
        self.open()
        summed = self.write(batch)
        self._write_last(last)
        self.connection.commit()
        if self._has_many_rows:  # the next batch follows, so no later time is better
            self._rows = 0
            self._checkpoint()
        self._empty_if_due()
        return summed

    def _write_last(self, last: CommitRows) -> None:
        self._rows += len(last)
        last.write(self.connection)

    @property
    def _has_many_rows(self) -> bool:
        return self._reader is not None and self._rows >= CHECKPOINT_ROWS

    @property
    def _is_log_long(self) -> bool:
        return self._log.size > LOG_BYTES_LONG

    def _empty_if_due(self) -> None:
        """Have the log emptied on the thread for it, unless it is still at that."""
        if self._emptying is not None:
            if not self._emptying.done():
                return  # next time, with these rows too; its error must not be lost
            self._emptying.result()
        is_overdue = time.monotonic() > self._restarted_s + RESTART_EVERY_S and self._is_log_long
        if self._has_many_rows or is_overdue:
            self._rows = 0
            self._emptying = self._idle.submit(self._empty_log)

    def _empty_log(self) -> None:
        self._checkpoint()
        if self._is_log_long:
            self._restart_log()

    def _checkpoint(self) -> None:
        assert self._reader is not None, "there is a file"
        with self._reader.connect() as connection:
            checkpoint(connection)

    def _restart_log(self) -> None:
        """Try to have a log begun again that readers have kept from being emptied.

        If it is so long that reads pause, this is tried in a pause. No transaction waits for it.
        """
        assert self._reader is not None, "there is a file"
        self._restarted_s = time.monotonic()
        pause = self._log.pause()
        if pause.begins_in_s > AHEAD_S_MAX or self._closing.wait(pause.begins_in_s):
            return
        end_s = time.monotonic() + max(RESTART_S_MAX, pause.ends_in_s - pause.begins_in_s)
        with self._reader.connect() as connection:
            while time.monotonic() < end_s and not self._closing.is_set():
                if self._is_opening:
                    self._closing.wait(RESTART_WAIT_MS / 1000)
                elif restart_log(connection):
                    return
