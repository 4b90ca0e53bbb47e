"""The writer's connection to PostgreSQL: an advisory lock, settings of its session, and COMMIT."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from chain.ledger.db.postgresql.probe import is_pooled
from chain.ledger.errors import LedgerError, LockedError, StandbyError, first_line

VERSION_MIN: Final = 15
_TRANSACTION_TIMEOUT_FROM: Final = 170_000  # version 17
LOCK_KEY: Final = 0x67726F6174  # "groat"; each database has locks of its own
TAKE_OVER_MS: Final = 5_000  # in which the server ends the old node's connection
LOCK_WAIT_S: Final = 2.0
_PAUSE_S: Final = 0.05
_LOCK_TIMEOUT_MS: Final = 10_000  # longer than a reader's snapshot, which a migration waits for
_IDLE_MS: Final = 600_000  # in a transaction, between two statements of a long reorganisation
_SETTINGS: Final = (
    "SET statement_timeout = 0",  # only the end of the connection may cancel a block
    f"SET lock_timeout = {_LOCK_TIMEOUT_MS}",
    f"SET idle_in_transaction_session_timeout = {_IDLE_MS}",
    "SET idle_session_timeout = 0",
    "SET default_transaction_isolation = 'read committed'",
    "SET default_transaction_read_only = off",
    # How long the server keeps the connection, and the lock, of a machine that went away.
    "SET tcp_keepalives_idle = 30",
    "SET tcp_keepalives_interval = 10",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = 60000",
    # An acknowledged block is on the server's disk, and on a synchronous standby's if there is one.
    "SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')"
    " WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)",
)
_IS_STANDBY: Final = "the database is a standby, which nobody can write: promote it first"
_STANDING: Final = "SELECT pg_walfile_name(pg_current_wal_lsn()), to_regclass('node_state')::text"
_EPOCH: Final = "SELECT value FROM node_state WHERE name = 'epoch'"
_WITNESS_S: Final = 3  # in which a host must answer
_HOLDERS: Final = (
    "SELECT a.pid, coalesce(host(a.client_addr), 'this machine') FROM pg_locks l"
    " JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND l.classid = %s AND l.objid = %s AND l.objsubid = 1"
)


@dataclass(frozen=True, slots=True, order=True)
class Standing:
    """How new a primary's data are: a promotion begins a timeline, a node's start an epoch."""

    timeline: int
    epoch: int  # its counter


def newer_primary(hosts: Sequence[Mapping[str, Any]], mine: Standing) -> str | None:
    """Return what is known of a primary that is newer; None if no host that answers is one.

    `hosts` are psycopg's options of a connection to each.
    """
    for options in hosts:
        try:
            with psycopg.connect(**options) as connection:
                connection.read_only = True
                theirs = _standing(connection)
        except psycopg.Error:
            continue  # it cannot say anything
        if theirs is not None and mine < theirs:
            return f"{options['host']}:{options.get('port', 5432)} is a newer primary"
    return None


def _standing(connection: "psycopg.Connection[Any]") -> Standing | None:
    """Return how new the data are; None on a standby."""
    [in_recovery] = connection.execute("SELECT pg_is_in_recovery()").fetchone() or [True]
    if in_recovery:
        return None
    [(file, table)] = connection.execute(_STANDING).fetchall()
    epoch = b""
    if table is not None:
        for (value,) in connection.execute(_EPOCH):
            epoch = value
    return Standing(int(file[:8], 16), int.from_bytes(epoch[:8], "big"))


class WriterConnection(psycopg.Connection[Any]):
    """A connection whose commits are certain, or fail."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - the base class's
        super().__init__(*args, **options)
        self.hosts: list[dict[str, Any]] = []  # of the URL, if it names several
        self._notices: list[str] = []
        self.add_notice_handler(self._note)

    @classmethod
    def opened(
        cls, _dialect: object, _record: object, args: list[Any], options: dict[str, Any]
    ) -> "WriterConnection":
        """Connect; a hook of SQLAlchemy's."""
        connection = cls.connect(*args, **options)
        connection.hosts = _hosts(options)
        return connection

    def standing(self) -> Standing:
        """Return how new the data are. The connection must be a primary's."""
        standing = _standing(self)
        if standing is None:
            raise StandbyError(_IS_STANDBY)
        return standing

    def commit(self) -> None:
        """Commit. Raises OperationalError also if the server has something to say about it.

        A wait for a synchronous standby that is cancelled ends in a warning, and a commit that
        may be lost with the server. COMMIT of a failed transaction rolls it back, and is no error.
        """
        if self.info.transaction_status is psycopg.pq.TransactionStatus.INERROR:
            raise psycopg.OperationalError("a failed transaction cannot be committed")
        self._notices.clear()
        super().commit()
        if self._notices:
            raise psycopg.OperationalError(f"COMMIT is not certain: {self._notices[0]}")

    def prepare(self, _record: object, *, take_over: bool) -> None:
        """Make this the connection of the only writer; a hook of SQLAlchemy's.

        Raises LedgerError: LockedError, StandbyError; it cannot be.
        """
        try:
            self._check_direct()
            for statement in _SETTINGS:
                self.execute(statement)
            if self.info.server_version >= _TRANSACTION_TIMEOUT_FROM:
                self.execute("SET transaction_timeout = 0")
            self._check_server()
            self._lock(take_over=take_over)
            super().commit()
        except psycopg.Error as error:
            self.close()
            raise LedgerError(f"cannot open the ledger: {first_line(error)}") from error
        except LedgerError:
            self.close()
            raise

    def _check_direct(self) -> None:
        """Refuse a pooler before any setting, which it could leave to its other clients."""
        self.autocommit = True  # some poolers have no transactions
        if is_pooled(self):
            raise LedgerError(
                "the database URL leads to a connection pooler, where a lock may be anybody's: the"
                " node needs the server itself"
            )
        self.autocommit = False

    def _check_server(self) -> None:
        if self.info.server_version < VERSION_MIN * 10_000:
            raise LedgerError(f"the ledger needs PostgreSQL {VERSION_MIN} or later")
        newer = newer_primary(self.hosts, self.standing())
        if newer is not None:
            raise LedgerError(
                f"this primary is an old one, as {newer}: make it a standby (pg_rewind) first"
            )

    def _lock(self, *, take_over: bool) -> None:
        """Take the lock of the only writer. Raises LockedError."""
        if self._takes_lock(0 if take_over else LOCK_WAIT_S):
            return
        holders = self.execute(_HOLDERS, (LOCK_KEY >> 32, LOCK_KEY & 0xFFFFFFFF)).fetchall()
        if take_over:
            for pid, _ in holders:
                self._one(f"SELECT pg_terminate_backend({pid:d}, {TAKE_OVER_MS})")
            if self._takes_lock(LOCK_WAIT_S):
                return
        where = ", ".join(sorted({host for _, host in holders})) or "somewhere"
        raise LockedError(
            f"another process is using the database (connected from {where}): stop it first, or if"
            " it cannot be reached any more, run `groat node --take-over` once"
        )

    def _takes_lock(self, wait_s: float) -> bool:
        """Return whether the lock was taken; the server may not know yet that a process ended."""
        end_s = time.monotonic() + wait_s
        while not self._one(f"SELECT pg_try_advisory_lock({LOCK_KEY})"):
            if time.monotonic() >= end_s:
                return False
            time.sleep(_PAUSE_S)
        return True

    def _one(self, statement: str) -> Any:  # noqa: ANN401 - a value of any type
        row = self.execute(statement).fetchone()
        assert row is not None, "it has one row"
        return row[0]

    def _note(self, notice: psycopg.errors.Diagnostic) -> None:
        self._notices.append((notice.message_primary or "").partition("\n")[0])


def _hosts(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the options of a connection to each host, if there are several."""
    names = str(options.get("host", "")).split(",")
    ports = str(options.get("port", "")).split(",")
    if len(names) < 2:
        return []
    each = ports * len(names) if len(ports) == 1 else ports
    shared = {**options, "connect_timeout": _WITNESS_S, "target_session_attrs": "any"}
    shared["application_name"] = "groat witness"
    return [
        {**shared, "host": name, "port": port or 5432}
        for name, port in zip(names, each, strict=False)
    ]
