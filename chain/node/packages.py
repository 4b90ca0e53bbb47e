"""Ancestors and descendants in the mempool, and the limits on their number and size."""

from collections.abc import Iterable

from chain.node.entry import Package, PoolEntry
from chain.node.policy import Policy, PolicyError, PolicyReason
from chain.node.pool import Pool
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction

Entries = dict[Hash32, PoolEntry]  # by txid; a dict, because its order is always the same


def ancestors(pool: Pool, transaction: Transaction) -> Entries:
    """Return a transaction's unconfirmed ancestors, without itself; it may be outside the pool."""
    found: Entries = {}
    pending = pool.parents(transaction)
    while pending:
        entry = pending.pop()
        if entry.txid not in found:
            found[entry.txid] = entry
            pending += pool.parents(entry.transaction)
    return found


def descendants(pool: Pool, entries: Iterable[PoolEntry]) -> Entries:
    """Return the entries with all their descendants."""
    found: Entries = {}
    pending = list(entries)
    while pending:
        entry = pending.pop()
        if entry.txid not in found:
            found[entry.txid] = entry
            pending += pool.children(entry.transaction)
    return found


def check_package(
    pool: Pool, entry: PoolEntry, above: Entries, replaced: Entries, policy: Policy
) -> None:
    """Check the limits of `entry` with its ancestors `above`, and of each of these with its own.

    Those `replaced` do not count. Raises PolicyError: PACKAGE (Bitcoin: CalculateMemPoolAncestors).
    """
    _check_limits(_total(entry, above), "ancestors", policy)
    for ancestor in above.values():
        grown = ancestor.descendants.plus(entry.alone)
        for replaced_entry in replaced.values():
            if ancestor.txid in ancestors(pool, replaced_entry.transaction):
                grown = grown.minus(replaced_entry.alone)
        _check_limits(grown, "descendants", policy)


def attach(pool: Pool, entry: PoolEntry, above: Entries) -> None:
    """Add an entry that has the ancestors `above` and no descendants."""
    entry.ancestors = _total(entry, above)
    entry.descendants = entry.alone
    pool.add(entry)
    for ancestor in above.values():
        ancestor.descendants = ancestor.descendants.plus(entry.alone)


def detach(pool: Pool, removed: Entries) -> Entries:
    """Remove entries from the pool; return the remaining ones that lost descendants.

    `removed` includes all descendants, or else all ancestors, of each.
    """
    shrunk: Entries = {}
    for entry in removed.values():
        above = ancestors(pool, entry.transaction) if entry.ancestors.count > 1 else {}
        for txid, ancestor in above.items():
            if txid not in removed:
                ancestor.descendants = ancestor.descendants.minus(entry.alone)
                shrunk[txid] = ancestor
        below = descendants(pool, [entry]) if entry.descendants.count > 1 else {}
        for txid, descendant in below.items():
            if txid not in removed:
                descendant.ancestors = descendant.ancestors.minus(entry.alone)
    pool.remove(removed.values())
    return shrunk


def reprice(pool: Pool, entry: PoolEntry, fee_delta: int) -> Entries:
    """Set a pooled entry's delta, and update the sums of its ancestors and descendants.

    Returns the entry and its ancestors, whose descendant feerates changed.
    """
    before = entry.alone
    entry.set_delta(fee_delta)
    after = entry.alone
    for each in descendants(pool, [entry]).values():
        each.ancestors = each.ancestors.minus(before).plus(after)
    above = {entry.txid: entry, **ancestors(pool, entry.transaction)}
    for each in above.values():
        each.descendants = each.descendants.minus(before).plus(after)
    return above


def _total(entry: PoolEntry, above: Entries) -> Package:
    total = entry.alone
    for ancestor in above.values():
        total = total.plus(ancestor.alone)
    return total


def _check_limits(package: Package, of_what: str, policy: Policy) -> None:
    if package.count > policy.package_count_max:
        limit = f"too many unconfirmed {of_what} [limit: {policy.package_count_max}]"
        raise PolicyError(PolicyReason.PACKAGE, limit)
    if package.vsize > policy.package_vbytes_max:
        limit = f"exceeds size limit of {of_what} [limit: {policy.package_vbytes_max}]"
        raise PolicyError(PolicyReason.PACKAGE, limit)
