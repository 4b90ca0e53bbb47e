"""What stands behind a simulated node's gossip: a ledger and a mempool of some kind."""

from typing import Protocol

from chain.consensus.entry import BlockTreeEntry
from chain.gossip.views import ChainView, PoolView
from chain.node.ledger_requests import LedgerReply, LedgerRequest
from chain.primitives.block import Block
from chain.primitives.transaction import Transaction


class Backend(Protocol):
    """Ledger and mempool of one node; what is in the ledger survives a crash."""

    @property
    def chain(self) -> ChainView:
        """The tree of headers, as gossip sees it."""

    @property
    def pool(self) -> PoolView:
        """The mempool, as gossip sees it."""

    @property
    def tip(self) -> BlockTreeEntry:
        """The last block of the best chain."""

    def handle(self, request: LedgerRequest, now: int) -> LedgerReply:
        """Answer a question of the gossip core at clock time `now` (unix seconds)."""

    def mine(self, script: bytes, extranonce: int, now: int) -> Block:
        """Make a block on the tip of what is in the pool, solve it and take it in."""

    def submit(self, transaction: Transaction, now: int) -> bool:
        """Take a transaction into the pool; return whether it was good."""

    def restart(self) -> None:
        """Lose what a crash loses."""

    def close(self) -> None:
        """Give back what the backend holds."""
