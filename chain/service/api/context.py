"""What the node's process hands to its API: everything here is given, nothing is made."""

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Final

from chain.consensus.params import Params
from chain.gossip.actions import Purpose
from chain.gossip.address import Address
from chain.gossip.bans import Bans
from chain.gossip.hello import PROTOCOL_VERSION, SERVICE_FULL_NODE
from chain.ledger.errors import LedgerError
from chain.ledger.reader import Reader
from chain.ledger.tree import HeaderTree
from chain.node.node import Node
from chain.primitives.block import Block
from chain.primitives.transaction import Transaction
from chain.service.api.auth import Logins
from chain.service.api.budget import Budget
from chain.service.api.events import Events
from chain.service.api.facts import FactsCache
from chain.service.api.stale import StaleBlocks
from chain.service.ledger_thread import Caller

BLOCK_WAITERS_MAX: Final = 64  # calls that wait for blocks: a quarter of what may listen in all


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerInfo:
    """One peer that the node is connected to, as the API shows it."""

    id: int
    address: str  # HOST:PORT
    is_inbound: bool
    agent: str  # what it calls itself; from outside, so cut and cleaned
    connected_at: int  # unix seconds
    height: int | None = None  # of the best block that it has, as far as we know
    latency_s: float | None = None  # the shortest answer to a ping
    last_latency_s: float | None = None
    ping_waits_s: float | None = None  # since a ping that is not answered yet
    network: str = "ipv4"  # in Bitcoin's words
    local_address: str | None = None  # our end of the connection
    seen_as: str | None = None  # where it sees us
    purpose: Purpose | None = None  # None: inbound
    services: int = SERVICE_FULL_NODE  # of groat's own bits
    version: int = PROTOCOL_VERSION
    clock_ahead_s: int = 0
    start_height: int = 0  # at the handshake
    common_height: int | None = None  # of the last block of our best chain that it has
    in_flight: tuple[int, ...] = ()  # heights of the blocks that it was asked for
    last_sent_at: int = 0  # unix seconds, 0: never; also the next three
    last_received_at: int = 0
    last_transaction_at: int = 0  # when it gave us one that the pool took
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
        """The bytes of all frames that were written."""
        return sum(self.sent.values())

    @property
    def bytes_received(self) -> int:
        """The bytes of all whole frames that came."""
        return sum(self.received.values())


@dataclass(frozen=True, slots=True)
class KnownAddress:
    """Where another node is said to listen."""

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
    """What passed over all links since the start, and how much of the day's upload is used."""

    received_bytes: int = 0
    sent_bytes: int = 0
    upload_limit_bytes: int = 0  # 0: none
    upload_day_bytes: int = 0
    upload_day_left_s: int = 0
    gives_old_blocks: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningInfo:
    """What the node's own miner is doing; `hashes_per_second` 0 if it has none."""

    hashes_per_second: float = 0.0
    threads: int = 0
    kernel: str = ""


def _no_peers() -> Sequence[PeerInfo]:
    return ()


def _ignore(_item: object) -> None:
    return None


def _nothing() -> None:
    return None


async def _no_pool_file() -> Path:
    raise FileNotFoundError("this node keeps no mempool file")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """The node behind one API."""

    params: Params
    node: Node
    tree: HeaderTree
    reader: Reader
    call: Caller  # LedgerThread.call
    clock: Callable[[], int]  # unix seconds
    logins: Logins
    version: str
    started_at: int  # unix seconds
    events: Events  # Events(node); closed before the server ends, so that its streams end
    budget: Budget = field(default_factory=Budget)
    facts: FactsCache = field(default_factory=FactsCache)
    stale: StaleBlocks = field(default_factory=StaleBlocks)
    scanning: Lock = field(default_factory=Lock)  # held by the one scan that may go on
    verifying: Lock = field(default_factory=Lock)  # held by the one verification that may go on
    waiters: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(BLOCK_WAITERS_MAX))
    peers: Callable[[], Sequence[PeerInfo]] = _no_peers
    net_totals: Callable[[], NetTotals] = NetTotals
    is_syncing: Callable[[], bool] = lambda: False  # whether blocks of the best header are missing
    mining: Callable[[], MiningInfo] = MiningInfo
    add_peer: Callable[[Address], None] = _ignore  # on the event loop; links to it are kept
    remove_peer: Callable[[str], None] = _ignore  # by its name among `added_peers`
    added_peers: Callable[[], Sequence[AddedPeer]] = tuple
    try_peer: Callable[[Address], None] = _ignore  # one dial, now
    ping_peers: Callable[[], None] = _nothing  # on the event loop
    network_active: Callable[[], bool] = lambda: True
    set_network_active: Callable[[bool], None] = _ignore  # on the event loop
    known_addresses: Callable[[int, Container[int]], Sequence[KnownAddress]] = (
        lambda _count, _ip_bytes: ()  # on the event loop; at most so many, of IPs so long
    )
    local_addresses: Callable[[], Sequence[Address]] = tuple  # where others reach us, if known
    drop_peer: Callable[[int], bool] = lambda _id: False  # whether there was such a link, now ended
    bans: Bans = field(default_factory=Bans)  # to be changed on the event loop only
    bans_changed: Callable[[], None] = _nothing  # to be called then
    broadcast_tx: Callable[[Transaction], None] = _ignore  # on the event loop; after acceptance
    broadcast_block: Callable[[Block], None] = _ignore  # on the event loop; after connection
    set_clock: Callable[[int], None] = _ignore  # to unix seconds; 0: the system's again
    save_pool: Callable[[], Awaitable[Path]] = _no_pool_file  # at once; raises OSError
    disk_bytes: Callable[[], int] = lambda: 0  # what the ledger takes on disk
    ledger_failed: Callable[[LedgerError], None] = _ignore  # on the event loop; the node stops
    stop: Callable[[], None] = _nothing  # asks the process to end, and returns at once
    hosts: tuple[str, ...] = field(default=())  # more Host headers to answer to
