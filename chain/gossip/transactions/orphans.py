"""Transactions with missing parents, kept for a while in a small bounded store."""

from dataclasses import dataclass
from typing import Final

from chain.gossip.events import LinkId
from chain.primitives.numbers import SECOND_US, Hash32
from chain.primitives.transaction import Transaction

ORPHANS_MAX: Final = 100  # Bitcoin: DEFAULT_MAX_ORPHAN_TRANSACTIONS
ORPHAN_BYTES_MAX: Final = 1_000_000  # of all orphans
ORPHANS_PER_LINK_MAX: Final = 25
ORPHAN_AGE_S_MAX: Final = 300
MISSING_MAX: Final = 25  # parents requested; honest chains of unconfirmed transactions have fewer


@dataclass(frozen=True, slots=True)
class Orphan:
    """An orphan transaction, and the link that sent it."""

    transaction: Transaction
    link: LinkId
    missing: tuple[Hash32, ...]  # txids
    since_us: int


class Orphans:
    """A bounded store; when it is full, the link with the most orphans loses its oldest."""

    def __init__(self) -> None:
        self._by_wtxid: dict[Hash32, Orphan] = {}
        self._by_parent: dict[Hash32, dict[Hash32, None]] = {}
        self.size = 0  # bytes

    def add(self, orphan: Orphan) -> bool:
        """Keep an orphan; return whether it is new and was kept."""
        wtxid = orphan.transaction.wtxid
        if wtxid in self._by_wtxid or len(orphan.missing) > MISSING_MAX:
            return False
        self._by_wtxid[wtxid] = orphan
        self.size += len(orphan.transaction.raw)
        for txid in orphan.missing:
            self._by_parent.setdefault(txid, {})[wtxid] = None
        self._expire(orphan.since_us)
        while self._is_over(orphan.link):
            self._drop_one(orphan.link)
        return wtxid in self._by_wtxid

    def take_children(self, txid: Hash32) -> list[Orphan]:
        """Remove and return the orphans that wait for `txid`, oldest first."""
        return [self._remove(wtxid) for wtxid in list(self._by_parent.get(txid, ()))]

    def drop_link(self, link: LinkId) -> None:
        """Remove the orphans that a link sent."""
        for wtxid in [key for key, orphan in self._by_wtxid.items() if orphan.link == link]:
            self._remove(wtxid)

    def has(self, wtxid: Hash32) -> bool:
        """Return whether a transaction waits here."""
        return wtxid in self._by_wtxid

    def __len__(self) -> int:
        return len(self._by_wtxid)

    def _is_over(self, link: LinkId) -> bool:
        share = sum(orphan.link == link for orphan in self._by_wtxid.values())
        full = len(self._by_wtxid) > ORPHANS_MAX or self.size > ORPHAN_BYTES_MAX
        return full or share > ORPHANS_PER_LINK_MAX

    def _expire(self, now_us: int) -> None:
        horizon_us = now_us - ORPHAN_AGE_S_MAX * SECOND_US
        for wtxid in [key for key, kept in self._by_wtxid.items() if kept.since_us < horizon_us]:
            self._remove(wtxid)

    def _drop_one(self, newest: LinkId) -> None:
        """Drop the oldest orphan of the link with the most; in a tie, the newest link."""
        counts: dict[LinkId, int] = {newest: 0}
        for orphan in self._by_wtxid.values():
            counts[orphan.link] = counts.get(orphan.link, 0) + 1
        greedy = max(counts, key=lambda link: counts[link])
        self._remove(next(key for key, kept in self._by_wtxid.items() if kept.link == greedy))

    def _remove(self, wtxid: Hash32) -> Orphan:
        orphan = self._by_wtxid.pop(wtxid)
        self.size -= len(orphan.transaction.raw)
        for txid in orphan.missing:
            children = self._by_parent.get(txid)
            if children is not None:
                children.pop(wtxid, None)
                if not children:
                    del self._by_parent[txid]
        return orphan
