"""What one transaction writes: a batch of rows, and the last rows of its commit."""

from collections.abc import Sized
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from chain.ledger.db.archive import ArchiveRows
from chain.ledger.db.coins import CoinChanges, CoinSet
from chain.ledger.db.engine import insert_values
from chain.ledger.db.index.index_writer import IndexRows
from chain.ledger.db.meta import Meta, update_meta
from chain.ledger.db.node_state import write_sequence
from chain.primitives.numbers import Hash32

_INSERT_CHAIN = "INSERT INTO chain (height, id, tx_count)"


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that take the tables from their present state to the state after `tip`."""

    archive: ArchiveRows
    heights: list[tuple[int, Hash32, int]]  # height, block id, transactions
    rows: IndexRows
    coins: CoinChanges
    summed: CoinSet  # sums before the batch
    tip: Hash32

    def __len__(self) -> int:
        """Return the number of rows, apart from a few per block."""
        return len(self.rows) + len(self.coins)

    def write(self, connection: Connection) -> CoinSet:
        """Write everything in the open transaction; return the new sums of the coins.

        Bodies come last: they fill SQLite's cache, which then has to write pages before the commit,
        and for each that changes after that, SQLite reads the log again to correct its checksums.
        Raises DamagedError.
        """
        self.archive.write_headers(connection)
        insert_values(connection, _INSERT_CHAIN, self.heights)
        self.rows.insert(connection)
        summed = self.coins.write(connection, self.summed)
        self.archive.write_bodies(connection)
        update_meta(connection, Meta(self.tip, summed))
        return summed


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
