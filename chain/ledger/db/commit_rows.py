"""The last rows of each commit: its version, and the rows of the commit hook."""

from collections.abc import Sized
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from chain.ledger.db.node_state import write_sequence


class HookRows(Sized, Protocol):
    """Rows of a commit in tables that are not the ledger's own."""

    def write(self, connection: Connection) -> None:
        """Write them in the open transaction."""


@dataclass(frozen=True, slots=True)
class CommitRows:
    """The rows that are written last in each transaction."""

    sequence: int  # of its version
    hook_rows: HookRows | None

    def __len__(self) -> int:
        """How many rows there are."""
        return 1 + (0 if self.hook_rows is None else len(self.hook_rows))

    def write(self, connection: Connection) -> None:
        write_sequence(connection, self.sequence)
        if self.hook_rows is not None:
            self.hook_rows.write(connection)
