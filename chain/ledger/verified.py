"""Transactions whose signatures were found right before their block came."""

from typing import Final

from chain.primitives.numbers import Hash32

VERIFIED_MAX: Final = 131_072  # ids in each of two generations, about 100 bytes each


class Verified:
    """Ids of such transactions, as a container; the oldest are forgotten.

    A wtxid stands for the whole transaction, its witnesses included, and by the txids in its
    outpoints for the coins that it spends, so whether its signatures are right depends on nothing
    else (Bitcoin: the script execution cache).
    """

    def __init__(self) -> None:
        self._young: set[Hash32] = set()
        self._old: set[Hash32] = set()

    def add(self, wtxid: Hash32) -> None:
        """Remember a transaction. One thread calls this."""
        self._young.add(wtxid)
        if len(self._young) >= VERIFIED_MAX:
            self._old, self._young = self._young, set()

    def clear(self) -> None:
        """Forget all: at another height, another rule might hold."""
        self._young, self._old = set(), set()

    def __contains__(self, wtxid: object) -> bool:
        return wtxid in self._young or wtxid in self._old
