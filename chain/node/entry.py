"""A transaction in the mempool, with the sums over its ancestors and its descendants."""

from dataclasses import dataclass, replace
from typing import Final

from chain.consensus.coin import Coin
from chain.node.deltas import modified_fee
from chain.node.policy import RATE_VBYTES, virtual_size
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Amount, Hash32, Height
from chain.primitives.transaction import Transaction
from chain.script.sigops import sigops_cost

UNCONFIRMED_HEIGHT: Final = Height(0x7FFFFFFF)  # height of an unconfirmed coin (MEMPOOL_HEIGHT)

# Estimated memory besides the wire bytes; tests/node/test_entry.py measures how well it fits.
_ENTRY_BYTES: Final = 1000
_INPUT_BYTES: Final = 800
_OUTPUT_BYTES: Final = 340
_RATE_SHIFT: Final = 32


@dataclass(frozen=True, slots=True)
class Package:
    """The sums over a set of transactions."""

    count: int
    vsize: int
    fees: int  # as paid: what the coinbase collects
    modified_fees: int  # with the owner's deltas (prioritisetransaction)

    def plus(self, other: "Package") -> "Package":
        """Return the sums over both sets."""
        return Package(
            self.count + other.count,
            self.vsize + other.vsize,
            self.fees + other.fees,
            self.modified_fees + other.modified_fees,
        )

    def minus(self, other: "Package") -> "Package":
        """Return the sums without `other`, a subset."""
        return Package(
            self.count - other.count,
            self.vsize - other.vsize,
            self.fees - other.fees,
            self.modified_fees - other.modified_fees,
        )

    @property
    def feerate(self) -> int:
        """The feerate as paid: grains per 1000 vB, rounded down."""
        return self.fees * RATE_VBYTES // self.vsize

    @property
    def modified_feerate(self) -> int:
        """The feerate with deltas: grains per 1000 vB, rounded down."""
        return self.modified_fees * RATE_VBYTES // self.vsize

    @property
    def order(self) -> int:
        """The feerate with deltas, at a resolution fit for sorting."""
        return (self.modified_fees << _RATE_SHIFT) // self.vsize


class PoolEntry:
    """A transaction in the mempool.

    Only `alone`, `coins`, `ancestors` and `descendants` change, each by one assignment, so any
    thread may read them at any time.
    """

    __slots__ = (
        "alone",
        "ancestors",
        "coins",
        "descendants",
        "fee",
        "height",
        "row",
        "script_hashes",
        "sigops_cost",
        "time",
        "transaction",
        "txid",
        "usage_bytes",
        "vsize",
        "weight",
    )

    def __init__(
        self,
        transaction: Transaction,
        coins: tuple[Coin, ...],
        fee: Amount,
        *,
        time: int,
        height: int,
    ) -> None:
        self.transaction = transaction
        self.txid: Hash32 = transaction.txid
        self.coins = coins  # that its inputs spend; unconfirmed ones at UNCONFIRMED_HEIGHT
        self.fee = fee
        self.time = time  # of arrival, unix seconds
        self.height = height  # height of the tip on arrival
        self.row: int | None = None  # its number in the database; only for PoolStore
        self.weight = transaction.weight
        self.sigops_cost = sigops_cost(transaction, coins)
        self.vsize = virtual_size(self.weight, self.sigops_cost)
        scripts = [coin.script for coin in coins] + [out.script for out in transaction.outputs]
        self.script_hashes = tuple(map(sha256, dict.fromkeys(scripts)))  # each once
        self.usage_bytes = usage_bytes(transaction)
        self.alone = Package(1, self.vsize, fee, fee)
        self.ancestors = self.alone  # itself and its unconfirmed ancestors
        self.descendants = self.alone  # itself and its unconfirmed descendants

    @property
    def wtxid(self) -> Hash32:
        """The transaction's id that covers witnesses."""
        return self.transaction.wtxid

    def copied(self) -> "PoolEntry":
        """Return another entry of the same values, to be changed where this one is in use."""
        other = PoolEntry.__new__(PoolEntry)
        for name in PoolEntry.__slots__:
            setattr(other, name, getattr(self, name))
        return other

    def set_delta(self, grains: int) -> None:
        """Set the fee delta; the caller updates the sums of ancestors and descendants."""
        self.alone = replace(self.alone, modified_fees=modified_fee(self.fee, grains))

    @property
    def modified_fee(self) -> int:
        """The fee with its delta."""
        return self.alone.modified_fees

    @property
    def mining_feerate(self) -> int:
        """The lower of its own feerate and that of its ancestor package, in grains per 1000 vB."""
        return min(self.alone.feerate, self.ancestors.feerate)

    def __repr__(self) -> str:
        return f"PoolEntry({self.transaction!r})"


def usage_bytes(transaction: Transaction) -> int:
    """Return an estimate of the memory that a pooled transaction takes, indexes included."""
    return (
        _ENTRY_BYTES
        + len(transaction.raw)
        + _INPUT_BYTES * len(transaction.inputs)
        + _OUTPUT_BYTES * len(transaction.outputs)
    )
