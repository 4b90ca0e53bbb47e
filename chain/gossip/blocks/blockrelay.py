"""Announcing new blocks: as compact blocks to links that want them, else as headers (BIP130)."""

from typing import Final

from chain.consensus.entry import BlockTreeEntry, fork_point
from chain.gossip.actions import Priority
from chain.gossip.blocks.compactrelay import CompactRelay, is_near_best_header
from chain.gossip.blocks.headersync import ANNOUNCED_HEADERS_MAX
from chain.gossip.context import Context, Link
from chain.gossip.dispatch import Handler, Part, on_event
from chain.gossip.events import LinkId, LocalBlock
from chain.gossip.wire.messages import BlockMessage, Headers

LOCAL_PUSH_BYTES_MAX: Final = 64 * 1024  # smaller local blocks are sent unrequested


class BlockRelay(Part):
    """Announces the tip to links that may lack it."""

    def __init__(self, context: Context, compact: CompactRelay) -> None:
        self._context = context
        self._compact = compact
        self._announced: dict[LinkId, BlockTreeEntry] = {}  # last block announced to each link
        self._is_caught_up = False  # never reset: a withheld best header must not stop us

    def handlers(self) -> tuple[Handler, ...]:
        """Handle blocks that no peer sent."""
        return (on_event(LocalBlock, self.local_block),)

    def opened(self, link: Link) -> None:
        """Announce our tip to a new link, so that it can request our headers."""
        tip = self._context.chain.tip
        if tip.height:
            self._announce(link, tip)

    def closed(self, link: Link) -> None:
        """Forget a link."""
        self._announced.pop(link.id, None)

    def local_block(self, event: LocalBlock) -> None:
        """Send a locally mined block to all links, before any other processing."""
        block = event.block
        tip = self._context.chain.tip
        if tip.id != block.id:
            return  # tip_changed then announces it, if necessary
        message = BlockMessage.of(block)
        self._compact.local_block(message, tip)
        if len(block.raw) > LOCAL_PUSH_BYTES_MAX:
            return
        for link in list(self._context.links.values()):
            if not link.has(tip) and not self._compact.was_pushed(link, tip):
                self._context.send(link, message, Priority.BLOCK)
                link.share(tip)
                self._announced[link.id] = tip

    def tip_changed(self) -> None:
        """Announce the tip to all links that may lack it, once we have caught up."""
        chain = self._context.chain
        self._is_caught_up = self._is_caught_up or is_near_best_header(chain)
        if self._is_caught_up:
            for link in list(self._context.links.values()):
                self._announce(link, chain.tip)

    def _announce(self, link: Link, tip: BlockTreeEntry) -> None:
        announced = self._announced.get(link.id)
        if link.has(tip) or (announced is not None and tip.is_ancestor_of(announced)):
            return
        self._announced[link.id] = tip
        if self._compact.was_pushed(link, tip):
            link.share(tip)
            return
        has_parent = tip.parent is not None and (link.has(tip.parent) or announced == tip.parent)
        if has_parent and self._compact.announce(link, tip):
            return
        headers = [entry.header for entry in self._new_headers(link, announced, tip)]
        self._context.send(link, Headers(tuple(headers)), Priority.BLOCK)

    def _new_headers(
        self, link: Link, announced: BlockTreeEntry | None, tip: BlockTreeEntry
    ) -> list[BlockTreeEntry]:
        """Return the headers from a block that the link has up to the tip, or only the tip.

        A link that does not know the parent of the announced tip requests the rest.
        """
        start = 0
        for known in (link.best_known, announced):
            if known is not None:
                start = max(start, fork_point(known, tip).height)
        if tip.height - start > ANNOUNCED_HEADERS_MAX:
            return [tip]
        return [tip.ancestor(height) for height in range(start + 1, tip.height + 1)]
