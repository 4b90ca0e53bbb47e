"""The full backend of a simulated node: the real ledger and mempool, in memory."""

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError
from chain.consensus.params import Params
from chain.ledger.ledger import Ledger
from chain.node.ledger_requests import (
    LedgerReply,
    LedgerRequest,
    LedgerRequestHandler,
    NodeChain,
    NodePool,
)
from chain.node.node import Node
from chain.node.policy import Policy, PolicyError
from chain.primitives.block import Block
from chain.primitives.transaction import Transaction
from chain.simulator.solve import solved


class FullNode:
    """The backend for small networks: a real node without its disk."""

    def __init__(self, params: Params) -> None:
        self._ledger = Ledger("sqlite://", params, verify_threads=1)
        self._start()

    def _start(self) -> None:
        self._node = Node(self._ledger, Policy())
        self._requests = LedgerRequestHandler(self._node)
        self.chain = NodeChain(self._node, self._ledger.tree)
        self.pool = NodePool(self._node)

    @property
    def tip(self) -> BlockTreeEntry:
        return self._ledger.tip

    def handle(self, request: LedgerRequest, now: int) -> LedgerReply:
        return self._requests.handle(request, now)

    def mine(self, script: bytes, extranonce: int, now: int) -> Block:
        template = self._node.template(script, now)
        block = solved(template, extranonce, template.time)
        self._node.submit_block(block, now)
        return block

    def submit(self, transaction: Transaction, now: int) -> bool:
        try:
            self._node.submit_transaction(transaction, now)
        except (InvalidError, PolicyError):
            return False
        return True

    def restart(self) -> None:
        """Drop the pool; the ledger counts as stored on disk."""
        self._start()

    def close(self) -> None:
        """Close the database."""
        self._ledger.close()
