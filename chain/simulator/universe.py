"""All blocks of a simulation, each validated once by the real rules.

A block's validity depends only on it and the state after its parent, so the nodes can share it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from chain.consensus.block_validation import (
    ConnectedBlock,
    check_block,
    check_block_context,
    connect_block,
)
from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.genesis import genesis_block
from chain.consensus.header import check_header_context, check_header_work
from chain.consensus.params import Params
from chain.consensus.spend import verify_checks
from chain.node.entry import PoolEntry
from chain.primitives.block import Block, Header, decode_block
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32, OutPoint
from chain.simulator.payments import LATE_COUNT, LATE_PERCENT, NO_POOL, Payments, SharedPool

POOLS_KEPT: Final = 4
_FAR_FUTURE_S: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class BranchCoins:
    """The coins after a block: its changes, and its parent's coins."""

    parent: "BranchCoins | None"
    removed: dict[OutPoint, Coin] = field(default_factory=dict)
    created: dict[OutPoint, Coin] = field(default_factory=dict)

    def get(self, point: OutPoint, /) -> Coin | None:
        at: BranchCoins | None = self
        while at is not None:
            if point in at.created:
                return at.created[point]
            if point in at.removed:
                return None
            at = at.parent
        return None


class Universe:
    """The tree of all headers, the coins after each valid block, and every verdict."""

    def __init__(self, params: Params) -> None:
        self.params = params
        genesis = genesis_block(params)
        self.genesis = BlockTreeEntry(genesis.header, None)
        self.payments = Payments()
        self.late_percent = LATE_PERCENT
        self.pools: dict[Hash32, tuple[SharedPool, SharedPool]] = {}  # by tip: all, and less
        self._entries: dict[Hash32, BlockTreeEntry] = {self.genesis.id: self.genesis}
        self._coins: dict[Hash32, BranchCoins] = {self.genesis.id: BranchCoins(None)}
        self._verdicts: dict[bytes, Block | InvalidError | DecodeError] = {
            genesis.raw: genesis,
        }

    def entry(self, header: Header, parent: BlockTreeEntry) -> BlockTreeEntry:
        """Return a header's entry in the tree. Raises InvalidError, except for its time."""
        known = self._entries.get(header.id)
        if known is None:
            check_header_work(header, self.params)
            check_header_context(header, parent, _FAR_FUTURE_S, self.params)
            known = self._entries[header.id] = BlockTreeEntry(header, parent)
        return known

    def share(self, tip_id: Hash32, entries: Sequence[PoolEntry]) -> None:
        """Put entries into all mempools on top of a block; some nodes lack the last ones."""
        whole, early = SharedPool(tuple(entries)), SharedPool(tuple(entries[:-LATE_COUNT]))
        self.pools[tip_id] = (whole, early)
        if len(self.pools) > POOLS_KEPT:
            del self.pools[next(iter(self.pools))]

    def whole_pool(self, tip_id: Hash32) -> SharedPool:
        """Return all entries on top of a block, as miners have them."""
        pools = self.pools.get(tip_id)
        return NO_POOL if pools is None else pools[0]

    def pool(self, tip_id: Hash32, node: int) -> SharedPool:
        """Return the shared entries of a node on top of a block."""
        pools = self.pools.get(tip_id)
        if pools is None:
            return NO_POOL
        return pools[(tip_id[0] + 37 * node) % 100 < self.late_percent]

    def height(self, block_id: Hash32) -> int:
        """Return the height of a block whose header is known."""
        return self._entries[block_id].height

    def coins(self, block_id: Hash32) -> BranchCoins:
        """Return the coins after a valid block."""
        return self._coins[block_id]

    def judge(self, raw: bytes) -> Block:
        """Decode a block and validate it, if its parent was found valid.

        Raises InvalidError, DecodeError.
        """
        verdict = self._verdicts.get(raw)
        if verdict is None:
            try:
                verdict = self._judge(raw)
            except (InvalidError, DecodeError) as error:
                verdict = error
            self._verdicts[raw] = verdict
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    def block_of(self, raw: bytes) -> Block:
        """Decode a block and run all checks that need no coins.

        Raises InvalidError, DecodeError.
        """
        block = decode_block(raw)
        check_block(block, self.params)
        check_block_context(block, self._entries[block.header.previous])
        return block

    def _judge(self, raw: bytes) -> Block:
        block = self.block_of(raw)
        parent = self._entries[block.header.previous]
        if parent.id not in self._coins:
            raise InvalidError(Reason.PARENT_INVALID)
        before = self._coins[parent.id]
        connection = connect_block(block, parent, before, self.params)
        self._check_signatures(connection)
        self._coins[block.id] = BranchCoins(before, connection.removed, connection.created)
        return block

    def _check_signatures(self, connection: ConnectedBlock) -> None:
        """Verify the signatures that were not verified for the mempools."""
        verified = self.payments.verified
        for check in connection.checks:
            if check.record in verified:
                del verified[check.record]
            else:
                verify_checks([check])
