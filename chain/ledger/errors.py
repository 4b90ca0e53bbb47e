"""Why a ledger cannot be used; each is one line that a person can act on."""

from sqlalchemy.exc import SQLAlchemyError

from chain.errors import ShownError, UsageError


class LedgerError(ShownError):
    """The ledger cannot be opened or used any longer."""


class DatabaseURLError(LedgerError, UsageError):
    """A text that names no database which groat can use."""


class LockedError(LedgerError):
    """Another process has the ledger open."""


class WrongNetworkError(LedgerError):
    """The ledger belongs to a network with other rules."""


class SchemaTooNewError(LedgerError):
    """The database was written by a later groat."""


class DamagedError(LedgerError):
    """What was read is not what was written."""


class DatabaseFailedError(LedgerError):
    """The database failed in use; nothing after the last commit is kept, and nothing more is done.

    The ledger must be opened anew: going on could commit half a block. `verb` says
    what failed: the database cannot be written, read or used.
    """

    def __init__(self, message: str, verb: str = "used") -> None:
        super().__init__(message)
        self.verb = verb


class UnavailableError(LedgerError):
    """The database cannot be read just now; trying again may help."""


class SnapshotExpiredError(LedgerError):
    """A read took longer than a read may keep the write-ahead log from being emptied."""


def first_line(error: BaseException) -> str:
    """Return what went wrong in one line: of an error of the database, in the driver's words."""
    cause = error.__cause__ if isinstance(error, SQLAlchemyError) and error.__cause__ else error
    return str(cause).splitlines()[0] if str(cause) else type(cause).__name__
