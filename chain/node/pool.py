"""The indexes of the mempool at one tip: entries by id, coin and script."""

from collections.abc import Iterable, Iterator

from chain.consensus.coin import Coin, CoinView
from chain.node.entry import UNCONFIRMED_HEIGHT, PoolEntry
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Hash32, OutPoint, outpoint, outpoint_index, outpoint_txid
from chain.primitives.script import is_unspendable
from chain.primitives.transaction import Transaction


class Pool:
    """Unconfirmed transactions, none of which conflict.

    Any thread may read while the ledger thread adds and removes: each answer is consistent, but two
    answers may differ. Another tip gets a copy.
    """

    def __init__(self) -> None:
        self._by_txid: dict[Hash32, PoolEntry] = {}  # in order of arrival, parents first
        self._by_wtxid: dict[Hash32, PoolEntry] = {}
        self._spenders: dict[OutPoint, PoolEntry] = {}
        # Tuples, never changed in place: a copy of this dict shares them with the original.
        self._by_script: dict[Hash32, tuple[PoolEntry, ...]] = {}  # by SHA-256 of the script
        self.vsize = 0  # sum of virtual bytes
        self.fees = 0
        self.usage_bytes = 0  # estimated memory

    @property
    def count(self) -> int:
        """The number of transactions."""
        return len(self._by_txid)

    def get(self, txid: Hash32) -> PoolEntry | None:
        """Return the transaction with this id."""
        return self._by_txid.get(txid)

    def get_by_wtxid(self, wtxid: Hash32) -> PoolEntry | None:
        """Return the transaction with this witness id."""
        return self._by_wtxid.get(wtxid)

    def spender(self, point: OutPoint) -> PoolEntry | None:
        """Return the transaction that spends this coin."""
        return self._spenders.get(point)

    def by_script(self, script: bytes) -> list[PoolEntry]:
        """Return the transactions that pay to `script` or spend from it, in order of arrival."""
        return self.by_script_hash(sha256(script))

    def by_script_hash(self, script_hash: Hash32) -> list[PoolEntry]:
        """Return the same by SHA-256 of the script, as Esplora's clients ask."""
        return list(self._by_script.get(script_hash, ()))

    def entries(self) -> list[PoolEntry]:
        """Return all in order of arrival, parents before children."""
        return list(self._by_txid.values())

    def oldest(self) -> Iterator[PoolEntry]:
        """Yield all in order of arrival; only for the thread that changes the pool."""
        return iter(self._by_txid.values())

    def coin(self, point: OutPoint) -> Coin | None:
        """Return the coin that a pooled transaction creates, spent in the pool or not."""
        entry = self._by_txid.get(outpoint_txid(point))
        index = outpoint_index(point)
        if entry is None or index >= len(entry.transaction.outputs):
            return None
        out = entry.transaction.outputs[index]
        if is_unspendable(out.script):
            return None
        return Coin(out.value, out.script, UNCONFIRMED_HEIGHT, from_coinbase=False)

    def parents(self, transaction: Transaction) -> list[PoolEntry]:
        """Return the entries whose coins `transaction` spends, each once."""
        found: dict[Hash32, PoolEntry] = {}
        for txin in transaction.inputs:
            parent = self._by_txid.get(outpoint_txid(txin.outpoint))
            if parent is not None:
                found[parent.txid] = parent
        return list(found.values())

    def children(self, transaction: Transaction) -> list[PoolEntry]:
        """Return the entries that spend coins of `transaction`, each once."""
        found: dict[Hash32, PoolEntry] = {}
        for index in range(len(transaction.outputs)):
            child = self._spenders.get(outpoint(transaction.txid, index))
            if child is not None:
                found[child.txid] = child
        return list(found.values())

    def add(self, entry: PoolEntry) -> None:
        """Append an entry; only on the ledger thread."""
        assert entry.txid not in self._by_txid, "a transaction is in the pool once"
        for txin in entry.transaction.inputs:
            assert txin.outpoint not in self._spenders, "pooled transactions never conflict"
            self._spenders[txin.outpoint] = entry
        for script_hash in entry.script_hashes:
            earlier = self._by_script.get(script_hash, ())
            self._by_script[script_hash] = (*earlier, entry)
        self._by_wtxid[entry.wtxid] = entry
        self._by_txid[entry.txid] = entry
        self.vsize += entry.vsize
        self.fees += entry.fee
        self.usage_bytes += entry.usage_bytes

    def replace(self, entry: PoolEntry) -> None:
        """Put this entry in the place of the one for the same transaction, with the same coins."""
        before = self._by_txid[entry.txid]
        self._by_txid[entry.txid] = self._by_wtxid[entry.wtxid] = entry
        for txin in entry.transaction.inputs:
            self._spenders[txin.outpoint] = entry
        for script_hash in entry.script_hashes:
            self._by_script[script_hash] = tuple(
                entry if each is before else each for each in self._by_script[script_hash]
            )

    def remove(self, entries: Iterable[PoolEntry]) -> None:
        """Remove entries; only on the ledger thread."""
        touched: dict[Hash32, set[Hash32]] = {}
        for entry in entries:
            del self._by_txid[entry.txid]
            del self._by_wtxid[entry.wtxid]
            for txin in entry.transaction.inputs:
                del self._spenders[txin.outpoint]
            for script_hash in entry.script_hashes:
                if len(self._by_script[script_hash]) == 1:
                    del self._by_script[script_hash]
                else:
                    touched.setdefault(script_hash, set()).add(entry.txid)
            self.vsize -= entry.vsize
            self.fees -= entry.fee
            self.usage_bytes -= entry.usage_bytes
        for (
            script_hash,
            removed_txids,
        ) in touched.items():  # each once: one script may have thousands
            left = tuple(
                entry for entry in self._by_script[script_hash] if entry.txid not in removed_txids
            )
            if left:
                self._by_script[script_hash] = left
            else:
                del self._by_script[script_hash]

    def copy(self) -> "Pool":
        """Return another pool with the same entries."""
        other = Pool()
        other._by_txid = self._by_txid.copy()
        other._by_wtxid = self._by_wtxid.copy()
        other._spenders = self._spenders.copy()
        other._by_script = self._by_script.copy()
        other.vsize, other.fees = self.vsize, self.fees
        other.usage_bytes = self.usage_bytes
        return other


class PoolCoins:
    """The coins of a ledger and a pool; includes coins that the pool spends.

    The pool's coins have UNCONFIRMED_HEIGHT.
    """

    def __init__(self, pool: Pool, below: CoinView) -> None:
        self._pool = pool
        self._below = below

    def get(self, point: OutPoint, /) -> Coin | None:
        """Return the coin, or None if it does not exist."""
        return self._pool.coin(point) or self._below.get(point)
