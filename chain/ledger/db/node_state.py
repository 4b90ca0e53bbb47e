"""The table `node_state`: values by name, the version of the database among them.

A version is (epoch, sequence). Each start of a writer makes a new epoch; each commit increments the
sequence. After a power cut or in a restored copy a sequence may be used again, but never within one
epoch: a reader that finds another epoch must read everything again.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection

from chain.ledger.db.engine import delete_keys, read_rows, write_rows

_COUNTER_BYTES: Final = 8
_RANDOM_BYTES: Final = 16
_SEQUENCE_BYTES: Final = 8
_EPOCH: Final = "epoch"
_SEQUENCE: Final = "sequence"
_TEXT: Final = re.compile(r"([0-9a-f]{48})\.([0-9]{1,18})")
_READ_VERSION: Final = (
    "SELECT e.value, s.value FROM node_state e, node_state s"
    " WHERE e.name = 'epoch' AND s.name = 'sequence'"
)
_READ: Final = "SELECT name, value FROM node_state"
_DELETE: Final = "DELETE FROM node_state WHERE name IN"
_INSERT: Final = "INSERT INTO node_state (name, value) VALUES (?, ?)"


@dataclass(frozen=True, slots=True)
class Version:
    """The version of the database. `epoch` is compared whole: a counter and 128 random bits."""

    epoch: bytes
    sequence: int

    def __str__(self) -> str:
        """Return it as the API shows it: the epoch in hex, a point, the sequence."""
        return f"{self.epoch.hex()}.{self.sequence}"

    @property
    def counter(self) -> int:
        """How many writers there were before; the order of epochs in one database."""
        return int.from_bytes(self.epoch[:_COUNTER_BYTES], "big")

    def is_before(self, other: "Version") -> bool:
        """Return whether `other` is a later one of the same epoch."""
        return self.epoch == other.epoch and self.sequence < other.sequence

    def includes(self, other: "Version") -> bool:
        """Return whether this version has everything that `other` had, and survived.

        A later epoch went on from what was left of the earlier one.
        """
        if self.epoch == other.epoch:
            return self.sequence >= other.sequence
        return self.counter > other.counter

    def next(self) -> "Version":
        """Return the version after one more commit."""
        return replace(self, sequence=self.sequence + 1)


def read_state(connection: Connection) -> dict[str, bytes]:
    """Return all values by name, without those of a wrong type, which only damage causes."""
    return {
        name: value
        for name, value in read_rows(connection, _READ)
        if isinstance(name, str) and isinstance(value, bytes)
    }


def write_state(connection: Connection, values: Mapping[str, bytes]) -> None:
    """Write values by name; all others are unchanged."""
    delete_keys(connection, _DELETE, list(values))
    write_rows(connection, _INSERT, list(values.items()))


def version_in(state: Mapping[str, bytes]) -> Version:
    """Return the version among all values."""
    return _version(state)


def parse_version(text: str) -> Version | None:
    """Return the version that `str` wrote, None for any other text."""
    match = _TEXT.fullmatch(text)
    return None if match is None else Version(bytes.fromhex(match[1]), int(match[2]))


def read_version(connection: Connection) -> Version:
    """Return the version of the open snapshot."""
    for epoch, sequence in read_rows(connection, _READ_VERSION):
        if isinstance(epoch, bytes) and isinstance(sequence, bytes):
            return Version(epoch, _number(sequence))
    return _version(read_state(connection))  # of a new database, or a damaged one


def begin_epoch(connection: Connection) -> Version:
    """Start the epoch of a new writer; return the version of this transaction.

    The journal is of earlier epochs, so it is emptied.
    """
    before = _version(read_state(connection))
    counter = int.from_bytes(before.epoch[:_COUNTER_BYTES], "big") + 1
    epoch = (counter % (1 << 8 * _COUNTER_BYTES)).to_bytes(_COUNTER_BYTES, "big")
    version = Version(epoch + secrets.token_bytes(_RANDOM_BYTES), before.sequence + 1)
    write_state(connection, {_EPOCH: version.epoch})
    write_sequence(connection, version.sequence)
    connection.exec_driver_sql("DELETE FROM journal")
    return version


def write_sequence(connection: Connection, sequence: int) -> None:
    """Write the sequence of the open transaction's commit."""
    write_state(connection, {_SEQUENCE: sequence.to_bytes(_SEQUENCE_BYTES, "big")})


def _version(state: Mapping[str, bytes]) -> Version:
    return Version(state.get(_EPOCH, b""), _number(state.get(_SEQUENCE, b"")))


def _number(sequence: bytes) -> int:
    """Return a sequence as a number; damage must not stop a node."""
    return int.from_bytes(sequence[-_SEQUENCE_BYTES:], "big") % (1 << 62)
