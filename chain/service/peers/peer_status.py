"""Peers as the API shows them: the core's and the driver's data combined."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chain.gossip.actions import ConnectionType
from chain.gossip.events import Now
from chain.gossip.peers import links
from chain.gossip.peers.policy import network_name
from chain.gossip.wire.frames import frame_name
from chain.gossip.wire.hello import PROTOCOL_VERSION, SERVICE_FULL_NODE
from chain.primitives.numbers import SECOND_US
from chain.service.peers.acceptor import AcceptedLink
from chain.service.peers.dialled import DialledLink
from chain.service.peers.inbox import LinkTally


@dataclass(frozen=True, slots=True)
class ConnectionCounts:
    """How many peers are connected."""

    total: int = 0
    inbound: int = 0  # of these


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    """One peer that the node is connected to, as the API shows it."""

    id: int
    address: str  # HOST:PORT
    is_inbound: bool
    agent: str  # its user agent; foreign text, so shortened and cleaned
    connected_at: int  # unix seconds
    height: int | None = None  # of the peer's best block, as far as known
    latency_s: float | None = None  # the shortest answer to a ping
    last_latency_s: float | None = None
    ping_waits_s: float | None = None  # since the ping that is pending
    network: str = "ipv4"  # in Bitcoin's words
    local_address: str | None = None  # our address of the connection
    seen_as: str | None = None  # our address as the peer sees it
    connection_type: ConnectionType | None = None  # None: inbound
    services: int = SERVICE_FULL_NODE  # of groat's own bits
    version: int = PROTOCOL_VERSION
    clock_ahead_s: int = 0
    start_height: int = 0  # at the handshake
    common_height: int | None = None  # of the last block that it shares with our best chain
    in_flight: tuple[int, ...] = ()  # heights of the blocks requested from it
    last_sent_at: int = 0  # unix seconds, 0: never; also the next three
    last_received_at: int = 0
    last_transaction_at: int = 0  # when it last sent one that the pool accepted
    last_block_at: int = 0
    relays_transactions: bool = True
    relays_addresses: bool = True
    addresses_taken: int = 0
    addresses_refused: int = 0
    fee_floor: int = 0  # grains for 1000 vbytes
    pushes_blocks: bool = False  # to us (BIP152: high bandwidth)
    wants_pushes: bool = False
    sent: Mapping[str, int] = field(default_factory=dict)  # bytes of frames, by message
    received: Mapping[str, int] = field(default_factory=dict)

    @property
    def bytes_sent(self) -> int:
        """The bytes of all sent frames."""
        return sum(self.sent.values())

    @property
    def bytes_received(self) -> int:
        """The bytes of all complete received frames."""
        return sum(self.received.values())


@dataclass(frozen=True, slots=True)
class KnownAddress:
    """An address at which another node may listen."""

    host: str
    port: int
    network: str  # in Bitcoin's words
    seen_at: int  # unix seconds
    services: int  # of groat's own bits


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedPeer:
    """One node that the user wants a link to."""

    name: str  # HOST:PORT
    linked_to: str | None = None  # its IP:PORT, while there is a link
    is_inbound: bool = False  # whether it dialled us


@dataclass(frozen=True, slots=True, kw_only=True)
class NetTotals:
    """The traffic of all links since the start, and the used part of the daily upload."""

    received_bytes: int = 0
    sent_bytes: int = 0
    upload_limit_bytes: int = 0  # 0: none
    upload_day_bytes: int = 0
    upload_day_left_s: int = 0
    gives_old_blocks: bool = True


def shown_peer(
    info: links.PeerInfo, link: AcceptedLink | DialledLink | None, now: Now
) -> PeerStatus:
    """Return a link's status at this time; `link` is None if it has just ended."""
    totals = link.backlog.by_type if link else LinkTally()
    return PeerStatus(
        id=info.link,
        address=str(info.address),
        network=network_name(info.address),
        local_address=str(link.local) if link and link.local else None,
        seen_as=str(info.seen_as) if info.seen_as else None,
        is_inbound=info.connection_type is None,
        connection_type=info.connection_type,
        agent=info.agent,
        services=info.services,
        version=info.version,
        connected_at=_unix_s(info.opened_us, now),
        clock_ahead_s=info.clock_ahead_s,
        start_height=info.start_height,
        height=info.header_height,
        common_height=info.common_height,
        in_flight=info.in_flight,
        latency_s=_seconds(info.ping_us),
        last_latency_s=_seconds(info.last_ping_us),
        ping_waits_s=_seconds(info.ping_waits_us),
        last_sent_at=_unix_s(totals.last_sent_us, now),
        last_received_at=_unix_s(info.last_receive_us, now),
        last_transaction_at=_unix_s(info.last_transaction_us, now),
        last_block_at=_unix_s(info.last_block_us, now),
        relays_transactions=info.relays_transactions,
        relays_addresses=info.relays_addresses,
        addresses_taken=info.addresses_taken,
        addresses_refused=info.addresses_refused,
        fee_floor=info.fee_floor,
        pushes_blocks=info.pushes_blocks,
        wants_pushes=info.wants_pushes,
        sent=_by_name(totals.sent),
        received=_by_name(totals.received),
    )


def _by_name(counts: Mapping[int, int]) -> dict[str, int]:
    """Return counts by message name; messages without a name are summed under one."""
    named: Counter[str] = Counter()
    for frame_type, size in list(counts.items()):
        named[frame_name(frame_type)] += size
    return dict(sorted(named.items()))


def _unix_s(mono_us: int, now: Now) -> int:
    """Return the time of day of a steady clock's time; 0 for never."""
    return 0 if mono_us < 0 else max(now.unix_s - (now.mono_us - mono_us) // SECOND_US, 0)


def _seconds(duration_us: int | None) -> float | None:
    return None if duration_us is None else duration_us / SECOND_US


def counted(peers: Sequence[PeerStatus]) -> ConnectionCounts:
    """Return how many these are."""
    return ConnectionCounts(len(peers), sum(peer.is_inbound for peer in peers))
