"""Receiving compact blocks: missing transactions come from the mempool or from the sender."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from chain.consensus.errors import InvalidError
from chain.consensus.header import check_header_work
from chain.gossip.actions import Priority
from chain.gossip.blocks.block_download import BlockDownload
from chain.gossip.blocks.block_queue import BlockQueue
from chain.gossip.blocks.headersync import HeaderSync
from chain.gossip.blocks.reconstruct import PartialBlock
from chain.gossip.context import Context, Link
from chain.gossip.dispatch import Handler, Part, on_message
from chain.gossip.short_ids import CollisionError
from chain.gossip.wire.compact import BlockTransactions, CompactBlock
from chain.gossip.wire.messages import Headers
from chain.primitives.block import Header
from chain.primitives.compact import work_from_bits
from chain.primitives.numbers import SECOND_US, Hash32
from chain.primitives.transaction import Transaction

if TYPE_CHECKING:
    from chain.gossip.events import LinkId

ATTEMPTS_MAX: Final = 3  # for the same block (Bitcoin: MAX_CMPCTBLOCKS_INFLIGHT_PER_BLOCK)
PARTIAL_BLOCKS_MAX: Final = 8  # incomplete blocks pushed by inbound peers
LINK_PARTIAL_BLOCKS_MAX: Final = 2  # for one link: as many as may be ahead of our tip
RESPONSE_S_MIN: Final = 2.0  # response time before another peer is tried
RESPONSE_S_MAX: Final = 10.0  # even for a link that claims to be slower
RESPONSE_ROUND_TRIPS: Final = 2  # round trips of the link, if they take longer than the minimum
AHEAD_BLOCKS_MAX: Final = 2  # blocks above our tip that are reconstructed

OnReconstructed = Callable[[Link, PartialBlock], None]


class CompactDownload(Part):
    """Reconstructs blocks, from at most three peers at a time, one of them outbound."""

    def __init__(
        self,
        context: Context,
        block_queue: BlockQueue,
        fetch: BlockDownload,
        headers: HeaderSync,
        extra_transactions: Callable[[], tuple[Transaction, ...]],
    ) -> None:
        """`extra_transactions` returns known transactions that are not in the pool."""
        self._context = context
        self._block_queue = block_queue
        self._fetch = fetch
        self._headers = headers
        self._partial_blocks: dict[Hash32, dict[LinkId, PartialBlock]] = {}
        self._extra_transactions = extra_transactions
        self.on_reconstructed: list[OnReconstructed] = []  # called before validation

    def handlers(self) -> tuple[Handler, ...]:
        """Handle compact blocks, and the transactions that they lacked."""
        return (
            on_message(CompactBlock, self.compact, expects=self.expects),
            on_message(BlockTransactions, self.transactions, expects=self.expects),
        )

    def closed(self, link: Link) -> None:
        """Forget the open requests of a link."""
        for block_id in list(self._partial_blocks):
            self._give_up(link, block_id)

    def expects(self, link: Link, message: CompactBlock | BlockTransactions) -> bool:
        """Return whether this link has an open request for these transactions."""
        if isinstance(message, CompactBlock):
            return self._fetch.is_requested(link, message.block_id)
        return link.id in self._partial_blocks.get(message.block_id, ())

    def compact(self, link: Link, message: CompactBlock) -> None:
        """Handle a compact block: requested, or pushed as new."""
        try:
            check_header_work(message.header, self._context.config.params)
        except InvalidError as error:
            self._context.misbehaved(link, str(error))
            return
        block_id = message.block_id
        requested = self._fetch.compact_arrived(link, block_id)
        if self._block_queue.has_body(block_id):
            self._block_queue.add_holder(block_id, link)
            self._fetch.request_ancestors(link, message.header)
        elif link.id in self._partial_blocks.get(block_id, ()):
            return
        elif self._is_worth_reconstructing(
            message.header, requested=requested
        ) and self._may_attempt(link, block_id, requested=requested):
            self._reconstruct(link, message)
            self._fetch.request_ancestors(link, message.header)
        else:
            self._headers.headers(link, Headers((message.header,)))

    def transactions(self, link: Link, message: BlockTransactions) -> None:
        """Handle the missing transactions; unrequested ones are dropped."""
        block_id = message.block_id
        partial = self._partial_blocks.get(block_id, {}).get(link.id)
        if partial is None:
            return
        if partial.fill(message):
            self._finish(link, partial)
        else:
            self._context.misbehaved(link, "blocktxn with other transactions than requested")

    def _is_worth_reconstructing(self, header: Header, *, requested: bool) -> bool:
        """Return whether to reconstruct a block: requested, or new and with enough work."""
        chain = self._context.chain
        parent = chain.get(header.previous)
        if parent is None or parent.height >= chain.tip.height + AHEAD_BLOCKS_MAX:
            return False
        if requested:
            return True
        work = parent.chain_work + work_from_bits(header.bits)
        return work >= self._headers.work_min() and self._block_queue.is_worth_validating(header)

    def _may_attempt(self, link: Link, block_id: Hash32, *, requested: bool) -> bool:
        """Return whether one more peer may be tried; the last attempt is kept for an outbound one.

        Inbound peers could all stall. Their false blocks must not displace requested blocks or
        those of outbound peers, nor those of one inbound peer another's.
        """
        attempts = self._partial_blocks.get(block_id)
        if attempts is None:
            held = sum(link.id in attempts for attempts in self._partial_blocks.values())
            is_chosen = requested or link.is_outbound
            return held < LINK_PARTIAL_BLOCKS_MAX and (
                is_chosen or len(self._partial_blocks) < PARTIAL_BLOCKS_MAX
            )
        if len(attempts) < ATTEMPTS_MAX - 1 or link.is_outbound:
            return len(attempts) < ATTEMPTS_MAX
        links = self._context.links
        return len(attempts) < ATTEMPTS_MAX and any(
            at in links and links[at].is_outbound for at in attempts
        )

    def _reconstruct(self, link: Link, message: CompactBlock) -> None:
        context, block_id = self._context, message.block_id
        try:
            partial = PartialBlock(
                message, context.pool, self._extra_transactions(), context.short_ids
            )
        except CollisionError:
            context.trace("compact block collided", link=link.id)
            self._fetch.request_whole(link, block_id)
            return
        context.trace("compact block", link=link.id, missing=len(partial.missing))
        if not partial.missing:
            self._finish(link, partial)
            return
        self._partial_blocks.setdefault(block_id, {})[link.id] = partial
        self._block_queue.reserve(block_id)
        context.send(link, partial.request(), Priority.CONTROL)
        context.call_later(response_timeout_s(link), lambda: self._expire(link, partial))

    def _finish(self, link: Link, partial: PartialBlock) -> None:
        """Have a reconstructed block validated; if it does not match, request it whole.

        A mismatch means that a transaction of the pool has the short id of another one in the
        block, which is not the peer's fault.
        """
        block_id = partial.header.id
        block = partial.assemble()
        if block is None:
            self._give_up(link, block_id)
            self._fetch.request_whole(link, block_id)
            return
        self._partial_blocks.pop(block_id, None)
        self._block_queue.release(block_id)
        for callback in self.on_reconstructed:
            callback(link, partial)
        self._fetch.reconstructed(link, block)

    def _expire(self, link: Link, partial: PartialBlock) -> None:
        """Stop waiting for a peer; the block is then requested whole from any link that has it."""
        block_id = partial.header.id
        if self._partial_blocks.get(block_id, {}).get(link.id) is not partial:
            return
        self._context.trace("blocktxn too late", link=link.id)
        self._give_up(link, block_id)
        if self._block_queue.has_body(block_id):
            return
        self._fetch.timed_out(link)
        self._headers.headers(link, Headers((partial.header,)))

    def _give_up(self, link: Link, block_id: Hash32) -> None:
        attempts = self._partial_blocks.get(block_id)
        if attempts is None or attempts.pop(link.id, None) is None:
            return
        if not attempts:
            del self._partial_blocks[block_id]
            self._block_queue.release(block_id)


def response_timeout_s(link: Link) -> float:
    """Return the time a link has to respond: a fixed 2 s would exclude slow links."""
    round_trip_s = (link.ping_us or 0) / SECOND_US
    return min(max(RESPONSE_ROUND_TRIPS * round_trip_s, RESPONSE_S_MIN), RESPONSE_S_MAX)
