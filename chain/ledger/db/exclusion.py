"""Blocks that the user excluded although they are valid (Bitcoin: invalidateblock)."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from chain.consensus.entry import BlockTreeEntry
from chain.ledger.db.engine import read_keys, read_rows, write_rows
from chain.ledger.errors import DamagedError
from chain.primitives.numbers import Hash32, id_text

EXCLUDED_MAX: Final = 100  # each with all of its descendants
DISCONNECTED_BYTES_MAX: Final = 64_000_000  # of blocks disconnected at once, held in memory
_ID_BYTES: Final = 32


class ExclusionError(Exception):
    """A block cannot be excluded; the message says why. Nothing was changed."""


def check_exclusion(
    connection: Connection, tip: BlockTreeEntry, roots: Sequence[BlockTreeEntry]
) -> None:
    """Check that these blocks can be excluded. Raises ExclusionError."""
    if any(root.parent is None for root in roots):
        raise ExclusionError("the genesis block cannot be excluded")
    if len(roots) > EXCLUDED_MAX:
        raise ExclusionError(f"at most {EXCLUDED_MAX} blocks can be excluded")
    lowest = min((r.height for r in roots if r.is_ancestor_of(tip)), default=tip.height + 1)
    query = "SELECT CAST(coalesce(sum(length(b.raw)), 0) AS BIGINT)"
    query += " FROM chain c JOIN blocks b ON b.id = c.id"
    [(size,)] = read_rows(connection, f"{query} WHERE c.height >= ?", (lowest,), (int,))
    if size > DISCONNECTED_BYTES_MAX:
        raise ExclusionError(
            f"that would disconnect {size} bytes of blocks, over {DISCONNECTED_BYTES_MAX}:"
            " start with a later block"
        )


def read_excluded(connection: Connection) -> list[Hash32]:
    """Return the excluded blocks, without their descendants.

    Raises DamagedError.
    """
    query = "SELECT value FROM meta WHERE name = 'excluded'"
    for (ids,) in read_rows(connection, query, (), (bytes,)):
        return [Hash32(ids[at : at + _ID_BYTES]) for at in range(0, len(ids), _ID_BYTES)]
    return []


def write_excluded(connection: Connection, ids: Sequence[Hash32]) -> None:
    """Store which blocks are excluded; if none is, the table has no such entry."""
    write_rows(connection, "DELETE FROM meta WHERE name = ?", [("excluded",)])
    if ids:
        row = ("excluded", b"".join(ids))
        write_rows(connection, "INSERT INTO meta (name, value) VALUES (?, ?)", [row])


def read_sequences(
    connection: Connection, entries: Sequence[BlockTreeEntry]
) -> list[tuple[BlockTreeEntry, int]]:
    """Return complete blocks with their places in that order. Raises DamagedError."""
    query = "SELECT id, sequence FROM headers WHERE sequence IS NOT NULL AND id IN"
    rows = read_keys(connection, query, [entry.id for entry in entries], (bytes, int))
    places = {bytes(block_id): int(sequence) for block_id, sequence in rows}
    for entry in entries:
        if entry.id not in places:
            raise DamagedError(f"header {id_text(entry.id)} is damaged")
    return [(entry, places[entry.id]) for entry in entries]
