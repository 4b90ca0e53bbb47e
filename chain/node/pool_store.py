"""The mempool's rows: changes of the pool that the database lacks, until the next commit.

In the order of their numbers the rows are the pool in its order: parents before children.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chain.ledger.db.pool_rows import JournalNote, PoolChanges, PoolRow, SavedRows
from chain.node.deltas import DELTA_MAX, DELTA_MIN, DELTAS_MAX
from chain.node.entry import PoolEntry
from chain.node.journal import Added, Connected, Disconnected, Removed, Repriced, Retention
from chain.node.mempool import Removal, RemovalReason
from chain.primitives.block import Block
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction, decode_transaction

_ID_BYTES: Final = 32
_TIME_MAX: Final = 1 << 40  # unix seconds; more is damage


@dataclass(frozen=True, slots=True)
class SavedEntry:
    """One row of the pool; `transaction` is None if it is damaged."""

    number: int
    txid: Hash32
    transaction: Transaction | None
    time: int = 0
    height: int = 0
    fee: int = 0


class PoolStore:
    """Collects changes of the pool, and returns them as rows; on the ledger thread."""

    def __init__(self) -> None:
        self._first, self._last = 1, 0  # numbers in use
        self._added: dict[int, PoolEntry] = {}  # by number
        self._removed: list[int] = []
        self._deltas: dict[bytes, int] = {}
        self._changes: list[bytes] = []  # encoded, in order
        self._removed_ids: set[Hash32] = set()  # in `_changes`, of what left without a block
        self.pending_bytes = 0  # of transactions that joined since the last commit
        self._state: dict[str, bytes] = {}  # as last written
        self._retention = Retention()

    @property
    def pending(self) -> int:
        """How many changes the database lacks."""
        return len(self._changes)

    def resume(self, saved: SavedRows) -> list[SavedEntry]:
        """Go on from these rows; return the transactions in them, in order."""
        entries = [saved_entry(row) for row in saved.pool]
        if entries:
            self._first = min(self._first, entries[0].number)
            self._last = max(self._last, entries[-1].number)
        self._state = dict(saved.state)
        return entries

    def add(self, entry: PoolEntry) -> None:
        """Note that an entry was appended to the pool; one with a row has it already."""
        if entry.row is None:
            self._last += 1
            self._number(entry, self._last)

    def prepend(self, entries: Sequence[PoolEntry]) -> None:
        """Note that these came back, and are before all others."""
        self._first -= len(entries)
        for number, entry in enumerate(entries, self._first):
            self._number(entry, number)

    def remove(self, removals: Iterable[Removal]) -> None:
        """Note removals; one that a block returned and a full pool evicted at once has no row."""
        for removal in removals:
            number, removal.entry.row = removal.entry.row, None
            if number is not None and self._added.pop(number, None) is None:
                self._removed.append(number)
            self._note(Removed(removal.entry.txid, removal.reason, removal.by))

    def restore(self, entry: PoolEntry, saved: SavedEntry) -> None:
        """Note that a row's transaction is in the pool; write the row again if it is wrong."""
        if (entry.time, entry.height, entry.fee) != (saved.time, saved.height, saved.fee):
            self._removed.append(saved.number)
            self._added[saved.number] = entry

    def note_dropped(self, txids: Iterable[Hash32]) -> None:
        """Note transactions of disconnected blocks that did not come back into the pool."""
        for txid in txids:
            self._note(Removed(txid, RemovalReason.REORGANISED))

    def drop(self, saved: SavedEntry, reason: RemovalReason) -> None:
        """Note that a row's transaction is not taken into the pool."""
        self._removed.append(saved.number)
        self._note(Removed(saved.txid, reason))

    def confirm(self, blocks: Iterable[Block]) -> None:
        """Note which transactions of blocks had left the pool without one since the last commit."""
        if not self._removed_ids:
            return
        for block in blocks:
            for txid in self._removed_ids.intersection(block.txids):
                self._note(Removed(txid, RemovalReason.CONFIRMED))

    def move(self, disconnected: Iterable[Hash32], connected: Iterable[Hash32]) -> None:
        """Note the ids of blocks that left and joined the best chain, in that order."""
        self._changes += [Disconnected(block_id).encode() for block_id in disconnected]
        self._changes += [Connected(block_id).encode() for block_id in connected]

    def reprice(self, deltas: Mapping[Hash32, int]) -> None:
        """Note fee deltas that changed; 0: there is none any more."""
        for txid, grains in deltas.items():
            self._deltas[txid] = grains
        self._changes += [Repriced(txid, grains).encode() for txid, grains in deltas.items()]

    def take(self, sequence: int, now: int, state: Mapping[str, bytes]) -> PoolChanges:
        """Return everything noted as the rows of one version, and forget it."""
        changes = b"".join(self._changes)
        new = {name: value for name, value in state.items() if self._state.get(name) != value}
        self._state.update(new)
        trimmed = self._retention.add(sequence, now, len(changes))
        taken = PoolChanges(
            removed=sorted(self._removed),
            added=[_row(number, entry) for number, entry in sorted(self._added.items())],
            deltas=self._deltas,
            state=new,
            note=JournalNote(sequence, now, changes, trimmed),
        )
        self._added, self._removed, self._deltas, self._changes = {}, [], {}, []
        self._removed_ids = set()
        self.pending_bytes = 0
        return taken

    def _note(self, change: Removed) -> None:
        self._changes.append(change.encode())
        if change.reason is RemovalReason.CONFIRMED:
            self._removed_ids.discard(change.txid)
        else:
            self._removed_ids.add(change.txid)

    def _number(self, entry: PoolEntry, number: int) -> None:
        entry.row = number
        self._added[number] = entry
        self.pending_bytes += len(entry.transaction.raw)
        value = sum(out.value for out in entry.transaction.outputs)
        change = Added(number, entry.txid, entry.wtxid, entry.vsize, entry.fee, value)
        self._changes.append(change.encode())


def saved_deltas(saved: SavedRows) -> dict[Hash32, int]:
    """Return the fee deltas in the database; damaged ones are left out."""
    return {
        Hash32(txid): grains
        for txid, grains in saved.deltas[:DELTAS_MAX]
        if isinstance(txid, bytes) and len(txid) == _ID_BYTES
        if isinstance(grains, int) and DELTA_MIN <= grains <= DELTA_MAX and grains
    }


def _row(number: int, entry: PoolEntry) -> PoolRow:
    raw = entry.transaction.raw
    return number, entry.wtxid, entry.txid, raw, entry.time, entry.height, entry.fee


def saved_entry(row: tuple[object, ...]) -> SavedEntry:
    """Return a row's transaction; the ids prove it, and coins and fee are computed again."""
    number, wtxid, txid, raw, time, height, fee = row
    assert isinstance(number, int), "the key of a table"
    shown = Hash32(txid) if isinstance(txid, bytes) and len(txid) == _ID_BYTES else None
    damaged = SavedEntry(number, shown or Hash32(bytes(_ID_BYTES)), None)
    if not isinstance(raw, bytes):
        return damaged
    if not (isinstance(time, int) and isinstance(height, int) and isinstance(fee, int)):
        return damaged
    try:
        transaction = decode_transaction(raw)
    except DecodeError:
        return damaged
    is_right = (transaction.wtxid, transaction.txid) == (wtxid, txid)
    if not is_right or not 0 <= time < _TIME_MAX or height < 0:
        return damaged
    return SavedEntry(number, transaction.txid, transaction, time, height, fee)
