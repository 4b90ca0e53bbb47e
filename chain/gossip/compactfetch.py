"""Taking compact blocks: the gaps are filled from the mempool, or by asking who sent them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from chain.consensus.errors import InvalidError
from chain.consensus.header import check_header_work
from chain.gossip.actions import Lane
from chain.gossip.arrivals import Arrivals
from chain.gossip.blockfetch import BlockFetch
from chain.gossip.compact import BlockTransactions, CompactBlock
from chain.gossip.context import SECOND_US, Context, Link
from chain.gossip.headersync import HeaderSync
from chain.gossip.messages import Headers
from chain.gossip.rebuild import CollisionError, Partial
from chain.primitives.block import Header
from chain.primitives.compact import work_from_bits
from chain.primitives.numbers import Hash32

if TYPE_CHECKING:
    from chain.gossip.events import LinkId
    from chain.primitives.transaction import Transaction

ATTEMPTS_MAX: Final = 3  # for one block at a time (Bitcoin: MAX_CMPCTBLOCKS_INFLIGHT_PER_BLOCK)
REBUILDS_MAX: Final = 8  # blocks with gaps at a time that peers pushed who chose us
LINK_REBUILDS_MAX: Final = 2  # of one link, as many as may be ahead of our tip
ANSWER_S_MIN: Final = 2.0  # that an answer may take before others are asked
ANSWER_S_MAX: Final = 10.0  # also of a link that claims to be slower
ANSWER_ROUND_TRIPS: Final = 2  # of the link, if that is more
AHEAD_BLOCKS_MAX: Final = 2  # blocks above our tip that are rebuilt

OnRebuilt = Callable[[Link, Partial], None]


class CompactFetch:
    """Rebuilds blocks, from at most three peers at a time, one of them of our choosing."""

    def __init__(
        self, context: Context, arrivals: Arrivals, fetch: BlockFetch, headers: HeaderSync
    ) -> None:
        self._context = context
        self._arrivals = arrivals
        self._fetch = fetch
        self._headers = headers
        self._rebuilds: dict[Hash32, dict[LinkId, Partial]] = {}
        self.extra: tuple[Transaction, ...] = ()  # known and not in the pool
        self.on_rebuilt: list[OnRebuilt] = []  # called before the block is validated

    def opened(self, link: Link) -> None:
        """Keep nothing of a new link."""

    def closed(self, link: Link) -> None:
        """Forget what a link was asked for."""
        for block_id in list(self._rebuilds):
            self._give_up(link, block_id)

    def expects(self, link: Link, message: CompactBlock | BlockTransactions) -> bool:
        """Tell whether this link was asked for this."""
        if isinstance(message, CompactBlock):
            return self._fetch.is_asked(link, message.block_id)
        return link.id in self._rebuilds.get(message.block_id, ())

    def compact(self, link: Link, message: CompactBlock) -> None:
        """Take a block without its transactions: asked for, or pushed as news."""
        try:
            check_header_work(message.header, self._context.config.params)
        except InvalidError as error:
            self._context.misbehaved(link, str(error))
            return
        block_id = message.block_id
        asked = self._fetch.landed(link, block_id)
        if self._arrivals.has_body(block_id):
            self._arrivals.note_holder(block_id, link)
            self.lead_up(link, message.header)
        elif link.id in self._rebuilds.get(block_id, ()):
            return
        elif self._is_wanted(message.header, asked=asked) and self._has_slot(
            link, block_id, asked=asked
        ):
            self._rebuild(link, message)
            self.lead_up(link, message.header)
        else:
            self._headers.headers(link, Headers((message.header,)))

    def lead_up(self, link: Link, header: Header) -> None:
        """Ask for what is between our blocks and one that a link pushed, if anything is."""
        if not self._arrivals.is_next(header.previous):
            self._headers.headers(link, Headers((header,)))

    def transactions(self, link: Link, message: BlockTransactions) -> None:
        """Take what fills the gaps; what nobody asked for is dropped."""
        block_id = message.block_id
        partial = self._rebuilds.get(block_id, {}).get(link.id)
        if partial is None:
            return
        if partial.answer(message):
            self._finish(link, partial)
        else:
            self._context.misbehaved(link, "blocktxn with other transactions than asked for")

    def _is_wanted(self, header: Header, *, asked: bool) -> bool:
        """Tell whether a block is worth rebuilding: asked for, or news that took enough work."""
        chain = self._context.chain
        parent = chain.get(header.previous)
        if parent is None or parent.height >= chain.tip.height + AHEAD_BLOCKS_MAX:
            return False
        if asked:
            return True
        work = parent.chain_work + work_from_bits(header.bits)
        return work >= self._headers.work_min() and self._arrivals.is_welcome(header)

    def _has_slot(self, link: Link, block_id: Hash32, *, asked: bool) -> bool:
        """Tell whether one more may try; the last is one that we chose: others might all stall.

        False blocks that strangers push take no place from what we asked for, nor from who we
        chose, and one stranger's no place from another's.
        """
        attempts = self._rebuilds.get(block_id)
        if attempts is None:
            held = sum(link.id in attempts for attempts in self._rebuilds.values())
            is_chosen = asked or link.is_outbound
            return held < LINK_REBUILDS_MAX and (is_chosen or len(self._rebuilds) < REBUILDS_MAX)
        if len(attempts) < ATTEMPTS_MAX - 1 or link.is_outbound:
            return len(attempts) < ATTEMPTS_MAX
        links = self._context.links
        return len(attempts) < ATTEMPTS_MAX and any(
            at in links and links[at].is_outbound for at in attempts
        )

    def _rebuild(self, link: Link, message: CompactBlock) -> None:
        context, block_id = self._context, message.block_id
        try:
            partial = Partial(message, context.pool, self.extra, context.shortener)
        except CollisionError:
            context.trace("compact block collided", link=link.id)
            self._fetch.ask_whole(link, block_id)
            return
        context.trace("compact block", link=link.id, missing=len(partial.missing))
        if not partial.missing:
            self._finish(link, partial)
            return
        self._rebuilds.setdefault(block_id, {})[link.id] = partial
        self._arrivals.promise(block_id)
        context.send(link, partial.question(), Lane.CONTROL)
        context.later(answer_s(link), lambda: self._expire(link, partial))

    def _finish(self, link: Link, partial: Partial) -> None:
        """Have a rebuilt block validated; if it is not the one, ask for it whole: no one's fault.

        Some transaction of the pool has the short id of another one in the block, then.
        """
        block_id = partial.header.id
        block = partial.assemble()
        if block is None:
            self._give_up(link, block_id)
            self._fetch.ask_whole(link, block_id)
            return
        self._rebuilds.pop(block_id, None)
        self._arrivals.promise_ended(block_id)
        for tell in self.on_rebuilt:
            tell(link, partial)
        self._fetch.rebuilt(link, block)

    def _expire(self, link: Link, partial: Partial) -> None:
        """Wait no longer for a peer: by its header, the block is asked of whoever has it."""
        block_id = partial.header.id
        if self._rebuilds.get(block_id, {}).get(link.id) is not partial:
            return
        self._context.trace("blocktxn too late", link=link.id)
        self._give_up(link, block_id)
        if self._arrivals.has_body(block_id):
            return
        self._fetch.passed_over(link)
        self._headers.headers(link, Headers((partial.header,)))

    def _give_up(self, link: Link, block_id: Hash32) -> None:
        attempts = self._rebuilds.get(block_id)
        if attempts is None or attempts.pop(link.id, None) is None:
            return
        if not attempts:
            del self._rebuilds[block_id]
            self._arrivals.promise_ended(block_id)


def answer_s(link: Link) -> float:
    """Return how long a link may take to answer; a slow one would never be in time for 2 s."""
    round_trip_s = (link.ping_us or 0) / SECOND_US
    return min(max(ANSWER_ROUND_TRIPS * round_trip_s, ANSWER_S_MIN), ANSWER_S_MAX)
