"""What the core reads of the rest of the node, and where its chance comes from."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from chain.consensus.entry import BlockTreeEntry
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction

T = TypeVar("T")


class ChainView(Protocol):
    """The tree of headers and the blocks that are there; read from the driver's thread."""

    @property
    def tip(self) -> BlockTreeEntry:
        """The last block of the best chain."""

    @property
    def best_header(self) -> BlockTreeEntry:
        """The valid header with the most work, with or without its block."""

    def get(self, block_id: Hash32, /) -> BlockTreeEntry | None:
        """Return a header's place in the tree."""

    def has_block(self, block_id: Hash32, /) -> bool:
        """Tell whether the block itself is stored."""


class PoolItem(Protocol):
    """A transaction in the mempool."""

    @property
    def transaction(self) -> Transaction:
        """The transaction."""

    @property
    def fee(self) -> int:
        """What it pays, in grains."""


class PoolView(Protocol):
    """The mempool; read from the driver's thread."""

    def by_wtxid(self, wtxid: Hash32, /) -> PoolItem | None:
        """Return the transaction with this witness id."""

    def by_txid(self, txid: Hash32, /) -> PoolItem | None:
        """Return the transaction with this id."""

    def wtxids(self) -> Sequence[Hash32]:
        """Return the ids of all, parents before children."""

    def feerate_min(self, now: int, /) -> int:
        """Return the grains for 1000 vbytes below which the pool takes nothing now."""


class RandomSource(Protocol):
    """Where random numbers come from: random.SystemRandom in the node, a seeded Random in tests."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number from `a` to `b`."""

    def expovariate(self, lambd: float, /) -> float:
        """Return a number from the exponential distribution of mean 1 / `lambd`."""

    def choice(self, seq: Sequence[T], /) -> T:
        """Return one of `seq`, which is not empty."""
