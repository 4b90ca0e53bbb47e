"""Sending compact blocks: pushed to links that want them, and on request."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from chain.consensus.entry import BlockTreeEntry
from chain.gossip.actions import Priority
from chain.gossip.blocks.serve import Serving
from chain.gossip.context import Context, Link
from chain.gossip.dispatch import Handler, Part, on_message
from chain.gossip.views import ChainView
from chain.gossip.wire.compact import (
    COMPACT_VERSION,
    BlockTransactions,
    CompactBlock,
    GetBlockTransactions,
    SendCompact,
)
from chain.gossip.wire.messages import (
    COMPACT_BLOCK,
    WITNESS_BLOCK,
    BlockMessage,
    GetData,
    Inventory,
)
from chain.primitives.block import Header
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction

if TYPE_CHECKING:
    from chain.gossip.blocks.reconstruct import PartialBlock
    from chain.gossip.events import LinkId

ANNOUNCERS_MAX: Final = 3  # peers that push compact blocks to us (BIP152: high bandwidth)
RECENT_BLOCKS_MAX: Final = 10
COMPACT_DEPTH: Final = 5  # Bitcoin: MAX_CMPCTBLOCK_DEPTH; deeper ones are sent whole
TRANSACTIONS_DEPTH: Final = 10  # Bitcoin: MAX_BLOCKTXN_DEPTH
PREFILLED_BYTES_MAX: Final = 10_000  # BIP152
CATCHING_UP_BLOCKS: Final = 8  # a tip further behind the best header is not announced


def is_near_best_header(chain: ChainView) -> bool:
    """Return whether the tip is close enough to the best header to be announced.

    A few headers may be ahead whose blocks no peer delivers: they must not stop our announcements.
    """
    return chain.best_header.height - chain.tip.height <= CATCHING_UP_BLOCKS


@dataclass(frozen=True, eq=False)
class _RecentBlock:
    """A recent block; one received whole is decoded only when it is needed."""

    message: BlockMessage | None
    reconstructed: tuple[Transaction, ...]
    fetched: tuple[int, ...]  # positions that we lacked, as others may too

    @cached_property
    def transactions(self) -> tuple[Transaction, ...]:
        """The block's transactions."""
        if self.message is None:
            return self.reconstructed
        return self.message.block().transactions

    def prefilled(self) -> tuple[int, ...]:
        """Return what to prefill: the coinbase, and what we had to fetch if it is small."""
        positions, size = [0], len(self.transactions[0].raw)
        for position in self.fetched:
            size += len(self.transactions[position].raw)
            if position and size <= PREFILLED_BYTES_MAX:
                positions.append(position)
        return tuple(positions)


class CompactRelay(Part):
    """Chooses the peers that push compact blocks to us, and sends compact blocks to others."""

    def __init__(self, context: Context, serving: Serving) -> None:
        self._context = context
        self._serving = serving
        self._announcers: list[Link] = []  # requested to push, least recently useful first
        self._recent: dict[Hash32, _RecentBlock] = {}
        self._messages: dict[Hash32, CompactBlock | None] = {}  # built once for all links
        self._pushed: dict[LinkId, Hash32] = {}  # last block pushed to each link

    def handlers(self) -> tuple[Handler, ...]:
        """Handle sendcmpct, and requests for compact blocks and their transactions."""
        return (
            on_message(SendCompact, self.on_sendcmpct),
            on_message(GetData, self.serve),
            on_message(GetBlockTransactions, self.serve_transactions),
        )

    def opened(self, link: Link) -> None:
        """Announce our support of compact blocks to a new link."""
        self._context.send(
            link, SendCompact(announces=False, version=COMPACT_VERSION), Priority.CONTROL
        )

    def closed(self, link: Link) -> None:
        """Forget a link."""
        self._pushed.pop(link.id, None)
        if link in self._announcers:
            self._announcers.remove(link)

    def on_sendcmpct(self, link: Link, message: SendCompact) -> None:
        """Record whether and how a link wants compact blocks; unsupported versions are ignored."""
        if message.version == COMPACT_VERSION:
            link.knows_compact = True
            link.wants_compact = message.announces

    def reconstructed(self, link: Link, partial: "PartialBlock") -> None:
        """Push a block whose transactions and work are right, before it is validated.

        Blocks can cross the network without waiting for each node's validation (BIP152).
        """
        header = partial.header
        self._remember(header.id, _RecentBlock(None, partial.transactions, partial.missing))
        if header.previous == self._context.chain.tip.id:
            self._pushed[link.id] = header.id
            self._push(header, [other for other in self._links() if other.wants_compact])

    def blocks_validated(self, valid: Sequence[tuple[Link, BlockMessage]]) -> None:
        """Keep the last valid blocks, and request the link that sent the tip to push from now."""
        chain = self._context.chain
        for link, block in valid[-RECENT_BLOCKS_MAX:]:
            if block.block_id not in self._recent:
                self._remember(block.block_id, _RecentBlock(block, (), ()))
            if (
                block.block_id == chain.tip.id
                and is_near_best_header(chain)
                and link.id in self._context.links
            ):
                self._select_announcer(link)

    def local_block(self, block: BlockMessage, tip: BlockTreeEntry) -> None:
        """Push a locally mined block to all links that support compact blocks, wanted or not."""
        self._remember(block.block_id, _RecentBlock(block, (), ()))
        links = [link for link in self._links() if link.knows_compact and not link.has(tip)]
        self._push(block.header, links)

    def was_pushed(self, link: Link, tip: BlockTreeEntry) -> bool:
        """Return whether this block was sent to a link, or by it."""
        return self._pushed.get(link.id) == tip.id

    def is_announcer(self, link: Link) -> bool:
        """Return whether we requested a link to push compact blocks to us."""
        return link in self._announcers

    def announce(self, link: Link, tip: BlockTreeEntry) -> bool:
        """Announce the tip to a link as a compact block, if the link wants that and we have one."""
        if not link.wants_compact or tip.id not in self._recent:
            return False
        self._push(tip.header, [link])
        return self.was_pushed(link, tip)

    def serve(self, link: Link, message: GetData) -> None:
        """Send the requested compact blocks; old and oversized ones are sent whole."""
        tip = self._context.chain.tip
        for item in message.items:
            if item.kind != COMPACT_BLOCK:
                continue
            entry = self._context.chain.get(item.id)
            is_near = entry is not None and entry.height > tip.height - COMPACT_DEPTH
            compact = self._message(entry.header) if entry is not None and is_near else None
            if entry is None or compact is None:
                self._send_whole(link, item.id)
            else:
                self._context.send(link, compact, Priority.CONTROL)
                link.share(entry)

    def serve_transactions(self, link: Link, message: GetBlockTransactions) -> None:
        """Send the requested transactions of a recent block; an old block is sent whole."""
        recent = self._recent.get(message.block_id)
        entry = self._context.chain.get(message.block_id)
        is_deep = (
            entry is not None
            and entry.height <= self._context.chain.tip.height - TRANSACTIONS_DEPTH
        )
        if recent is None or is_deep:
            self._send_whole(link, message.block_id)
            return
        transactions = recent.transactions
        if message.positions and message.positions[-1] >= len(transactions):
            self._context.misbehaved(link, "getblocktxn for positions past the block's end")
            return
        wanted = tuple(transactions[position] for position in message.positions)
        self._context.send(link, BlockTransactions(message.block_id, wanted), Priority.BLOCK)

    def _links(self) -> list[Link]:
        return list(self._context.links.values())

    def _push(self, header: Header, links: list[Link]) -> None:
        message = self._message(header)
        if message is None:
            return  # it is announced by its header
        entry = self._context.chain.get(header.id)  # None: not validated yet
        for link in links:
            if self._pushed.get(link.id) != header.id:
                self._pushed[link.id] = header.id
                if entry is not None:
                    link.share(entry)
                self._context.send(link, message, Priority.BLOCK)

    def _message(self, header: Header) -> CompactBlock | None:
        """Return the compact form of a recent block, or None if it is over the message's cap.

        The coinbase is always prefilled, and a valid one may be larger than that.
        """
        recent = self._recent.get(header.id)
        if recent is not None and header.id not in self._messages:
            nonce = self._context.nonce(b"compact")
            message = self._context.short_ids.compact_block(
                header, recent.transactions, recent.prefilled(), nonce
            )
            is_small = len(message.encode()) <= CompactBlock.bytes_max
            self._messages[header.id] = message if is_small else None
        return self._messages.get(header.id)

    def _send_whole(self, link: Link, block_id: Hash32) -> None:
        self._serving.serve_blocks(link, GetData((Inventory(WITNESS_BLOCK, block_id),)))

    def _remember(self, block_id: Hash32, recent: _RecentBlock) -> None:
        self._recent[block_id] = recent
        if len(self._recent) > RECENT_BLOCKS_MAX:
            oldest_id = next(iter(self._recent))
            del self._recent[oldest_id]
            self._messages.pop(oldest_id, None)

    def _select_announcer(self, link: Link) -> None:
        """Request pushes from the link that sent the tip, in place of the least useful link.

        One outbound announcer is kept if there was one: inbound peers could all belong to one
        attacker (Bitcoin: MaybeSetPeerAsAnnouncingHeaderAndIDs).
        """
        if not link.knows_compact:
            return
        if link in self._announcers:
            self._announcers.remove(link)
            self._announcers.append(link)
            return
        if len(self._announcers) >= ANNOUNCERS_MAX:
            outbound = [other for other in self._announcers if other.is_outbound]
            first = self._announcers[0]
            keep_first = not link.is_outbound and outbound == [first]
            dropped = self._announcers.pop(1 if keep_first else 0)
            self._send_sendcmpct(dropped, announces=False)
        self._announcers.append(link)
        self._send_sendcmpct(link, announces=True)

    def _send_sendcmpct(self, link: Link, *, announces: bool) -> None:
        self._context.send(link, SendCompact(announces, COMPACT_VERSION), Priority.CONTROL)
