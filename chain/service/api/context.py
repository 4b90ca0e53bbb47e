"""The API's view of the node's process: every field is supplied by the process."""

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Final

from chain.consensus.params import Params
from chain.gossip.bans import Bans
from chain.gossip.wire.address import Address
from chain.ledger.errors import LedgerError
from chain.ledger.reader import Reader
from chain.ledger.tree import HeaderTree
from chain.node.node import Node
from chain.primitives.block import Block
from chain.primitives.transaction import Transaction
from chain.service.api.auth import Logins
from chain.service.api.block_sizes import BlockSizesCache
from chain.service.api.budget import ReplyBudget
from chain.service.api.events import Events
from chain.service.api.stale import StaleBlocks
from chain.service.ledger_thread import Caller
from chain.service.peers.status import AddedPeer, KnownAddress, NetTotals, PeerStatus

BLOCK_WAITERS_MAX: Final = 64  # calls that wait for blocks: a quarter of all subscribers


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningInfo:
    """The state of the node's own miner; `hashes_per_second` is 0 if it has none."""

    hashes_per_second: float = 0.0
    threads: int = 0
    kernel: str = ""


def _no_peers() -> Sequence[PeerStatus]:
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
    budget: ReplyBudget = field(default_factory=ReplyBudget)
    block_sizes: BlockSizesCache = field(default_factory=BlockSizesCache)
    stale: StaleBlocks = field(default_factory=StaleBlocks)
    scanning: Lock = field(default_factory=Lock)  # held by the one scan that may run
    verifying: Lock = field(default_factory=Lock)  # held by the one verification that may run
    waiters: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(BLOCK_WAITERS_MAX))
    peers: Callable[[], Sequence[PeerStatus]] = _no_peers
    gossip_counts: Callable[[], Mapping[str, int]] = dict  # of what the core traced, by kind
    net_totals: Callable[[], NetTotals] = NetTotals
    is_syncing: Callable[[], bool] = lambda: False  # whether blocks of the best header are missing
    mining: Callable[[], MiningInfo] = MiningInfo
    add_peer: Callable[[Address], None] = _ignore  # on the event loop; links to it are kept
    remove_peer: Callable[[str], None] = _ignore  # by its name among `added_peers`
    added_peers: Callable[[], Sequence[AddedPeer]] = tuple
    try_peer: Callable[[Address], None] = _ignore  # one dial, at once
    ping_peers: Callable[[], None] = _nothing  # on the event loop
    network_active: Callable[[], bool] = lambda: True
    set_network_active: Callable[[bool], None] = _ignore  # on the event loop
    known_addresses: Callable[[int, Container[int]], Sequence[KnownAddress]] = (
        lambda _count, _ip_bytes: ()  # on the event loop; at most so many, of IPs so long
    )
    local_addresses: Callable[[], Sequence[Address]] = tuple  # where others reach this node
    drop_peer: Callable[[int], bool] = lambda _id: False  # returns whether there was one
    bans: Bans = field(default_factory=Bans)  # to be changed on the event loop only
    bans_changed: Callable[[], None] = _nothing  # to be called then
    broadcast_tx: Callable[[Transaction], None] = _ignore  # on the event loop; after acceptance
    broadcast_block: Callable[[Block], None] = _ignore  # on the event loop; after connection
    set_clock: Callable[[int], None] = _ignore  # to unix seconds; 0: the system's again
    save_pool: Callable[[], Awaitable[Path]] = _no_pool_file  # at once; raises OSError
    disk_bytes: Callable[[], int] = lambda: 0  # the ledger's size on disk
    ledger_failed: Callable[[LedgerError], None] = _ignore  # on the event loop; stops the node
    stop: Callable[[], None] = _nothing  # asks the process to stop, and returns at once
    hosts: tuple[str, ...] = field(default=())  # further accepted Host headers
