"""The mempool as another process follows it: from the rows of one version to those of a later one.

Nothing that was given out is changed: a later version shares with the earlier one the entries that
are the same in both. So a reader sees a version as of one instant, however long the reading takes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from chain.consensus.coin import Coin
from chain.ledger.db.pool_rows import SavedRows
from chain.node.entry import PoolEntry
from chain.node.journal import Added, Change, Connected, Disconnected, Removed, Repriced
from chain.node.mempool import RemovalReason
from chain.node.packages import Entries, ancestors, attach, descendants, detach, reprice
from chain.node.pool import Pool
from chain.node.pool_store import SavedEntry, saved_deltas, saved_entry
from chain.primitives.numbers import Amount, Hash32, OutPoint, outpoint_txid


class PoolRows(Protocol):
    """What a snapshot of the database holds of the mempool, and its coins."""

    def all(self) -> SavedRows:
        """Return all rows."""

    def some(self, numbers: Sequence[int], /) -> list[tuple[Any, ...]]:
        """Return those of these rows of the pool that exist, in order of arrival."""

    def coins(self, points: Sequence[OutPoint], /) -> dict[OutPoint, Coin]:
        """Return those of these coins that are unspent at the tip."""


@dataclass(frozen=True, slots=True)
class FollowedPool:
    """The mempool and the fee deltas of one version; never changed."""

    pool: Pool = field(default_factory=Pool)
    deltas: Mapping[Hash32, int] = field(default_factory=dict)


def load_pool(rows: PoolRows, known: Pool | None = None) -> FollowedPool:
    """Return the mempool of a snapshot; what is `known` of it is not decoded again.

    A damaged row is left out, and so is what spends its coins.
    """
    saved = rows.all()
    deltas = saved_deltas(saved)
    edit = _Edit(Pool(), deltas, rows)
    edit.add(_read_entry(row, known) for row in saved.pool)
    return FollowedPool(edit.pool, deltas)


def follow_pool(
    before: FollowedPool, changes: Iterable[Change], rows: PoolRows, known: Pool | None = None
) -> FollowedPool:
    """Return the mempool of a snapshot that is ahead of another one by these changes.

    What is `known` of the new transactions is not decoded.
    """
    net = _net(changes)
    if net.is_reorganised:
        return load_pool(rows, before.pool)
    if not net.removed and not net.added and not net.deltas:
        return before
    deltas = {**before.deltas, **net.deltas}
    deltas = {txid: grains for txid, grains in deltas.items() if grains}
    edit = _Edit(before.pool.copy(), deltas, rows)
    edit.remove(net.removed)
    edit.add(_read_entry(row, known) for row in rows.some(list(net.added.values())))
    edit.reprice(net.deltas)
    return FollowedPool(edit.pool, deltas)


@dataclass(slots=True)
class _Net:
    """Changes without what came and went again."""

    removed: dict[Hash32, RemovalReason] = field(default_factory=dict)
    added: dict[Hash32, int] = field(default_factory=dict)  # numbers of rows
    deltas: dict[Hash32, int] = field(default_factory=dict)
    is_reorganised: bool = False


def _net(changes: Iterable[Change]) -> _Net:
    net = _Net()
    for change in changes:
        match change:
            case Added():
                net.added[change.txid] = change.number
            case Removed():
                if net.added.pop(change.txid, None) is None:
                    net.removed[change.txid] = change.reason
            case Repriced():
                net.deltas[change.txid] = change.grains
            case Disconnected():
                net.is_reorganised = True
            case Connected():
                pass
    return net


class _Edit:
    """A pool in the making: entries of the version before are copied before they change."""

    def __init__(self, pool: Pool, deltas: Mapping[Hash32, int], rows: PoolRows) -> None:
        self.pool = pool
        self._deltas = deltas
        self._rows = rows
        self._own: set[Hash32] = set()  # entries that no other version has

    def remove(self, removed: Mapping[Hash32, RemovalReason]) -> None:
        """Remove transactions; children of confirmed ones spend coins of the chain now."""
        found = (self.pool.get(txid) for txid in removed)
        entries = {entry.txid: entry for entry in found if entry is not None}
        for entry in list(entries.values()):
            if entry.ancestors.count > 1:
                self._take(ancestors(self.pool, entry.transaction))
            if entry.descendants.count > 1:
                self._take(descendants(self.pool, [entry]))
        orphaned: dict[Hash32, PoolEntry] = {}
        for txid, entry in entries.items():
            if removed[txid] is RemovalReason.CONFIRMED:
                orphaned.update((c.txid, c) for c in self.pool.children(entry.transaction))
        current = (self.pool.get(txid) for txid in entries)
        detach(self.pool, {entry.txid: entry for entry in current if entry is not None})
        self._confirm_coins([entry for txid, entry in orphaned.items() if txid not in entries])

    def add(self, saved: Iterable[SavedEntry | PoolEntry]) -> None:
        """Append transactions, parents first."""
        listed = list(saved)
        coins = self._rows.coins(self._points(listed))
        for one in listed:
            entry = self._entry(one, coins)
            if entry is None:
                continue
            delta = self._deltas.get(entry.txid, 0)
            if delta or entry.modified_fee != entry.fee:
                entry.set_delta(delta)
            above = self._take(ancestors(self.pool, entry.transaction))
            attach(self.pool, entry, above)
            self._own.add(entry.txid)

    def reprice(self, deltas: Mapping[Hash32, int]) -> None:
        """Set fee deltas that changed."""
        for txid, grains in deltas.items():
            entry = self.pool.get(txid)
            if entry is not None:
                self._take(ancestors(self.pool, entry.transaction))
                self._take(descendants(self.pool, [entry]))
                reprice(self.pool, self._take({txid: entry})[txid], grains)

    def _take(self, entries: Entries) -> Entries:
        """Return these entries as ones that may be changed."""
        taken: Entries = {}
        for txid, entry in entries.items():
            if txid not in self._own:
                self.pool.replace(entry.copied())
                self._own.add(txid)
            mine = self.pool.get(txid)
            assert mine is not None, "only entries of the pool are taken"
            taken[txid] = mine
        return taken

    def _points(self, listed: Iterable[SavedEntry | PoolEntry]) -> list[OutPoint]:
        """Return the coins to look up in the chain: those that no transaction here creates."""
        new = [one.transaction for one in listed if one.transaction is not None]
        here = {tx.txid for tx in new}
        return [
            txin.outpoint
            for tx in new
            for txin in tx.inputs
            if (txid := outpoint_txid(txin.outpoint)) not in here and self.pool.get(txid) is None
        ]

    def _entry(
        self, one: SavedEntry | PoolEntry, coins: Mapping[OutPoint, Coin]
    ) -> PoolEntry | None:
        """Return a new entry; None if it is damaged, or a coin is missing."""
        transaction = one.transaction
        if transaction is None:
            return None
        found = [self.pool.coin(i.outpoint) or coins.get(i.outpoint) for i in transaction.inputs]
        spent = tuple(coin for coin in found if coin is not None)
        if len(spent) < len(found):
            return None
        if isinstance(one, PoolEntry):
            entry = one.copied()
            entry.coins = spent
            return entry
        fee = Amount(sum(coin.value for coin in spent) - transaction.output_value)
        return PoolEntry(transaction, spent, fee, time=one.time, height=one.height)

    def _confirm_coins(self, children: Sequence[PoolEntry]) -> None:
        """Look up again the coins that came from transactions which are in the chain now."""
        mine = self._take({child.txid: child for child in children}).values()
        coins = self._rows.coins(self._points(mine))
        for entry in mine:
            points = [txin.outpoint for txin in entry.transaction.inputs]
            entry.coins = tuple(
                coins.get(point) or coin for point, coin in zip(points, entry.coins, strict=True)
            )


def _read_entry(row: tuple[Any, ...], known: Pool | None) -> SavedEntry | PoolEntry:
    """Return a row's transaction, as it is known or else decoded."""
    _, wtxid, _, raw, time, height, _ = row
    entry = None if known is None else known.get_by_wtxid(wtxid)
    if entry is None or (raw, time, height) != (entry.transaction.raw, entry.time, entry.height):
        return saved_entry(row)
    return entry
