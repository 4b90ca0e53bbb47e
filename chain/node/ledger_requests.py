"""Answers to the gossip core's requests to the node; used by the service and the simulator."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.gossip.actions import ReadBlocks, ReadHeaders, ValidateBlock, ValidateHeaders, ValidateTx
from chain.gossip.events import (
    BlocksRead,
    BlockVerdict,
    BlockVerdicts,
    HeadersRead,
    HeadersVerdict,
    Token,
    TxOutcome,
    TxVerdict,
)
from chain.ledger.tree import HeaderTree
from chain.node.entry import PoolEntry
from chain.node.node import Node
from chain.node.policy import PolicyError, PolicyReason
from chain.primitives.block import Block
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32

LedgerRequest = ValidateHeaders | ValidateBlock | ValidateTx | ReadBlocks | ReadHeaders
LedgerReply = HeadersVerdict | BlockVerdicts | TxVerdict | BlocksRead | HeadersRead

BLOCKS_TOGETHER_MAX: Final = 4096  # half of what the core has in validation
BYTES_TOGETHER_MAX: Final = 8_000_000  # or one block: two or three seconds of work
ALONE_BYTES_MAX: Final = 30_000_000  # while nothing else waits, so that rows are written meanwhile

_KNOWN: Final = frozenset(
    {PolicyReason.IN_POOL, PolicyReason.IN_POOL_OTHER_WITNESS, PolicyReason.KNOWN}
)


class LedgerRequestHandler:
    """Answers requests one by one; called on the ledger thread."""

    def __init__(
        self,
        node: Node,
        is_stopping: Callable[[], bool] = lambda: False,
        is_awaited: Callable[[], bool] = lambda: False,
    ) -> None:
        """Answer for `node`; once `is_stopping` returns true, blocks have no answers any more.

        While `is_awaited` returns true, other work waits for these answers.
        """
        self._node = node
        self._is_stopping = is_stopping
        self._is_awaited = is_awaited

    def handle_next(
        self, requests: deque[LedgerRequest], now: int, taken: list[LedgerRequest] | None = None
    ) -> list[LedgerReply]:
        """Take out and answer the first request, if there is one.

        The blocks behind a block are answered with it, because that is faster, those that come
        meanwhile too. They overtake what is between them, or peers that read would slow down a
        first sync; that is answered next. The requests are appended to `taken`.
        """
        if not requests:
            return []
        if not isinstance(requests[0], ValidateBlock):
            request = requests.popleft()
            if taken is not None:
                taken.append(request)
            return [self.handle(request, now)]
        run = _BlockRun(requests, self._is_awaited)
        refusals = self._node.submit_blocks(run.blocks(), now, self._is_stopping)
        run.put_back()
        if taken is not None:
            taken += run.taken
        return [run.verdicts(refusals)]

    def handle(self, request: LedgerRequest, now: int) -> LedgerReply:
        """Return the event that answers an action of the gossip core."""
        match request:
            case ValidateHeaders():
                return self._headers_verdict(request, now)
            case ValidateBlock():
                return self._block_verdicts(request, now)
            case ValidateTx():
                return self._tx_verdict(request, now)
            case ReadBlocks():
                raws = self._node.read_blocks(request.block_ids, request.bytes_max)
                return BlocksRead(request.token, tuple(raws))
            case ReadHeaders():
                headers = self._node.read_headers(request.locator, request.stop, request.limit)
                return HeadersRead(request.token, headers)

    def _headers_verdict(self, request: ValidateHeaders, now: int) -> HeadersVerdict:
        added = self._node.submit_headers(request.headers, now)
        last = None if added.last is None else added.last.id
        return HeadersVerdict(request.token, last, added.added, added.error)

    def _block_verdicts(self, request: ValidateBlock, now: int) -> BlockVerdicts:
        [verdicts] = self.handle_next(deque([request]), now)
        assert isinstance(verdicts, BlockVerdicts), "as for every block"
        return verdicts

    def _tx_verdict(self, request: ValidateTx, now: int) -> TxVerdict:
        transaction = request.transaction
        try:
            self._node.submit_transaction(transaction, now)
        except PolicyError as error:
            return TxVerdict(
                request.token,
                _policy_outcome(error),
                error.reject_reason,
                failed_input=error.failed_input,
            )
        except InvalidError as error:
            missing: Sequence[Hash32] = ()
            if error.reason is Reason.COIN_MISSING:
                missing = self._node.missing_parents(transaction)
            outcome = _invalid_outcome(error)
            return TxVerdict(request.token, outcome, error.reject_reason, tuple(missing))
        return TxVerdict(request.token, TxOutcome.ACCEPTED, "")


class _BlockRun:
    """Blocks that are added together: each is taken out of the queue when its turn comes."""

    def __init__(self, requests: deque[LedgerRequest], is_awaited: Callable[[], bool]) -> None:
        self._requests = requests  # the core's thread appends to it
        self._is_awaited = is_awaited
        self.taken: list[ValidateBlock] = []
        self._size = 0
        self._overtaken: list[LedgerRequest] = []
        self._malformed: dict[Token, DecodeError] = {}

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks that can be decoded, while there are some and these are not too many."""
        while (request := self._next()) is not None:
            try:
                yield request.block.block()
            except DecodeError as error:
                self._malformed[request.token] = error

    def put_back(self) -> None:
        """Put back what was overtaken."""
        self._requests.extendleft(reversed(self._overtaken))

    def verdicts(self, refusals: Sequence[InvalidError | None]) -> BlockVerdicts:
        """Return the verdicts; there are fewer `refusals` than blocks once the node stops."""
        left = deque(refusals)
        verdicts: list[BlockVerdict] = []
        for request in self.taken:
            token = request.token
            if token in self._malformed:
                verdicts.append(BlockVerdict(token, self._malformed[token]))
            elif left:
                verdicts.append(BlockVerdict(token, left.popleft()))
        return BlockVerdicts(tuple(verdicts))

    def _next(self) -> ValidateBlock | None:
        """Take out the next block, if it may be added with the others."""
        while self._requests and len(self.taken) < BLOCKS_TOGETHER_MAX:
            request = self._requests[0]
            if not isinstance(request, ValidateBlock):
                self._overtaken.append(self._requests.popleft())
                continue
            size = self._size + len(request.block.raw)
            if self.taken and size > BYTES_TOGETHER_MAX and (size > ALONE_BYTES_MAX or self._waits):
                break
            self._requests.popleft()
            self.taken.append(request)
            self._size = size
            return request
        return None

    @property
    def _waits(self) -> bool:
        """Whether something waits for these blocks; asked only once there are many bytes."""
        return bool(self._overtaken) or self._is_awaited()


class NodeChain:
    """The gossip core's ChainView of a node; usable on any thread."""

    def __init__(self, node: Node, tree: HeaderTree, has_block: Callable[[Hash32], bool]) -> None:
        self._node = node
        self._tree = tree
        self.has_block = has_block

    @property
    def tip(self) -> BlockTreeEntry:
        return self._node.view.tip

    @property
    def best_header(self) -> BlockTreeEntry:
        return self._node.view.best_header

    def get(self, block_id: Hash32, /) -> BlockTreeEntry | None:
        return self._tree.get(block_id)


class NodePool:
    """The gossip core's PoolView of a node; usable on any thread."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def by_wtxid(self, wtxid: Hash32, /) -> PoolEntry | None:
        return self._node.view.pool.get_by_wtxid(wtxid)

    def by_txid(self, txid: Hash32, /) -> PoolEntry | None:
        return self._node.view.pool.get(txid)

    def wtxids(self) -> list[Hash32]:
        return [entry.wtxid for entry in self._node.view.pool.entries()]

    def feerate_min(self, now: int, /) -> int:
        return self._node.feerate_min(now)


def _policy_outcome(error: PolicyError) -> TxOutcome:
    if error.is_invalid:
        return TxOutcome.INVALID
    return TxOutcome.KNOWN if error.reason in _KNOWN else TxOutcome.REFUSED


def _invalid_outcome(error: InvalidError) -> TxOutcome:
    if error.reason is Reason.COIN_MISSING:
        return TxOutcome.MISSING
    # An immature coin may be mature in a peer that is a block ahead: not its fault.
    return TxOutcome.REFUSED if error.reason is Reason.COIN_IMMATURE else TxOutcome.INVALID
