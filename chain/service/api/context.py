"""What the API needs of its process, which sets every field."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from chain.consensus.params import Params
from chain.ledger.db.node_state import Version
from chain.ledger.reader import Reader
from chain.ledger.tree import HeaderTree
from chain.node.node import Node
from chain.service.api.access.auth import LoginsPort
from chain.service.api.access.limits import ApiLimits
from chain.service.api.block_sizes import BlockSizesCache
from chain.service.api.events import EventsPort
from chain.service.api.hand_on import HandOnPort
from chain.service.api.ports import HostPort, MinerPort, NoHost, NoMiner, NoPeers, PeersPort
from chain.service.api.state.live_state import LiveNode, LiveState
from chain.service.api.state.port import StatePort
from chain.service.api.state.version_header import WaitForVersion
from chain.service.ledger_thread import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """What is behind one API."""

    params: Params
    state: StatePort  # chain and mempool
    live: LiveNode | None = None  # the node in this process; None: the API only reads
    clock: Callable[[], int]  # unix seconds
    logins: LoginsPort
    version: str
    started_at: int  # unix seconds
    events: EventsPort  # closed before the server ends, so that its streams end
    peers: PeersPort = field(default_factory=NoPeers)
    miner: MinerPort = field(default_factory=NoMiner)
    host: HostPort = field(default_factory=NoHost)
    allowed_hosts: tuple[str, ...] = ()  # Host headers to accept besides the socket's own address
    wait_for_version: WaitForVersion | None = None  # None: the state has no versions
    hand_on: HandOnPort | None = None  # the way to the node; None: it is in this process
    commit_changes: Callable[[], Awaitable[None]] | None = None  # and read them
    limits: ApiLimits = field(default_factory=ApiLimits)
    block_sizes: BlockSizesCache = field(default_factory=BlockSizesCache)

    @property
    def version_now(self) -> Version | None:
        """The latest version of the state; None if it has none."""
        return self.state.version

    @property
    def node(self) -> Node:
        """The node in this process; only for what is never done by an API that only reads."""
        return self._live.node

    @property
    def node_events(self) -> EventsPort:
        """Its changes, before they are committed."""
        return self._live.events

    @property
    def node_state(self) -> StatePort:
        """Its state, before it is committed."""
        return LiveState(self._live)

    @property
    def tree(self) -> HeaderTree:
        """Its headers."""
        return self._live.tree

    @property
    def reader(self) -> Reader:
        """The reader of its ledger."""
        return self._live.reader

    @property
    def call(self) -> Caller:
        """What runs functions on its ledger thread."""
        return self._live.call

    @property
    def call_when_idle(self) -> Caller:
        """What runs functions there that must not delay a block."""
        return self._live.call_when_idle

    def end_streams(self) -> None:
        """End what waits for changes, so that a listener's end need not wait for it."""
        self.events.close()
        if self.live is not None:
            self.live.events.close()

    async def wait_for_commit(self) -> None:
        """Wait until what this request changed is committed, and can be read here."""
        if self.commit_changes is not None:
            await self.commit_changes()

    @property
    def _live(self) -> LiveNode:
        assert self.live is not None, "what needs the node was handed on to it"
        return self.live
