"""The gossip core: takes an event, has the part that it concerns act, returns the actions."""

from collections.abc import Container
from typing import TYPE_CHECKING

from chain.gossip.actions import Action, Close, Lane
from chain.gossip.addresses import AddressBook
from chain.gossip.addressrelay import AddressRelay
from chain.gossip.arrivals import Arrivals
from chain.gossip.bans import Bans
from chain.gossip.blockfetch import BlockFetch
from chain.gossip.blockrelay import BlockRelay
from chain.gossip.compact import (
    BlockTransactions,
    CompactBlock,
    GetBlockTransactions,
    SendCompact,
)
from chain.gossip.compactfetch import CompactFetch
from chain.gossip.compactrelay import CompactRelay
from chain.gossip.config import Config
from chain.gossip.context import CODE_MISBEHAVED, CODE_NORMAL, Context, Link
from chain.gossip.dialling import Dialling
from chain.gossip.duplicates import drop_duplicate
from chain.gossip.events import (
    Accepted,
    Answered,
    AnswerEvent,
    BadFrame,
    BlockRead,
    BlockVerdict,
    Closed,
    DialEvent,
    DialFailed,
    Dialled,
    Event,
    Frames,
    HeadersRead,
    HeadersVerdict,
    LinkEvent,
    LinkId,
    LocalBlock,
    LocalTx,
    NodeEvent,
    Now,
    PingWanted,
    Probed,
    Requested,
    Tick,
    TxVerdict,
    WishEvent,
    WriteProgress,
)
from chain.gossip.extension import Extension
from chain.gossip.feefilter import FeeFilters
from chain.gossip.greeting import Greeting
from chain.gossip.headersync import HeaderSync
from chain.gossip.hello import Hello
from chain.gossip.links import Liveness, Opening
from chain.gossip.messages import (
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
from chain.gossip.peerinfo import PeerInfo, PeerInfos
from chain.gossip.rebuild import Shortener
from chain.gossip.saved import Saved
from chain.gossip.serve import Serving
from chain.gossip.stale import StaleTip
from chain.gossip.txintake import TxIntake
from chain.gossip.txrelay import TxRelay
from chain.gossip.upload import Upload
from chain.gossip.views import ChainView, Chance, PoolView
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction

if TYPE_CHECKING:
    from chain.gossip.part import Part


class Gossip:
    """One node's peer protocol. `handle` never raises on account of what a peer did."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that is injected into a node, and only here
        self,
        config: Config,
        chance: Chance,
        secret: bytes,
        chain: ChainView,
        pool: PoolView,
        saved: Saved,
        shortener: Shortener | None = None,
        bans: Bans | None = None,
    ) -> None:
        """`secret` (32 bytes) is this node's for ever: it keys the address book's slots.

        A simulation may give a `shortener` that many nodes share; a driver, `bans` that it changes.
        """
        self._context = context = Context(config, chance, secret, chain, pool)
        context.shortener = shortener or context.shortener
        context.bans = context.bans if bans is None else bans
        self._liveness = Liveness(context)
        self._greeting = Greeting(context)
        book = AddressBook(secret)
        self._dialling = Dialling(context, book, self._greeting, saved.anchors)
        self._addresses = AddressRelay(context, book, saved.addresses, saved.discouraged)
        self._arrivals = Arrivals(
            context, self._block_validated, self._rebuilt_wrongly, self._mutated_before
        )
        self._fetch = BlockFetch(context, self._arrivals)
        self._headers = HeaderSync(context, self._fetch.learned)
        self._stale = StaleTip(context, self._dialling, self._headers)
        self.upload = Upload(context)
        self._serving = Serving(context, self.upload)
        self._compact = CompactRelay(context, self._serving)
        self._rebuilding = CompactFetch(context, self._arrivals, self._fetch, self._headers)
        self._rebuilding.on_rebuilt.append(self._compact.rebuilt)
        self._blocks = BlockRelay(context, self._compact)
        self._intake = TxIntake(context, self._transaction_accepted)
        self._transactions = TxRelay(context)
        self._fee_filters = FeeFilters(context)
        self._infos = PeerInfos(
            context, self._liveness, self._fetch, self._compact, self._transactions
        )
        self._opening: tuple[Part, ...] = (
            self._rebuilding,
            self._fetch,
            self._compact,
            self.upload,
            self._serving,
            self._blocks,
            self._headers,
            self._intake,
            self._transactions,
            self._fee_filters,
            self._addresses,
            self._dialling,
        )
        self._tip = chain.tip
        self._is_started = False

    def handle(self, event: Event, now: Now) -> list[Action]:
        """Take an event, and return what is to be done, in this order."""
        self._context.begin(now)
        if not self._is_started:
            self._is_started = True
            for part in (self._addresses, self._dialling, self._stale, self._fee_filters):
                part.start()
        self._context.run_timers()
        self._route(event)
        self._settle()
        return self._context.finish()

    def next_deadline(self) -> int | None:
        """Return when (monotonic microseconds) a Tick is due; ask again after each event."""
        return self._context.next_deadline()

    def hello(self) -> Hello:
        """Return what answers `GET /hello`, as of the last event."""
        return self._greeting.hello(None)

    def peers(self) -> list[PeerInfo]:
        """Return what is known of each link, oldest first."""
        return self._infos.all()

    def known_addresses(self, count: int, ip_bytes: Container[int]) -> list[AddressRecord]:
        """Return up to `count` addresses of other nodes, by chance; IPs of these lengths only."""
        return self._addresses.known(count, ip_bytes)

    def _route(self, event: Event) -> None:
        if isinstance(event, LinkEvent):
            link = self._context.links.get(event.link)
            if link is None:
                return  # we closed it, and it was still talking
            if not isinstance(event, WriteProgress):  # our own writing is no sign of life
                link.last_receive_us = self._context.now.mono_us
            self._route_link(link, event)
        elif isinstance(event, AnswerEvent):
            self._route_answer(event)
        elif isinstance(event, NodeEvent):
            self._route_node(event)
        elif isinstance(event, WishEvent):
            self._dialling.wished(event)
        else:
            self._route_dial(event)

    def _route_dial(self, event: DialEvent) -> None:
        match event:
            case Dialled():
                self._dialled(event)
            case DialFailed():
                self._dialling.failed(event)
            case Probed():
                self._dialling.probed(event.dial, is_ours=self._greeting.is_ours(event.hello))
            case Accepted():
                if self._greeting.judge(event):
                    hello = event.hello
                    self._open(Opening(event.link, event.remote, None, hello.nonce, hello))

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
            case Answered():
                if isinstance(event.message, GetHeaders):
                    self._headers.answered(link, event.message, failed=event.failed)
                else:
                    self._fetch.answered(link, event.message, failed=event.failed)
            case WriteProgress():
                self.upload.wrote(link, event.written_bytes)
                self._liveness.wrote(link, event.queued_bytes)

    def _route_answer(self, event: AnswerEvent) -> None:
        match event:
            case HeadersVerdict():
                self._headers.verdict(event)
            case BlockVerdict():
                self._arrivals.verdict(event)
            case TxVerdict():
                self._intake.verdict(event)
            case BlockRead():
                self._serving.block_read(event)
            case HeadersRead():
                self._serving.headers_read(event)

    def _route_node(self, event: NodeEvent) -> None:
        match event:
            case LocalBlock():
                self._arrivals.stored(event.block.id)
                self._blocks.own_block(event.block)
            case LocalTx():
                self._intake.local(event.transaction)
                self._transactions.tell_own(event.transaction)
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
        self._open(Opening(event.link, *wanted, hello=reply.hello, seen_as=reply.your_address))

    def _open(self, opening: Opening) -> None:
        link = self._liveness.open(opening)
        self._context.trace("link opened", link=link.id, purpose=link.purpose or "inbound")
        for part in self._opening:
            part.opened(link)
        drop_duplicate(self._context, link)

    def _settle(self) -> None:
        """Tell the parts which links ended, and that there is a new tip."""
        context = self._context
        while context.closed:
            link = context.closed.pop(0)
            context.trace("link closed", link=link.id)
            for part in self._opening:
                part.closed(link)
            self._liveness.closed(link)
            self._stale.closed(link)
        tip = context.chain.tip
        if tip is not self._tip:
            before, self._tip = self._tip, tip
            self._arrivals.stored(tip.id)
            self._intake.tip_changed()
            self._stale.tip_changed()
            if not before.is_ancestor_of(tip):
                self._intake.reorganised()
            self._blocks.tip_changed()
            self._fetch.schedule()

    def _frames(self, link: Link, frames: Frames) -> None:
        share = frames.size // max(len(frames.messages), 1)
        for message in frames.messages:
            if link.id not in self._context.links:
                return  # one of them ended the link
            asked = self._expects(link, message)
            self._liveness.received(link, message, None if asked else share)
            self._message(link, message)

    def _requested(self, link: Link, event: Requested) -> None:
        self._liveness.received(link, event.message, event.size)
        if isinstance(event.message, GetHeaders):
            self._serving.headers_wanted(link, event.message, event.token)
        else:
            self._serving.blocks_wanted(link, event.message, event.token)

    def _expects(self, link: Link, message: Message) -> bool:
        match message:
            case BlockMessage():
                return self._fetch.expects(link, message)
            case Headers():
                return self._headers.expects(link)
            case TxMessage():
                return self._intake.expects(link, message.transaction)
            case CompactBlock() | BlockTransactions():
                return self._rebuilding.expects(link, message)
            case _:
                return False

    def _message(self, link: Link, message: Message) -> None:
        match message:
            case BlockMessage():
                self._block(link, message)
            case CompactBlock() | BlockTransactions() | GetBlockTransactions() | SendCompact():
                self._compact_message(link, message)
            case Headers():
                self._headers.headers(link, message)
            case GetHeaders():
                self._serving.headers_wanted(link, message, None)
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
                self._rebuilding.extra = self._intake.extra
                self._rebuilding.compact(link, message)
            case BlockTransactions():
                self._rebuilding.transactions(link, message)
            case GetBlockTransactions():
                self._compact.transactions_wanted(link, message)
            case SendCompact():
                self._compact.told(link, message)

    def _inventory(self, link: Link, message: GetData | NotFound) -> None:
        if isinstance(message, GetData):
            self._serving.blocks_wanted(link, message, None)
            self._compact.wanted(link, message)
            self._transactions.wanted(link, message)
        else:
            self._fetch.not_found(link, message)
            self._intake.not_found(link, message)

    def _transaction(self, link: Link, message: TxMessage | Inv | FeeFilter) -> None:
        match message:
            case TxMessage():
                self._intake.received(link, message.transaction)
            case Inv():
                self._transactions.announced(link, message.items)
                self._intake.announced(link, message.items)
            case FeeFilter():
                self._transactions.fee_filter(link, message.grains_per_kvb)

    def _housekeeping(
        self, link: Link, message: Ping | Pong | Bye | Addresses | GetAddresses | Extension
    ) -> None:
        match message:
            case Ping():
                self._context.send(link, Pong(message.nonce), Lane.CONTROL)
            case Pong():
                self._liveness.pong(link, message)
            case Bye():
                link.retry_after_s = message.retry_after_s
                self._context.close(link, f"bye {message.code}", CODE_NORMAL)
            case Addresses():
                self._addresses.addresses(link, message)
            case GetAddresses():
                self._addresses.wanted(link)
            case Extension():
                pass  # of a later version; it was charged

    def _block(self, link: Link, block: BlockMessage) -> None:
        """Take a block: one that we asked for, or one that a peer pushed."""
        chain = self._context.chain
        if self._fetch.expects(link, block):
            self._fetch.block(link, block)
        elif chain.has_block(block.block_id) and (entry := chain.get(block.block_id)):
            link.learn(entry)
        elif chain.get(block.header.previous) is None:
            self._headers.ask(link)
        elif self._arrivals.is_welcome(block.header):
            self._arrivals.add(block, link)
            self._rebuilding.lead_up(link, block.header)

    def _rebuilt_wrongly(self, link: Link, block_id: Hash32) -> None:
        self._fetch.ask_whole(link, block_id)

    def _mutated_before(self, link: Link) -> None:
        self._headers.ask(link)

    def _block_validated(self, link: Link, block: BlockMessage, *, accepted: bool) -> None:
        if accepted:
            self._fetch.connected()
            self._compact.arrived(link, block)
        elif link.id in self._context.links:
            self._headers.hold(link)  # not the sender's fault: only too early, perhaps
        self._fetch.schedule()

    def _transaction_accepted(self, transaction: Transaction, source: LinkId) -> None:
        self._transactions.tell(transaction, source)
