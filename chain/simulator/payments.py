"""Transactions for blocks of a realistic size, put into all mempools without relay.

Compact blocks depend on blocks of two thousand transactions that nearly all nodes know; the relay
of transactions is measured elsewhere. Mempools share these transactions by tip: a node with a block
as its tip has all that were put on top of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from chain.consensus.coin import Coin
from chain.node.entry import PoolEntry
from chain.primitives.hashes import hash160, sha256
from chain.primitives.numbers import Amount, Hash32, OutPoint, outpoint
from chain.primitives.script import p2wpkh_script
from chain.primitives.sighash import SIGHASH_ALL, SignatureHasher
from chain.primitives.signature import public_key, sign
from chain.primitives.signature_batch import Record
from chain.primitives.transaction import Transaction, TxIn, TxOut

FEE: Final = 500  # grains for each payment
LATE_COUNT: Final = 10  # payments of each block that some nodes lack
LATE_PERCENT: Final = 13  # of nodes (SimBlock: share of failed compact blocks in a steady network)
_PRIVATE: Final = sha256(b"groat simulation")
_PUBLIC: Final = public_key(_PRIVATE)
_KEY_HASH: Final = hash160(_PUBLIC)
SCRIPT: Final = p2wpkh_script(_KEY_HASH)


@dataclass(frozen=True, eq=False, slots=True)
class SharedPool:
    """The transactions of all mempools on top of one block."""

    entries: tuple[PoolEntry, ...] = ()
    transactions: tuple[Transaction, ...] = field(init=False)
    by_wtxid: dict[Hash32, PoolEntry] = field(init=False)
    by_txid: dict[Hash32, PoolEntry] = field(init=False)

    def __post_init__(self) -> None:
        entries = self.entries
        object.__setattr__(self, "transactions", tuple(entry.transaction for entry in entries))
        object.__setattr__(self, "by_wtxid", {entry.wtxid: entry for entry in entries})
        object.__setattr__(self, "by_txid", {entry.txid: entry for entry in entries})


NO_POOL: Final = SharedPool()


class Payments:
    """Chains of payments, as many as a block has transactions; each block extends them all."""

    def __init__(self) -> None:
        self.verified = dict[Record, None]()  # signatures not yet in a block
        self._ends: list[tuple[OutPoint, Coin]] = []

    def split(self, point: OutPoint, coin: Coin, count: int) -> PoolEntry:
        """Return a payment from a coin of SCRIPT to `count` coins, the starts of the chains.

        They exist from the next block on.
        """
        share = Amount((coin.value - FEE * count) // count)
        outputs = [TxOut(share, SCRIPT)] * count
        entry = self._entry((point, coin), outputs)
        self._ends = [
            (outpoint(entry.txid, index), _coin(share, entry.height)) for index in range(count)
        ]
        return entry

    def next(self, height: int) -> tuple[PoolEntry, ...]:
        """Return the next payment of each chain, for the block after `height`."""
        entries = []
        for number, (point, coin) in enumerate(self._ends):
            value = Amount(coin.value - FEE)
            entry = self._entry((point, coin), [TxOut(value, SCRIPT)])
            self._ends[number] = (outpoint(entry.txid, 0), _coin(value, height + 1))
            entries.append(entry)
        return tuple(entries)

    def _entry(self, spent: tuple[OutPoint, Coin], outputs: Sequence[TxOut]) -> PoolEntry:
        point, coin = spent
        unsigned = Transaction(2, [TxIn(point)], outputs, 0)
        digest = SignatureHasher(unsigned).hash(0, _KEY_HASH, coin.value, SIGHASH_ALL)
        signature = sign(_PRIVATE, digest)  # which verifies it, as a mempool would
        self.verified[_PUBLIC, signature, digest, False] = None
        witness = (signature + bytes([SIGHASH_ALL]), _PUBLIC)
        signed = Transaction(2, [TxIn(point, witness=witness)], outputs, 0)
        fee = Amount(coin.value - sum(output.value for output in outputs))
        return PoolEntry(signed, (coin,), fee, time=0, height=coin.height)


def _coin(value: Amount, height: int) -> Coin:
    return Coin(value, SCRIPT, height, from_coinbase=False)  # type: ignore[arg-type]
