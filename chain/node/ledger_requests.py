"""Answers to the gossip core's requests to the node; used by the service and the simulator."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.gossip.actions import (
    ReadBlocks,
    ReadHeaders,
    ValidateBlocks,
    ValidateHeaders,
    ValidateTx,
)
from chain.gossip.events import (
    BlocksRead,
    BlockVerdict,
    BlockVerdicts,
    HeadersRead,
    HeadersVerdict,
    TxOutcome,
    TxVerdict,
)
from chain.gossip.wire.messages import BlockMessage
from chain.ledger.tree import HeaderTree
from chain.node.entry import PoolEntry
from chain.node.node import Node
from chain.node.policy import PolicyError, PolicyReason
from chain.primitives.block import Block
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32

LedgerRequest = ValidateHeaders | ValidateBlocks | ValidateTx | ReadBlocks | ReadHeaders
LedgerReply = HeadersVerdict | BlockVerdicts | TxVerdict | BlocksRead | HeadersRead

BLOCKS_TOGETHER_MAX: Final = 4096  # half of what the core has in validation
BYTES_TOGETHER_MAX: Final = 8_000_000  # or one block: two or three seconds of work

_KNOWN: Final = frozenset(
    {PolicyReason.IN_POOL, PolicyReason.IN_POOL_OTHER_WITNESS, PolicyReason.KNOWN}
)


class LedgerRequestHandler:
    """Answers requests one by one; called on the ledger thread."""

    def __init__(self, node: Node, is_stopping: Callable[[], bool] = lambda: False) -> None:
        """Answer for `node`; once `is_stopping` returns true, blocks have no answers any more."""
        self._node = node
        self._is_stopping = is_stopping

    def handle_next(self, requests: deque[LedgerRequest], now: int) -> list[LedgerReply]:
        """Take out and answer the first request, if there is one.

        The blocks behind a block are answered with it, because that is faster. They overtake what
        is between them, or peers that read would slow down a first sync; that is answered next.
        """
        if not requests:
            return []
        first = requests.popleft()
        if not isinstance(first, ValidateBlocks):
            return [self.handle(first, now)]
        together, count, size = [first], len(first.blocks), _size(first)
        overtaken: list[LedgerRequest] = []
        while requests:
            following = requests.popleft()
            if not isinstance(following, ValidateBlocks):
                overtaken.append(following)
                continue
            count += len(following.blocks)
            size += _size(following)
            if count > BLOCKS_TOGETHER_MAX or size > BYTES_TOGETHER_MAX:
                overtaken.append(following)
                break
            together.append(following)
        requests.extendleft(reversed(overtaken))
        return [self._block_verdicts(together, now)]

    def handle(self, request: LedgerRequest, now: int) -> LedgerReply:
        """Return the event that answers an action of the gossip core."""
        match request:
            case ValidateHeaders():
                return self._headers_verdict(request, now)
            case ValidateBlocks():
                return self._block_verdicts([request], now)
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

    def _block_verdicts(self, requests: Sequence[ValidateBlocks], now: int) -> BlockVerdicts:
        return BlockVerdicts(tuple(self._each_verdict(requests, now)))

    def _each_verdict(self, requests: Sequence[ValidateBlocks], now: int) -> Iterator[BlockVerdict]:
        decoded = [[_decoded(message) for message in request.blocks] for request in requests]
        blocks = [one for run in decoded for one in run if not isinstance(one, DecodeError)]
        refusals = iter(self._node.submit_blocks(blocks, now, self._is_stopping))
        for request, run in zip(requests, decoded, strict=True):
            try:
                errors = [one if isinstance(one, DecodeError) else next(refusals) for one in run]
            except StopIteration:
                return  # the node stops
            yield BlockVerdict(request.token, tuple(errors))

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


class NodeChain:
    """The gossip core's ChainView of a node; usable on any thread."""

    def __init__(self, node: Node, tree: HeaderTree) -> None:
        self._node = node
        self._tree = tree
        self.has_block = tree.is_stored
        self.has_data = tree.has_data

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


def _size(request: ValidateBlocks) -> int:
    return sum(len(block.raw) for block in request.blocks)


def _decoded(message: BlockMessage) -> Block | DecodeError:
    try:
        return message.block()
    except DecodeError as error:
        return error


def _policy_outcome(error: PolicyError) -> TxOutcome:
    if error.is_invalid:
        return TxOutcome.INVALID
    return TxOutcome.KNOWN if error.reason in _KNOWN else TxOutcome.REFUSED


def _invalid_outcome(error: InvalidError) -> TxOutcome:
    if error.reason is Reason.COIN_MISSING:
        return TxOutcome.MISSING
    # An immature coin may be mature in a peer that is a block ahead: not its fault.
    return TxOutcome.REFUSED if error.reason is Reason.COIN_IMMATURE else TxOutcome.INVALID
