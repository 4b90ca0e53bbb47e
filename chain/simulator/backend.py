"""The interface of a simulated node's ledger and mempool."""

from typing import Protocol

from chain.consensus.entry import BlockTreeEntry
from chain.gossip.views import ChainView, PoolView
from chain.node.ledger_requests import LedgerReply, LedgerRequest
from chain.primitives.block import Block
from chain.primitives.transaction import Transaction


class Backend(Protocol):
    """Ledger and mempool of one node; the ledger survives a crash."""

    @property
    def chain(self) -> ChainView:
        """The header tree, for the gossip core."""

    @property
    def pool(self) -> PoolView:
        """The mempool, for the gossip core."""

    @property
    def tip(self) -> BlockTreeEntry:
        """The last block of the best chain."""

    def handle(self, request: LedgerRequest, now: int) -> LedgerReply:
        """Answer a request of the gossip core at clock time `now` (unix seconds)."""

    def mine(self, script: bytes, extranonce: int, now: int) -> Block:
        """Mine a block of the pool's transactions on the tip, and add it."""

    def submit(self, transaction: Transaction, now: int) -> bool:
        """Add a transaction to the pool; return whether it was accepted."""

    def restart(self) -> None:
        """Drop the state that a crash loses."""

    def close(self) -> None:
        """Release resources."""
