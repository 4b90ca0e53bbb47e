"""Fee deltas: amounts that the user adds to fees, for ranking only (prioritisetransaction).

Bitcoin: CTxMemPool::mapDeltas. A delta counts wherever this node compares
fees: for a place in a block, in a full pool, against the fee floors and against replaced
transactions. It is never paid. It may be set before its transaction arrives.
"""

from collections.abc import Iterable
from typing import Final

from chain.primitives.numbers import Hash32

DELTAS_MAX: Final = 10_000  # transactions with a delta, in the mempool or not
DELTA_MIN: Final = -(1 << 63)
DELTA_MAX: Final = (1 << 63) - 1


class DeltasFullError(Exception):
    """The table of deltas is full; nothing was changed."""


class Deltas:
    """The deltas by txid. The ledger's thread changes them, any thread may look."""

    def __init__(self) -> None:
        self._by_txid: dict[Hash32, int] = {}
        self._changed: set[Hash32] = set()

    def __len__(self) -> int:
        return len(self._by_txid)

    def get(self, txid: Hash32) -> int:
        """Return the grains to add to a transaction's fee; 0 if it has no delta."""
        return self._by_txid.get(txid, 0)

    def all(self) -> dict[Hash32, int]:
        """Return a copy of all deltas, in the order of insertion; each is nonzero."""
        return self._by_txid.copy()

    def add(self, txid: Hash32, grains: int) -> int:
        """Add to a transaction's delta and return the new one. Raises DeltasFullError."""
        delta = _bounded(self.get(txid) + grains)
        if delta == 0:
            self._by_txid.pop(txid, None)
        elif txid not in self._by_txid and len(self._by_txid) >= DELTAS_MAX:
            raise DeltasFullError(f"at most {DELTAS_MAX} transactions can have a fee delta")
        else:
            self._by_txid[txid] = delta
        self._changed.add(txid)
        return delta

    def forget(self, txids: Iterable[Hash32]) -> None:
        """Forget the deltas of transactions that a block confirmed or conflicted with."""
        if self._by_txid:
            for txid in txids:
                if self._by_txid.pop(txid, None) is not None:
                    self._changed.add(txid)

    def take_changed(self) -> dict[Hash32, int]:
        """Return the deltas that changed since the last call; 0: there is none any more."""
        changed, self._changed = sorted(self._changed), set()
        return {txid: self.get(txid) for txid in changed}


def modified_fee(fee: int, delta: int) -> int:
    """Return the fee plus its delta, limited to 64 bits as a delta is."""
    return _bounded(fee + delta)


def _bounded(grains: int) -> int:
    return max(DELTA_MIN, min(grains, DELTA_MAX))
