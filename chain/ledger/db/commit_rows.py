"""The rows with which each commit ends: its version, and what others keep beside the ledger."""

from collections.abc import Sized
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from chain.ledger.db.node_state import write_sequence


class RowsBeside(Sized, Protocol):
    """Rows of other tables that belong to one commit of the ledger."""

    def write(self, connection: Connection) -> None:
        """Write them in the open transaction."""


@dataclass(frozen=True, slots=True)
class CommitRows:
    """What is written last in each transaction."""

    sequence: int  # of its version
    beside: RowsBeside | None

    def __len__(self) -> int:
        """How many rows there are."""
        return 1 + (0 if self.beside is None else len(self.beside))

    def write(self, connection: Connection) -> None:
        write_sequence(connection, self.sequence)
        if self.beside is not None:
            self.beside.write(connection)
