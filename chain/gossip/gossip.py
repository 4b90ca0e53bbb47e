"""The gossip core: makes the parts, passes each event to those that handle it, returns actions."""

from collections.abc import Container
from itertools import islice
from typing import TYPE_CHECKING

from chain.gossip.actions import Action, ConnectionType
from chain.gossip.bans import Bans
from chain.gossip.blocks.block_download import BlockDownload
from chain.gossip.blocks.block_queue import BlockQueue
from chain.gossip.blocks.blockrelay import BlockRelay
from chain.gossip.blocks.compact_download import CompactDownload
from chain.gossip.blocks.compactrelay import CompactRelay
from chain.gossip.blocks.headersync import HeaderSync
from chain.gossip.blocks.serve import Serving
from chain.gossip.blocks.upload import Upload
from chain.gossip.config import Config
from chain.gossip.context import Context, Link
from chain.gossip.dispatch import Dispatch, Part, on_link_event
from chain.gossip.events import Event, Frames, LinkEvent, Now, RequestAbandoned, WriteProgress
from chain.gossip.peers.addresses import AddressBook
from chain.gossip.peers.addressrelay import AddressRelay
from chain.gossip.peers.dialling import Dialling
from chain.gossip.peers.greeting import Greeting
from chain.gossip.peers.links import Liveness, PeerInfo, PeerInfos, drop_duplicate
from chain.gossip.peers.seeding import Seeding
from chain.gossip.peers.stale import StaleTip
from chain.gossip.saved import SavedState
from chain.gossip.short_ids import ShortIds
from chain.gossip.transactions.download import TxDownload
from chain.gossip.transactions.feefilter import FeeFilters
from chain.gossip.transactions.txrelay import TxRelay
from chain.gossip.views import ChainView, PoolView, RandomSource
from chain.gossip.wire.hello import Hello
from chain.gossip.wire.messages import AddressRecord

if TYPE_CHECKING:
    from chain.consensus.entry import BlockTreeEntry


class Gossip:
    """The peer protocol of one node. `handle` never raises because of anything a peer did."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that is injected into a node, and only here
        self,
        config: Config,
        rng: RandomSource,
        secret: bytes,
        chain: ChainView,
        pool: PoolView,
        saved: SavedState,
        short_ids: ShortIds | None = None,
        bans: Bans | None = None,
    ) -> None:
        """`secret` (32 bytes) is permanent: it keys the slots of the address book.

        A simulation may pass `short_ids` shared by many nodes; a driver may pass `bans`, which it
        may change.
        """
        self._context = context = Context(config, rng, secret, chain, pool)
        context.short_ids = short_ids or context.short_ids
        context.bans = context.bans if bans is None else bans
        self._liveness = Liveness(context)
        self._greeting = Greeting(context)
        book = AddressBook(secret)
        self._dialling = Dialling(context, book, self._greeting, saved.anchors)
        self._seeding = Seeding(context, book, self._dialling)
        self._address_relay = AddressRelay(context, book, saved.addresses, saved.discouraged)
        self._tx_relay = TxRelay(context)
        self._tx_download = TxDownload(context, self._tx_relay.announce)
        self._fee_filters = FeeFilters(context)
        self._header_sync = HeaderSync(context)
        self._stale = StaleTip(context, self._dialling, self._header_sync)
        self._block_queue = BlockQueue(context, self._header_sync)
        self._block_download = BlockDownload(context, self._block_queue, self._header_sync)
        self.upload = Upload(context)
        self._serving = Serving(context, self.upload)
        self._compact_relay = CompactRelay(context, self._serving)
        self._compact_download = CompactDownload(
            context,
            self._block_queue,
            self._block_download,
            self._header_sync,
            self._tx_download.extra_transactions,
        )
        self._block_relay = BlockRelay(context, self._compact_relay)
        self._infos = PeerInfos(
            context, self._liveness, self._block_download, self._compact_relay, self._tx_relay
        )
        self._connect_parts()
        self._parts: tuple[Part, ...] = (  # in the order in which they are called
            self._liveness,
            self._greeting,
            self._block_queue,
            self._compact_download,
            self._block_download,
            self.upload,
            self._serving,
            self._compact_relay,
            self._block_relay,
            self._header_sync,
            self._tx_download,
            self._tx_relay,
            self._fee_filters,
            self._address_relay,
            self._dialling,
            self._seeding,
            self._stale,
        )
        handlers = [handler for part in self._parts for handler in part.handlers()]
        self._dispatch = Dispatch([*handlers, on_link_event(Frames, self._frames)])
        self._tip = chain.tip
        self._is_started = False

    def _connect_parts(self) -> None:
        """Register callbacks from parts to parts that were made after them."""
        download, relay = self._block_download, self._compact_relay
        self._header_sync.on_progress.append(download.best_known_changed)
        self._block_queue.on_wrong_reconstruction.append(download.request_whole)
        self._block_queue.on_verdicts += (relay.blocks_validated, download.blocks_validated)
        self._compact_download.on_reconstructed.append(relay.reconstructed)

    def handle(self, event: Event, now: Now) -> list[Action]:
        """Process an event, and return the actions to carry out, in order."""
        self._context.begin(now)
        if not self._is_started:
            self._is_started = True
            self._start()
        self._context.run_timers()
        self._route(event)
        self._notify_parts()
        while self._context.run_deferred():
            self._notify_parts()
        return self._context.take_actions()

    def _start(self) -> None:
        self._address_relay.start()
        self._seeding.start()  # before the dialling, to which a seed is the last resort
        for part in (self._dialling, self._stale, self._fee_filters):
            part.start()

    def next_deadline(self) -> int | None:
        """Return when (monotonic microseconds) a Tick is due; ask again after each event."""
        return self._context.next_deadline()

    def hello(self) -> Hello:
        """Return our hello for `GET /hello`, as of the last event."""
        return self._greeting.hello(None)

    def connection_types(self) -> list[ConnectionType | None]:
        """Return each link's type, oldest first; None: the peer dialled. Any thread."""
        return [link.connection_type for link in list(self._context.links.values())]

    def peers(self) -> list[PeerInfo]:
        """Return what is known of each link, oldest first."""
        return self._infos.all()

    def known_addresses(self, count: int, ip_bytes: Container[int]) -> list[AddressRecord]:
        """Return up to `count` random addresses of other nodes, with IPs of these lengths only."""
        return self._address_relay.known(count, ip_bytes)

    def _route(self, event: Event) -> None:
        if not isinstance(event, LinkEvent):
            self._dispatch.event(event)
            return
        link = self._context.links.get(event.link)
        if link is None:
            return  # already closed by us, with events still in transit
        if not isinstance(event, WriteProgress | RequestAbandoned):  # these are no life signs
            link.last_receive_us = self._context.now.mono_us
        self._dispatch.link_event(link, event)

    def _frames(self, link: Link, frames: Frames) -> None:
        """Charge the link for each message, and pass the message on."""
        share = frames.size // max(len(frames.messages), 1)
        blocks = self._block_download.take_requested(link, frames.messages)
        self._liveness.received_blocks(link, blocks)
        for message in islice(frames.messages, blocks, None):
            if link.id not in self._context.links:
                return  # one of them closed the link
            expected = self._dispatch.expects(link, message)
            self._liveness.received(link, message, None if expected else share)
            self._dispatch.message(link, message)

    def _notify_parts(self) -> None:
        """Inform the parts of a new link, of closed links and of a new tip."""
        context = self._context
        while context.opened:
            link = context.opened.pop(0)
            for part in self._parts:
                part.opened(link)
            drop_duplicate(context, link)
        while context.closed:
            link = context.closed.pop(0)
            for part in self._parts:
                part.closed(link)
        tip = context.chain.tip
        if tip != self._tip:
            before, self._tip = self._tip, tip
            self._tip_changed(before, tip)

    def _tip_changed(self, before: "BlockTreeEntry", tip: "BlockTreeEntry") -> None:
        self._liveness.tip_changed(before, tip)
        self._block_queue.block_stored(tip.id)
        self._tx_download.tip_changed()
        self._stale.tip_changed()
        if not before.is_ancestor_of(tip):
            self._tx_download.reorganised()
        self._block_relay.tip_changed()
        self._block_download.schedule()
