"""Blocks that came and are not in the ledger yet, and those that can never be."""

from dataclasses import dataclass
from typing import Final, Protocol

from chain.consensus.entry import Entry
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.header import check_header_work
from chain.gossip.actions import ValidateBlock
from chain.gossip.context import Context, Link
from chain.gossip.events import BlockVerdict, Token
from chain.gossip.messages import BlockMessage
from chain.primitives.compact import work_from_bits
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32

REFUSED_MAX: Final = 100
ARRIVED_BYTES_MAX: Final = 64 * 1024 * 1024
MEAN_BYTES_START: Final = 20_000
UNASKED_AHEAD_MAX: Final = 288  # blocks above our tip that are kept without being asked for
_MEAN_WEIGHT: Final = 0.1
_NOT_THE_SENDERS_FAULT: Final = frozenset({Reason.PARENT_INVALID, Reason.KNOWN_INVALID})
_NOT_FOR_EVER: Final = frozenset({Reason.PARENT_MISSING, Reason.TIME_TOO_NEW})


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A block, and who sent it."""

    block: BlockMessage
    previous: Hash32
    link: Link


class OnVerdict(Protocol):
    """Who wants to know that a block was validated."""

    def __call__(self, link: Link, *, accepted: bool) -> None:
        """Note that the ledger took a block that came by `link`, or did not."""


class Arrivals:
    """Holds blocks until their parents are stored, then gives them to the ledger."""

    def __init__(self, context: Context, on_verdict: OnVerdict) -> None:
        """`on_verdict` is called for each block that was validated."""
        self._context = context
        self._on_verdict = on_verdict
        self._waiting: dict[Hash32, _Arrival] = {}
        self._children: dict[Hash32, list[Hash32]] = {}  # of `_waiting`, by parent
        self._validating: dict[Token, _Arrival] = {}
        self._busy: dict[Hash32, None] = {}  # ids of `_validating`
        self._refused: dict[Hash32, None] = {}  # ids that no body can make valid
        self._mean = float(MEAN_BYTES_START)
        self.size = 0  # bytes of `_waiting`

    @property
    def mean_bytes(self) -> int:
        """How large blocks are of late."""
        return max(int(self._mean), 1)

    def has(self, block_id: Hash32) -> bool:
        """Tell whether a block is here, waiting or being validated."""
        return block_id in self._waiting or block_id in self._busy

    def is_refused(self, entry: Entry) -> bool:
        """Tell whether a header is, or builds on, a block that was found invalid."""
        chain = self._context.chain
        for block_id in self._refused:
            refused = chain.get(block_id)
            if block_id == entry.id or (refused is not None and refused.is_ancestor_of(entry)):
                return True
        return False

    def add(self, block: BlockMessage, link: Link) -> None:
        """Take a block whose header is known; what is here or stored already is dropped."""
        block_id = block.block_id
        if self.has(block_id) or self._context.chain.has_block(block_id):
            return
        self._mean += (len(block.raw) - self._mean) * _MEAN_WEIGHT
        arrival = _Arrival(block, block.header.previous, link)
        if self._context.chain.has_block(arrival.previous):
            self._validate(arrival)
        else:
            self._wait(arrival)

    def stored(self, block_id: Hash32) -> None:
        """Go on with the children of a block that is in the ledger now."""
        for child_id in self._children.pop(block_id, []):
            self._validate(self._take(child_id))

    def is_welcome(self, block: BlockMessage) -> bool:
        """Tell whether a block that nobody asked for is worth validating (its parent is known).

        Its work must be real and lead above our tip, so that old forks of easy blocks cost us
        neither disk nor time.
        """
        chain, header = self._context.chain, block.header
        parent = chain.get(header.previous)
        if parent is None or block.block_id in self._refused or self.is_refused(parent):
            return False
        try:
            check_header_work(header, self._context.config.params)
        except InvalidError:
            return False
        enough = parent.chain_work + work_from_bits(header.bits) > chain.tip.chain_work
        return enough and parent.height < chain.tip.height + UNASKED_AHEAD_MAX

    def verdict(self, verdict: BlockVerdict) -> None:
        """Take what the ledger said of a block, and go on with its children."""
        arrival = self._validating.pop(verdict.token, None)
        if arrival is None:
            return
        block_id = arrival.block.block_id
        del self._busy[block_id]
        if verdict.error is None:
            self._learn(arrival)
            self.stored(block_id)
        else:
            self._blame(arrival, verdict.error)
        self._on_verdict(arrival.link, accepted=verdict.error is None)

    def _validate(self, arrival: _Arrival) -> None:
        token = self._context.token()
        self._validating[token] = arrival
        self._busy[arrival.block.block_id] = None
        self._context.emit(ValidateBlock(token, arrival.block))

    def _wait(self, arrival: _Arrival) -> None:
        """Keep a block until its parent comes; if there is no room, the oldest one goes."""
        block_id = arrival.block.block_id
        self._waiting[block_id] = arrival
        self._children.setdefault(arrival.previous, []).append(block_id)
        self.size += len(arrival.block.raw)
        while self.size > ARRIVED_BYTES_MAX:
            oldest_id = next(iter(self._waiting))
            siblings = self._children[self._waiting[oldest_id].previous]
            siblings.remove(oldest_id)
            if not siblings:
                del self._children[self._waiting[oldest_id].previous]
            self._take(oldest_id)

    def _take(self, block_id: Hash32) -> _Arrival:
        arrival = self._waiting.pop(block_id)
        self.size -= len(arrival.block.raw)
        return arrival

    def _learn(self, arrival: _Arrival) -> None:
        entry = self._context.chain.get(arrival.block.block_id)
        if entry is not None:
            arrival.link.learn(entry)

    def _blame(self, arrival: _Arrival, error: InvalidError | DecodeError) -> None:
        """Punish who is to blame: the sender for its bytes, the id only for what it covers."""
        context, link = self._context, arrival.link
        context.trace("block refused", block=arrival.block.block_id.hex(), why=str(error))
        if isinstance(error, DecodeError) or error.reason.is_mutation:
            context.misbehaved(link, f"mutated block: {error}")
            return
        if error.reason in _NOT_FOR_EVER:
            link.best_known = None  # or it would be asked again at once
            return
        self._refuse(arrival.block.block_id)
        if error.reason in _NOT_THE_SENDERS_FAULT:
            context.close(link, f"block refused: {error}")
        else:
            context.misbehaved(link, f"invalid block: {error}")

    def _refuse(self, block_id: Hash32) -> None:
        """Remember that a block is invalid, and drop what waits for it."""
        self._refused[block_id] = None
        if len(self._refused) > REFUSED_MAX:
            del self._refused[next(iter(self._refused))]
        doomed = self._children.pop(block_id, [])
        while doomed:
            child_id = doomed.pop()
            self._take(child_id)
            doomed += self._children.pop(child_id, [])
