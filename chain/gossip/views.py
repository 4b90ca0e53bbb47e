"""Interfaces to the rest of the node that the core reads: the chain, the mempool and randomness."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from chain.consensus.entry import BlockTreeEntry
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction

T = TypeVar("T")


class ChainView(Protocol):
    """The tree of headers and the stored blocks; read from the driver's thread."""

    @property
    def tip(self) -> BlockTreeEntry:
        """The last block of the best chain."""

    @property
    def best_header(self) -> BlockTreeEntry:
        """The valid header with the most work, with or without its block."""

    def get(self, block_id: Hash32, /) -> BlockTreeEntry | None:
        """Return the tree entry of a header, or None."""

    def has_block(self, block_id: Hash32, /) -> bool:
        """Return whether the block itself is stored."""

    def has_data(self, entry: BlockTreeEntry, /) -> bool:
        """Return whether an entry's block is stored, without a search (Core: BLOCK_HAVE_DATA)."""


class PoolItem(Protocol):
    """A transaction in the mempool."""

    @property
    def transaction(self) -> Transaction:
        """The transaction."""

    @property
    def fee(self) -> int:
        """The fee in grains."""

    @property
    def vsize(self) -> int:
        """The virtual bytes that fees are paid for."""


class PoolView(Protocol):
    """The mempool; read from the driver's thread."""

    def by_wtxid(self, wtxid: Hash32, /) -> PoolItem | None:
        """Return the transaction with this witness id."""

    def by_txid(self, txid: Hash32, /) -> PoolItem | None:
        """Return the transaction with this id."""

    def wtxids(self) -> Sequence[Hash32]:
        """Return the wtxids of all transactions, parents before children."""

    def feerate_min(self, now: int, /) -> int:
        """Return the pool's current minimum fee rate in grains per 1000 vbytes."""


class RandomSource(Protocol):
    """A source of random numbers: random.SystemRandom in the node, a seeded Random in tests."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number from `a` to `b`."""

    def expovariate(self, lambd: float, /) -> float:
        """Return a number from the exponential distribution of mean 1 / `lambd`."""

    def choice(self, seq: Sequence[T], /) -> T:
        """Return a random element of `seq`, which is not empty."""
