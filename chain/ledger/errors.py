"""Errors that make a ledger unusable; each message is one line with advice for the user."""

from sqlalchemy.exc import SQLAlchemyError

from chain.errors import ShownError, UsageError


class LedgerError(ShownError):
    """The ledger cannot be opened or used any longer."""


class DatabaseURLError(LedgerError, UsageError):
    """A text is not a database URL that groat supports."""


class LockedError(LedgerError):
    """Another process has opened the ledger."""


class NoLedgerError(LedgerError):
    """The database holds no ledger, or none that can be seen, and nothing says it was damaged."""


class RefusedError(LedgerError):
    """The database's server is there, and refuses: a name, a right, a limit; or TLS fails."""


class WrongNetworkError(LedgerError):
    """The ledger belongs to a network with different rules."""


class SchemaTooNewError(LedgerError):
    """The database was written by a newer version of groat."""


class SchemaTooOldError(LedgerError):
    """The database was written by an older version of groat, and only a node migrates it."""


class DamagedError(LedgerError):
    """The database is damaged: what was read is not what was written."""


class DatabaseFailedError(LedgerError):
    """The database failed while in use; uncommitted changes are lost.

    The ledger must be opened again: continuing could commit half a block. `verb` completes "the
    database cannot be": written, read or used.
    """

    def __init__(self, message: str, verb: str = "used") -> None:
        super().__init__(message)
        self.verb = verb


class FencedError(DatabaseFailedError):
    """Another node has become the ledger's writer; this one must not write any more."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "written")


class StandbyError(LedgerError):
    """The database is a standby, which nobody can write."""


class UnavailableError(LedgerError):
    """The database cannot be read now; a retry may succeed."""


class SnapshotExpiredError(LedgerError):
    """A read took too long: while it runs, the write-ahead log cannot be emptied."""


class ReadTooLargeError(LedgerError):
    """A snapshot would read more bytes of large values than its caller allows."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; for a database error, of the driver's."""
    cause = error.__cause__ if isinstance(error, SQLAlchemyError) and error.__cause__ else error
    return str(cause).splitlines()[0] if str(cause) else type(cause).__name__
