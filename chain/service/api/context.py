"""What the node's process hands to its API: everything here is given, nothing is made."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol, TypeVar

from chain.consensus.params import Params
from chain.gossip.address import Address
from chain.gossip.bans import Bans
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

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerInfo:
    """One peer that the node is connected to, as the API shows it."""

    id: int
    address: str  # HOST:PORT
    is_inbound: bool
    agent: str  # what it calls itself; from outside, so cut and cleaned
    connected_at: int  # unix seconds
    height: int | None = None  # of the best block it told us about
    latency_s: float | None = None
    bytes_sent: int = 0
    bytes_received: int = 0


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


class Caller(Protocol):
    """Runs a callable on the ledger thread and gives back what it returns or raises."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]:
        """Queue the callable and wait for it."""


def _no_peers() -> Sequence[PeerInfo]:
    return ()


def _ignore(_item: object) -> None:
    return None


def _nothing() -> None:
    return None


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
    peers: Callable[[], Sequence[PeerInfo]] = _no_peers
    net_totals: Callable[[], NetTotals] = NetTotals
    is_syncing: Callable[[], bool] = lambda: False  # whether blocks of the best header are missing
    mining: Callable[[], MiningInfo] = MiningInfo
    add_peer: Callable[[Address], None] = _ignore  # on the event loop; links to it are kept
    remove_peer: Callable[[str], None] = _ignore  # by its name among `added_peers`
    added_peers: Callable[[], Sequence[AddedPeer]] = tuple
    try_peer: Callable[[Address], None] = _ignore  # one dial, now
    drop_peer: Callable[[int], bool] = lambda _id: False  # whether there was such a link, now ended
    bans: Bans = field(default_factory=Bans)  # to be changed on the event loop only
    bans_changed: Callable[[], None] = _nothing  # to be called then
    broadcast_tx: Callable[[Transaction], None] = _ignore  # on the event loop; after acceptance
    broadcast_block: Callable[[Block], None] = _ignore  # on the event loop; after connection
    fail: Callable[[BaseException], None] = _ignore  # on the event loop: the node cannot go on
    set_clock: Callable[[int], None] = _ignore  # to unix seconds; 0: the system's again
    disk_bytes: Callable[[], int] = lambda: 0  # what the ledger takes on disk
    stop: Callable[[], None] = _nothing  # asks the process to end, and returns at once
    hosts: tuple[str, ...] = field(default=())  # more Host headers to answer to
