"""The gossip core: routes each event to the parts it concerns, and returns their actions."""

from collections.abc import Container
from typing import TYPE_CHECKING

from chain.gossip.actions import Action, Close, Priority
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
from chain.gossip.context import CODE_MISBEHAVED, CODE_NORMAL, Context, Link
from chain.gossip.events import (
    Accepted,
    BadFrame,
    BlockRead,
    BlockVerdict,
    Closed,
    DialEvent,
    DialFailed,
    Dialled,
    Event,
    FeelerSucceeded,
    Frames,
    HeadersRead,
    HeadersVerdict,
    LedgerReplyEvent,
    LinkEvent,
    LinkId,
    LocalBlock,
    LocalTx,
    NodeEvent,
    Now,
    OwnerEvent,
    PingWanted,
    Requested,
    RequestFinished,
    Tick,
    TxVerdict,
    WriteProgress,
)
from chain.gossip.peers.addresses import AddressBook
from chain.gossip.peers.addressrelay import AddressRelay
from chain.gossip.peers.dialling import Dialling
from chain.gossip.peers.greeting import Greeting
from chain.gossip.peers.links import Liveness, OpenedLink, PeerInfo, PeerInfos, drop_duplicate
from chain.gossip.peers.stale import StaleTip
from chain.gossip.saved import SavedState
from chain.gossip.short_ids import ShortIds
from chain.gossip.transactions.download import TxDownload
from chain.gossip.transactions.feefilter import FeeFilters
from chain.gossip.transactions.txrelay import TxRelay
from chain.gossip.views import ChainView, PoolView, RandomSource
from chain.gossip.wire.compact import (
    BlockTransactions,
    CompactBlock,
    GetBlockTransactions,
    SendCompact,
)
from chain.gossip.wire.extension import Extension
from chain.gossip.wire.hello import Hello
from chain.gossip.wire.messages import (
    Addresses,
    AddressRecord,
    BlockMessage,
    Bye,
    FeeFilter,
    GetAddresses,
    GetData,
    GetHeaders,
    Headers,
    Inv,
    Message,
    NotFound,
    Ping,
    Pong,
    TxMessage,
)
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction

if TYPE_CHECKING:
    from chain.gossip.context import Part


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

        A simulation may pass `short_ids` shared by many nodes; a driver may pass `bans` that it
        changes.
        """
        self._context = context = Context(config, rng, secret, chain, pool)
        context.short_ids = short_ids or context.short_ids
        context.bans = context.bans if bans is None else bans
        self._liveness = Liveness(context)
        self._greeting = Greeting(context)
        book = AddressBook(secret)
        self._dialling = Dialling(context, book, self._greeting, saved.anchors)
        self._address_relay = AddressRelay(context, book, saved.addresses, saved.discouraged)
        self._block_queue = BlockQueue(
            context, self._block_validated, self._request_whole_block, self._request_headers
        )
        self._block_download = BlockDownload(context, self._block_queue)
        self._header_sync = HeaderSync(context, self._block_download.best_known_changed)
        self._stale = StaleTip(context, self._dialling, self._header_sync)
        self.upload = Upload(context)
        self._serving = Serving(context, self.upload)
        self._compact_relay = CompactRelay(context, self._serving)
        self._compact_download = CompactDownload(
            context, self._block_queue, self._block_download, self._header_sync
        )
        self._compact_download.on_reconstructed.append(self._compact_relay.reconstructed)
        self._block_relay = BlockRelay(context, self._compact_relay)
        self._tx_download = TxDownload(context, self._transaction_accepted)
        self._tx_relay = TxRelay(context)
        self._fee_filters = FeeFilters(context)
        self._infos = PeerInfos(
            context, self._liveness, self._block_download, self._compact_relay, self._tx_relay
        )
        self._parts: tuple[Part, ...] = (
            self._compact_download,
            self._block_download,
            self._compact_relay,
            self.upload,
            self._serving,
            self._block_relay,
            self._header_sync,
            self._tx_download,
            self._tx_relay,
            self._fee_filters,
            self._address_relay,
            self._dialling,
        )
        self._tip = chain.tip
        self._is_started = False

    def handle(self, event: Event, now: Now) -> list[Action]:
        """Process an event, and return the actions to carry out, in order."""
        self._context.begin(now)
        if not self._is_started:
            self._is_started = True
            for part in (self._address_relay, self._dialling, self._stale, self._fee_filters):
                part.start()
        self._context.run_timers()
        self._route(event)
        self._notify_parts()
        return self._context.take_actions()

    def next_deadline(self) -> int | None:
        """Return when (monotonic microseconds) a Tick is due; ask again after each event."""
        return self._context.next_deadline()

    def hello(self) -> Hello:
        """Return our hello for `GET /hello`, as of the last event."""
        return self._greeting.hello(None)

    def peers(self) -> list[PeerInfo]:
        """Return what is known of each link, oldest first."""
        return self._infos.all()

    def known_addresses(self, count: int, ip_bytes: Container[int]) -> list[AddressRecord]:
        """Return up to `count` random addresses of other nodes, with IPs of these lengths only."""
        return self._address_relay.known(count, ip_bytes)

    def _route(self, event: Event) -> None:
        if isinstance(event, LinkEvent):
            link = self._context.links.get(event.link)
            if link is None:
                return  # already closed by us, with events still in transit
            if not isinstance(event, WriteProgress):  # our own writing shows nothing about the peer
                link.last_receive_us = self._context.now.mono_us
            self._route_link(link, event)
        elif isinstance(event, LedgerReplyEvent):
            self._route_ledger_reply(event)
        elif isinstance(event, NodeEvent):
            self._route_node(event)
        elif isinstance(event, OwnerEvent):
            self._dialling.handle_owner_event(event)
        else:
            self._route_dial(event)

    def _route_dial(self, event: DialEvent) -> None:
        match event:
            case Dialled():
                self._dialled(event)
            case DialFailed():
                self._dialling.failed(event)
            case FeelerSucceeded():
                self._dialling.feeler_succeeded(
                    event.dial, is_ours=self._greeting.is_ours(event.hello)
                )
            case Accepted():
                if self._greeting.accept_or_refuse(event):
                    hello = event.hello
                    self._open(OpenedLink(event.link, event.remote, None, hello.nonce, hello))

    def _route_link(self, link: Link, event: LinkEvent) -> None:
        match event:
            case Closed():
                self._context.close(link, event.why)
            case BadFrame():
                self._context.misbehaved(link, f"bad frame: {event.why}")
            case Frames():
                self._frames(link, event)
            case Requested():
                self._requested(link, event)
            case RequestFinished():
                if isinstance(event.message, GetHeaders):
                    self._header_sync.request_finished(link, event.message, failed=event.failed)
                else:
                    self._block_download.request_finished(link, event.message, failed=event.failed)
            case WriteProgress():
                self.upload.wrote(link, event.written_bytes)
                self._liveness.wrote(link, event.queued_bytes)

    def _route_ledger_reply(self, event: LedgerReplyEvent) -> None:
        match event:
            case HeadersVerdict():
                self._header_sync.verdict(event)
            case BlockVerdict():
                self._block_queue.verdict(event)
            case TxVerdict():
                self._tx_download.verdict(event)
            case BlockRead():
                self._serving.block_read(event)
            case HeadersRead():
                self._serving.headers_read(event)

    def _route_node(self, event: NodeEvent) -> None:
        match event:
            case LocalBlock():
                self._block_queue.block_stored(event.block.id)
                self._block_relay.local_block(event.block)
            case LocalTx():
                self._tx_download.local_transaction(event.transaction)
                self._tx_relay.announce_local(event.transaction)
            case PingWanted():
                self._liveness.ping_all()
            case Tick():
                pass  # the timers have run

    def _dialled(self, event: Dialled) -> None:
        wanted = self._dialling.dialled(event.dial)
        if wanted is None or not self._greeting.is_ours(event.reply.hello):
            self._context.emit(Close(event.link, "not what was dialled", CODE_MISBEHAVED, 0))
            return
        reply = event.reply
        self._open(OpenedLink(event.link, *wanted, hello=reply.hello, seen_as=reply.your_address))

    def _open(self, opened_link: OpenedLink) -> None:
        link = self._liveness.open(opened_link)
        self._context.trace(
            "link opened", link=link.id, connection_type=link.connection_type or "inbound"
        )
        for part in self._parts:
            part.opened(link)
        drop_duplicate(self._context, link)

    def _notify_parts(self) -> None:
        """Inform the parts of closed links and of a new tip."""
        context = self._context
        while context.closed:
            link = context.closed.pop(0)
            context.trace("link closed", link=link.id)
            for part in self._parts:
                part.closed(link)
            self._liveness.closed(link)
            self._stale.closed(link)
        tip = context.chain.tip
        if tip != self._tip:
            before, self._tip = self._tip, tip
            self._block_queue.block_stored(tip.id)
            self._tx_download.tip_changed()
            self._stale.tip_changed()
            if not before.is_ancestor_of(tip):
                self._tx_download.reorganised()
            self._block_relay.tip_changed()
            self._block_download.schedule()

    def _frames(self, link: Link, frames: Frames) -> None:
        share = frames.size // max(len(frames.messages), 1)
        for message in frames.messages:
            if link.id not in self._context.links:
                return  # one of them closed the link
            asked = self._expects(link, message)
            self._liveness.received(link, message, None if asked else share)
            self._message(link, message)

    def _requested(self, link: Link, event: Requested) -> None:
        self._liveness.received(link, event.message, event.size)
        if isinstance(event.message, GetHeaders):
            self._serving.serve_headers(link, event.message, event.token)
        else:
            self._serving.serve_blocks(link, event.message, event.token)

    def _expects(self, link: Link, message: Message) -> bool:
        match message:
            case BlockMessage():
                return self._block_download.expects(link, message)
            case Headers():
                return self._header_sync.expects(link)
            case TxMessage():
                return self._tx_download.expects(link, message.transaction)
            case CompactBlock() | BlockTransactions():
                return self._compact_download.expects(link, message)
            case _:
                return False

    def _message(self, link: Link, message: Message) -> None:
        match message:
            case BlockMessage():
                self._block(link, message)
            case CompactBlock() | BlockTransactions() | GetBlockTransactions() | SendCompact():
                self._compact_message(link, message)
            case Headers():
                self._header_sync.headers(link, message)
            case GetHeaders():
                self._serving.serve_headers(link, message, None)
            case GetData() | NotFound():
                self._inventory(link, message)
            case TxMessage() | Inv() | FeeFilter():
                self._transaction(link, message)
            case Ping() | Pong() | Bye() | Addresses() | GetAddresses() | Extension():
                self._housekeeping(link, message)

    def _compact_message(
        self,
        link: Link,
        message: CompactBlock | BlockTransactions | GetBlockTransactions | SendCompact,
    ) -> None:
        match message:
            case CompactBlock():
                self._compact_download.extra_transactions = self._tx_download.extra_transactions
                self._compact_download.compact(link, message)
            case BlockTransactions():
                self._compact_download.transactions(link, message)
            case GetBlockTransactions():
                self._compact_relay.serve_transactions(link, message)
            case SendCompact():
                self._compact_relay.on_sendcmpct(link, message)

    def _inventory(self, link: Link, message: GetData | NotFound) -> None:
        if isinstance(message, GetData):
            self._serving.serve_blocks(link, message, None)
            self._compact_relay.serve(link, message)
            self._tx_relay.serve(link, message)
        else:
            self._block_download.not_found(link, message)
            self._tx_download.not_found(link, message)

    def _transaction(self, link: Link, message: TxMessage | Inv | FeeFilter) -> None:
        match message:
            case TxMessage():
                self._tx_download.received(link, message.transaction)
            case Inv():
                self._tx_relay.announced(link, message.items)
                self._tx_download.announced(link, message.items)
            case FeeFilter():
                self._tx_relay.fee_filter(link, message.grains_per_kvb)

    def _housekeeping(
        self, link: Link, message: Ping | Pong | Bye | Addresses | GetAddresses | Extension
    ) -> None:
        match message:
            case Ping():
                self._context.send(link, Pong(message.nonce), Priority.CONTROL)
            case Pong():
                self._liveness.pong(link, message)
            case Bye():
                link.retry_after_s = message.retry_after_s
                self._context.close(link, f"bye {message.code}", CODE_NORMAL)
            case Addresses():
                self._address_relay.addresses(link, message)
            case GetAddresses():
                self._address_relay.serve(link)
            case Extension():
                pass  # from a later version; it was charged

    def _block(self, link: Link, block: BlockMessage) -> None:
        """Take a block, requested or pushed."""
        chain = self._context.chain
        if self._block_download.expects(link, block):
            self._block_download.block(link, block)
        elif chain.has_block(block.block_id) and (entry := chain.get(block.block_id)):
            link.update_best_known(entry)
        elif chain.get(block.header.previous) is None:
            self._header_sync.request(link)
        elif self._block_queue.is_worth_validating(block.header):
            self._block_queue.add(block, link)
            self._compact_download.request_ancestors(link, block.header)

    def _request_whole_block(self, link: Link, block_id: Hash32) -> None:
        self._block_download.request_whole(link, block_id)

    def _request_headers(self, link: Link) -> None:
        self._header_sync.request(link)

    def _block_validated(self, link: Link, block: BlockMessage, *, accepted: bool) -> None:
        if accepted:
            self._block_download.connected()
            self._compact_relay.block_validated(link, block)
        elif link.id in self._context.links:
            self._header_sync.pause(link)  # perhaps only too early, so the sender is not blamed
        self._block_download.schedule()

    def _transaction_accepted(self, transaction: Transaction, source: LinkId) -> None:
        self._tx_relay.announce(transaction, source)
