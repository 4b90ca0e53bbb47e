"""Peers as the API shows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from chain.gossip.actions import ConnectionType
from chain.gossip.wire.hello import PROTOCOL_VERSION, SERVICE_FULL_NODE


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
