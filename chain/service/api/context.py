"""What the API needs of the node's process, which sets every field."""

from collections.abc import Callable
from dataclasses import dataclass, field

from chain.consensus.params import Params
from chain.ledger.reader import Reader
from chain.ledger.tree import HeaderTree
from chain.node.node import Node
from chain.service.api.access.auth import Logins
from chain.service.api.access.limits import ApiLimits
from chain.service.api.block_sizes import BlockSizesCache
from chain.service.api.events import Events
from chain.service.api.ports import HostPort, MinerPort, NoHost, NoMiner, NoPeers, PeersPort
from chain.service.ledger_thread import Caller


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
    peers: PeersPort = field(default_factory=NoPeers)
    miner: MinerPort = field(default_factory=NoMiner)
    host: HostPort = field(default_factory=NoHost)
    allowed_hosts: tuple[str, ...] = ()  # Host headers to accept besides the socket's own address
    limits: ApiLimits = field(default_factory=ApiLimits)
    block_sizes: BlockSizesCache = field(default_factory=BlockSizesCache)
