"""Link state: opening, liveness, and what is known of each peer."""

from dataclasses import dataclass
from typing import Final

from chain.consensus.entry import BlockTreeEntry, fork_point
from chain.gossip.actions import ConnectionType, Pause, Priority, Resume
from chain.gossip.blocks.block_download import BlockDownload
from chain.gossip.blocks.compactrelay import CompactRelay
from chain.gossip.context import (
    CODE_DUPLICATE,
    CODE_FULL,
    CODE_MISBEHAVED,
    CODE_NORMAL,
    CODE_SLOW,
    CODE_TIMEOUT,
    Context,
    Link,
)
from chain.gossip.dispatch import Handler, Part, on_event, on_link_event, on_message
from chain.gossip.events import BadFrame, Closed, LinkId, PingWanted, Requested, WriteProgress
from chain.gossip.limits import MESSAGE_US, TRUSTED_FACTOR, LinkBudget
from chain.gossip.transactions.txrelay import TxRelay
from chain.gossip.wire.address import Address
from chain.gossip.wire.hello import Hello
from chain.gossip.wire.messages import Bye, Message, Ping, Pong
from chain.primitives.numbers import SECOND_US

PING_INTERVAL_S: Final = 20  # below the 60 s after which proxies and NATs forget a connection
PONG_TIMEOUT_S: Final = 60
SILENCE_S_MAX: Final = 90
OLD_BLOCK_S: Final = 24 * 3600  # Bitcoin: DEFAULT_MAX_TIP_AGE
QUEUED_BYTES_MAX: Final = 2 * 1024 * 1024 + 4_000_000  # a block may always be in transit
QUEUED_BYTES_ALL_MAX: Final = 64 * 1024 * 1024  # of all links together
WRITE_STALL_S_MAX: Final = 60
CLOCKS_MIN: Final = 3  # peers whose clocks are compared with ours
CLOCK_OFF_S_MAX: Final = 600  # Bitcoin: WARN_THRESHOLD of its TimeOffsets
# Kinds of traces, and the connection type in them of links that the peer dialled.
CLOCK_OFF: Final = "our clock is off"
LINK_OPENED: Final = "link opened"
LINK_CLOSED: Final = "link closed"
SEED_ANSWERED: Final = "seed answered"
SEED_SILENT: Final = "seed did not answer"
INBOUND: Final = "inbound"
_UNPAIRED: Final = frozenset({ConnectionType.BLOCK_RELAY, ConnectionType.ADDR_FETCH})
_BYE_REASONS: Final = {  # for the log: what a peer's code says of us, or of it
    CODE_NORMAL: "no longer needed",
    CODE_MISBEHAVED: "it refuses this node",
    CODE_TIMEOUT: "no answer from this node",
    CODE_DUPLICATE: "there are two links",
    CODE_SLOW: "this node reads too slowly",
    CODE_FULL: "it stops, or is full",
}


@dataclass(slots=True)
class _Liveness:
    """The liveness state of one link."""

    ping_nonce: int | None = None
    ping_sent_us: int = 0
    progress_us: int = 0  # when the queue last shrank or was empty
    paused: bool = False


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """The result of a handshake; the fields are those of `Link`."""

    link: LinkId
    address: Address
    connection_type: ConnectionType | None
    nonce: int
    hello: Hello
    seen_as: Address | None = None


class Liveness(Part):
    """Pings, silence, slow readers and budgets of all links."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._states: dict[LinkId, _Liveness] = {}

    def handlers(self) -> tuple[Handler, ...]:
        """Handle pings and pongs, reports of what was written, and the end of a link."""
        return (
            on_message(Ping, self.ping),
            on_message(Pong, self.pong),
            on_message(Bye, self.bye),
            on_link_event(Requested, self.requested),
            on_link_event(WriteProgress, self.wrote),
            on_link_event(BadFrame, self.bad_frame),
            on_link_event(Closed, self.ended),
            on_event(PingWanted, self.ping_all),
        )

    def opened(self, link: Link) -> None:
        """Start pinging a new link."""
        context = self._context
        self._states[link.id] = _Liveness(progress_us=context.now.mono_us)
        context.call_later(PING_INTERVAL_S, lambda: self._check(link))
        if link.is_outbound:
            self._compare_clocks()
        context.trace(
            LINK_OPENED,
            link=link.id,
            connection_type=link.connection_type or INBOUND,
            address=str(link.address),
            agent=link.hello.agent,
            height=link.hello.height,
        )

    def _compare_clocks(self) -> None:
        """Log if our clock differs from most outbound peers'; it has no other effect."""
        ahead_s = sorted(
            link.clock_ahead_s for link in self._context.links.values() if link.is_outbound
        )
        median_s = ahead_s[len(ahead_s) // 2]
        if len(ahead_s) >= CLOCKS_MIN and abs(median_s) > CLOCK_OFF_S_MAX:
            self._context.trace(CLOCK_OFF, peers_ahead_s=median_s)

    def closed(self, link: Link) -> None:
        """Forget a link."""
        self._context.trace(
            LINK_CLOSED,
            link=link.id,
            connection_type=link.connection_type or INBOUND,
            address=str(link.address),
            why=link.close_reason,
        )
        self._states.pop(link.id, None)

    def received(self, link: Link, message: Message, unrequested_bytes: int | None) -> None:
        """Record a received message, and pause the link if it costs more than its share.

        `unrequested_bytes` is None for a message that we requested: it costs only processor time.
        """
        now_us = self._context.now.mono_us
        if unrequested_bytes is None:
            link.budget.charge(message, now_us)
        else:
            link.budget.charge_unrequested(message, unrequested_bytes, now_us)
        self._pause_if_over(link)

    def received_blocks(self, link: Link, count: int) -> None:
        """Do as `received` for blocks that we requested and that came together."""
        if count:
            link.budget.charge_cpu(count * MESSAGE_US, self._context.now.mono_us)
            self._pause_if_over(link)

    def tip_changed(self, before: BlockTreeEntry, tip: BlockTreeEntry) -> None:
        """Allow each peer more messages about blocks, as the chain has grown.

        Not for old blocks: a first sync connects thousands in a second, which no peer announces.
        """
        if self._context.now.unix_s - tip.header.time > OLD_BLOCK_S:
            return
        for link in self._context.links.values():
            link.budget.blocks_connected(tip.height - before.height, self._context.now.mono_us)

    def requested(self, link: Link, event: Requested) -> None:
        """Record a message that came as an HTTP request."""
        self.received(link, event.message, event.size)

    def ping(self, link: Link, ping: Ping) -> None:
        """Reply to a ping."""
        self._context.send(link, Pong(ping.nonce), Priority.CONTROL)

    def bye(self, link: Link, bye: Bye) -> None:
        """Close a link whose peer is about to close it."""
        link.retry_after_s = bye.retry_after_s
        why = _BYE_REASONS.get(bye.code, f"code {bye.code}")
        self._context.close(link, f"the peer closed it ({why})", CODE_NORMAL)

    def ended(self, link: Link, event: Closed) -> None:
        """Close a link that the peer or the network closed."""
        self._context.close(link, event.why)

    def bad_frame(self, link: Link, event: BadFrame) -> None:
        """Close a link that sent malformed bytes."""
        self._context.misbehaved(link, f"bad frame: {event.why}")

    def pong(self, link: Link, pong: Pong) -> None:
        """Handle the reply to a ping; any other pong is ignored, as in Bitcoin."""
        state = self._states[link.id]
        if state.ping_nonce == pong.nonce:
            took_us = self._context.now.mono_us - state.ping_sent_us
            link.last_ping_us = took_us
            link.ping_us = took_us if link.ping_us is None else min(link.ping_us, took_us)
            state.ping_nonce = None

    def wrote(self, link: Link, event: WriteProgress) -> None:
        """Record the size of the send queue; a link whose queue only grows is closed."""
        queued_bytes = event.queued_bytes
        state = self._states[link.id]
        if queued_bytes < link.queued_bytes or queued_bytes == 0:
            state.progress_us = self._context.now.mono_us
        link.queued_bytes = queued_bytes
        if queued_bytes > QUEUED_BYTES_MAX:
            self._context.close(link, "reads too slowly", CODE_SLOW)
        links = self._context.links.values()
        if sum(link.queued_bytes for link in links) > QUEUED_BYTES_ALL_MAX:
            slowest = max(links, key=lambda link: link.queued_bytes)
            self._context.close(slowest, "reads slowest while the send queues are full", CODE_SLOW)

    def ping_all(self, _: PingWanted) -> None:
        """Ping each link without an open ping."""
        for link in list(self._context.links.values()):
            self._ping(link, self._states[link.id])

    def ping_waits_us(self, link: Link) -> int | None:
        """Return how long the open ping has had no reply; None: no ping is open."""
        state = self._states.get(link.id)
        if state is None or state.ping_nonce is None:
            return None
        return self._context.now.mono_us - state.ping_sent_us

    def _ping(self, link: Link, state: _Liveness) -> None:
        if state.ping_nonce is None:
            state.ping_nonce = self._context.nonce(b"ping")
            state.ping_sent_us = self._context.now.mono_us
            self._context.send(link, Ping(state.ping_nonce), Priority.CONTROL)

    def _pause_if_over(self, link: Link) -> None:
        state = self._states[link.id]
        wait_us = link.budget.wait_us(self._context.now.mono_us)
        if wait_us and not state.paused:
            state.paused = True
            self._context.emit(Pause(link.id))
            self._context.call_later(wait_us / SECOND_US, lambda: self._resume(link))

    def _resume(self, link: Link) -> None:
        state = self._states.get(link.id)
        if state is None:
            return
        state.paused = False
        self._pause_if_over(link)
        if not state.paused:
            self._context.emit(Resume(link.id))

    def _check(self, link: Link) -> None:
        """Close a dead link, or ping it again, at each ping interval."""
        context, state = self._context, self._states.get(link.id)
        if state is None:
            return
        now_us = context.now.mono_us
        life_signs = {
            "silent": not state.paused
            and now_us - link.last_receive_us > SILENCE_S_MAX * SECOND_US,
            "no pong": not state.paused
            and state.ping_nonce is not None
            and now_us - state.ping_sent_us > PONG_TIMEOUT_S * SECOND_US,
            "stopped reading": link.queued_bytes > 0
            and now_us - state.progress_us > WRITE_STALL_S_MAX * SECOND_US,
        }
        for why, holds in life_signs.items():
            if holds:
                context.close(link, why, CODE_TIMEOUT)
                return
        self._ping(link, state)
        context.call_later(PING_INTERVAL_S, lambda: self._check(link))


def open_link(context: Context, opened_link: OpenedLink) -> None:
    """Create a link from the result of a handshake, and add it to the links."""
    now_us = context.now.mono_us
    trust = 1 if opened_link.connection_type is None else TRUSTED_FACTOR
    factor = context.config.rate_factor * trust
    link = Link(
        id=opened_link.link,
        address=opened_link.address,
        connection_type=opened_link.connection_type,
        hello=opened_link.hello,
        nonce=opened_link.nonce,
        seen_as=opened_link.seen_as,
        clock_ahead_s=opened_link.hello.unix_s - context.now.unix_s,
        opened_us=now_us,
        budget=LinkBudget(factor, now_us, context.config.signature_us),
        last_receive_us=now_us,
    )
    context.open(link)


def is_linked(context: Context, address: Address) -> bool:
    """Return whether there is a link to the node at this address, dialled by either side."""
    ip = address.ip  # compared first: `listens_at` is slower to compute, and has the same IP
    links = context.links.values()
    return any(link.address.ip == ip and link.listens_at == address for link in links)


def drop_duplicate(context: Context, opened: Link) -> None:
    """Close one of two links to the same node, if each side dialled one of them.

    Block-relay links do not count: other nodes must not learn of them. Links to seeds end anyway.
    """
    for other in context.links.values():
        if _are_opposite(opened, other):
            loser, winner = sorted((opened, other), key=lambda link: link.nonce)
            winner.is_added_node = winner.is_added_node or loser.is_manual
            context.close(loser, "duplicate of a link in the other direction", CODE_DUPLICATE)
            return


def _are_opposite(one: Link, other: Link) -> bool:
    types = {one.connection_type, other.connection_type}
    if one.is_outbound == other.is_outbound or types & _UNPAIRED:
        return False
    return one.listens_at is not None and one.listens_at == other.listens_at


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerInfo:
    """What is known of a link; times in monotonic microseconds, -1: never."""

    link: LinkId
    address: Address
    listens_at: Address | None  # None: unknown
    seen_as: Address | None  # our address as the peer sees it
    connection_type: ConnectionType | None  # None: inbound
    agent: str
    services: int
    version: int
    opened_us: int
    last_receive_us: int
    last_transaction_us: int  # last one that the pool accepted
    last_block_us: int  # last new block
    ping_us: int | None  # shortest round trip
    last_ping_us: int | None  # last round trip
    ping_waits_us: int | None  # age of the open ping
    clock_ahead_s: int  # peer's clock minus ours, at the handshake
    start_height: int  # at the handshake
    known_height: int | None  # best block that the peer announced
    header_height: int | None  # best block known at the peer, announced by it or sent by us
    common_height: int | None  # highest block of our best chain that the peer has
    in_flight: tuple[int, ...]  # heights of requested blocks
    relays_transactions: bool
    relays_addresses: bool
    addresses_taken: int
    addresses_refused: int  # over the rate limit
    fee_floor: int  # grains per 1000 vbytes; nothing below is announced to the peer
    pushes_blocks: bool  # at our request (BIP152: high bandwidth)
    wants_pushes: bool  # at the peer's request


class PeerInfos:
    """Collects from the parts of the core what is known of each link."""

    def __init__(
        self,
        context: Context,
        liveness: Liveness,
        download: BlockDownload,
        compact: CompactRelay,
        transactions: TxRelay,
    ) -> None:
        self._context = context
        self._liveness = liveness
        self._download = download
        self._compact = compact
        self._transactions = transactions

    def all(self) -> list[PeerInfo]:
        """Return what is known of each link, oldest first.

        Any thread may call this; values that change meanwhile may be the old or the new ones.
        """
        return [self._of(link) for link in list(self._context.links.values())]

    def _of(self, link: Link) -> PeerInfo:
        best = _better(link.best_known, link.common)
        tip = self._context.chain.tip
        return PeerInfo(
            link=link.id,
            address=link.address,
            listens_at=link.listens_at,
            seen_as=link.seen_as,
            connection_type=link.connection_type,
            agent=link.hello.agent,
            services=link.hello.services,
            version=link.hello.version,
            opened_us=link.opened_us,
            last_receive_us=link.last_receive_us,
            last_transaction_us=link.last_transaction_us,
            last_block_us=link.last_block_us,
            ping_us=link.ping_us,
            last_ping_us=link.last_ping_us,
            ping_waits_us=self._liveness.ping_waits_us(link),
            clock_ahead_s=link.clock_ahead_s,
            start_height=link.hello.height,
            known_height=_height(link.best_known),
            header_height=_height(best),
            common_height=None if best is None else fork_point(best, tip).height,
            in_flight=self._download.heights_in_flight(link),
            relays_transactions=link.relays_transactions,
            relays_addresses=link.relays_addresses,
            addresses_taken=link.addresses_taken,
            addresses_refused=link.addresses_refused,
            fee_floor=self._transactions.fee_floor(link),
            pushes_blocks=self._compact.is_announcer(link),
            wants_pushes=link.wants_compact,
        )


def _better(one: BlockTreeEntry | None, other: BlockTreeEntry | None) -> BlockTreeEntry | None:
    """Return the block with more work, or the only one given."""
    if one is None or (other is not None and other.chain_work > one.chain_work):
        return other
    return one


def _height(entry: BlockTreeEntry | None) -> int | None:
    return None if entry is None else entry.height
