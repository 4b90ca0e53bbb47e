"""The peer side of a node: wires listener, core, links, discovery and saved state."""

import asyncio
import ipaddress
import itertools
import logging
import random
import socket
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chain.endpoint import Endpoint
from chain.gossip import gossip
from chain.gossip.actions import ConnectionType, SavedPart, SaveState
from chain.gossip.config import Config
from chain.gossip.events import (
    BansChanged,
    Closed,
    Discovered,
    LinkId,
    LocalBlock,
    LocalTx,
    ManualAdded,
    ManualRemoved,
    ManualTryRequested,
    NetworkActivity,
    OwnerEvent,
    PingWanted,
)
from chain.gossip.peers.policy import network_name
from chain.gossip.saved import SavedState
from chain.gossip.views import ChainView, PoolView
from chain.gossip.wire.address import Address, parse_address
from chain.gossip.wire.messages import Bye
from chain.primitives.block import Block
from chain.primitives.transaction import Transaction
from chain.service.clock import Clock
from chain.service.http.guard import GuardLimits
from chain.service.http.listener import Listener, bind
from chain.service.peers import store
from chain.service.peers.acceptor import Acceptor, ServerLimits, guard_limits, server_limits
from chain.service.peers.added_nodes import AddedNodes
from chain.service.peers.bans import BANS_NAME, banned_hosts, load_bans
from chain.service.peers.dialler import Dialler
from chain.service.peers.discovery import Discovery
from chain.service.peers.driver import ActionHandlers, GossipDriver, HandleRequests, LedgerCall
from chain.service.peers.inbox import Inbox
from chain.service.peers.patience import ClientLimits
from chain.service.peers.peer_status import (
    AddedPeer,
    ConnectionCounts,
    KnownAddress,
    NetTotals,
    PeerStatus,
    shown_peer,
)
from chain.service.peers.resolver import Lookup, Resolver, SeedResolver
from chain.service.peers.server import peer_app
from chain.service.peers.traffic import Traffic
from chain.service.saver import Saver
from chain.service.supervisor import restarted

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

RESOLVE_AGAIN_S: Final = 60.0
_UNWANTED: Final = "the user ended it"
_STOPPING: Final = 503  # the reason in Bye when the node stops
_COME_BACK_S: Final = 10
UNKNOWN_IP: Final = bytes(4)  # in our hello: "where you see me, at this port"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSettings:
    """A node's settings for its peers."""

    config: Config  # its `listen` and `manual` are filled in by the service
    endpoint: Endpoint  # where to listen; port 0 means any
    folder: Path  # for peers.json
    peers: tuple[Endpoint, ...] = ()  # to keep links to; names are resolved
    lookup: Lookup = socket.getaddrinfo  # resolves names
    discovery: bool = False
    names: frozenset[str] = frozenset()  # host names that requests may carry, besides IPs
    guard: GuardLimits | None = None  # None: what suits the network, for each of these
    server: ServerLimits | None = None
    client: ClientLimits | None = None


@dataclass(frozen=True, slots=True)
class PeerNode:
    """The rest of the node, as the peer side uses it."""

    chain: ChainView
    pool: PoolView
    answer: HandleRequests  # called on the ledger thread
    call: LedgerCall  # runs a callable there
    clock: Clock = field(default_factory=Clock)


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """The node's synchronization state."""

    height: int  # of the best chain's blocks
    headers: int  # of the best valid header
    peer_height: int  # the highest that a peer claims; 0 without peers


class PeerService:
    """Everything between the network and the gossip core; lives on one event loop."""

    def __init__(self, settings: PeerSettings, node: PeerNode) -> None:
        self._settings = settings
        self._node = node
        self._peers_file = _load(settings.folder)
        self.bans = load_bans(self._peers_file, node.clock)  # after a change call `bans_changed`
        self._added = AddedNodes(map(str, settings.peers))
        self._resolver = Resolver(settings.lookup)
        self._saver = Saver(settings.folder / store.FILE_NAME, self._worth_keeping)
        self._stopping = asyncio.Event()
        self._ready = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._parts: _Parts | None = None  # while it serves
        self.is_network_active = True

    async def start(self) -> None:
        """Listen and begin to dial. Raises what `serve` raises before it is ready."""
        self._serving = asyncio.create_task(self.serve(), name="peers")
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({self._serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._serving.done():
            await self._serving

    async def stop(self) -> None:
        """Say goodbye to all peers, save peers.json, and return when everything is closed.

        Raises what ended `serve` before.
        """
        self._stopping.set()
        if self._serving is not None:
            await self._serving

    async def wait(self) -> None:
        """Return when it has stopped. Raises what ended it."""
        if self._serving is not None:
            await asyncio.shield(self._serving)

    async def serve(self) -> None:
        """Listen, dial and relay until `stop`. Raises OSError: the endpoint is not available.

        An error of the ledger, or a bug, ends it as an ExceptionGroup.
        """
        endpoint = self._settings.endpoint
        with await bind(endpoint.host, endpoint.port) as bound:
            try:
                async with asyncio.TaskGroup() as tasks:
                    await self._serve(bound, tasks)
            finally:
                self._parts = None
                self._saver.save_now()

    async def _serve(self, bound: socket.socket, tasks: asyncio.TaskGroup) -> None:
        settings = self._settings
        background: list[asyncio.Task[None]] = []
        parts = self._wire(bound, tasks)
        try:
            await parts.listener.serve(bound)
            self._parts = parts
            jobs: list[Coroutine[None, None, None]] = [
                parts.actor.run(),
                parts.listener.wait(),
                restarted(f"saving {store.FILE_NAME}", self._saver.run),
            ]
            jobs += [self._resolve(parts, peer) for peer in settings.peers]
            if settings.discovery:
                jobs.append(restarted("discovery", partial(self._discover, parts)))
            background += [tasks.create_task(job) for job in jobs]
            self._ready.set()
            await self._stopping.wait()
            await parts.say_goodbye()
        finally:
            for task in background:
                task.cancel()
            parts.seeds.stop()
            parts.acceptor.stop(None)
            await parts.listener.stop()

    def _wire(self, bound: socket.socket, tasks: asyncio.TaskGroup) -> "_Parts":
        settings, node = self._settings, self._node
        config = replace(settings.config, listen=_advertised(settings.config, bound))
        saved = SavedState(**{kind.value: self._peers_file.saved.get(kind) for kind in SavedPart})
        rng = random.SystemRandom()
        core = gossip.Gossip(
            config, rng, self._peers_file.secret, node.chain, node.pool, saved, bans=self.bans
        )
        inbox = Inbox()
        numbers = itertools.count(1)

        def new_link() -> LinkId:
            return LinkId(next(numbers))

        limits = settings.server or server_limits(config)
        acceptor = Acceptor(inbox, new_link, core.hello, limits)
        client = settings.client or ClientLimits()
        dialler = Dialler(inbox, new_link, config.params, client, tasks)
        seeds = SeedResolver(self._resolver, inbox, tasks)
        handlers = ActionHandlers(
            acceptor, dialler, seeds, node.answer, node.call, self._save, tasks, node.clock
        )
        traffic = Traffic(acceptor, inbox, limits)
        app = peer_app(acceptor, traffic, config.params.magic, settings.names)
        return _Parts(
            listener=Listener(
                app, settings.guard or guard_limits(config), banned_hosts(self.bans, node.clock)
            ),
            core=core,
            inbox=inbox,
            acceptor=acceptor,
            dialler=dialler,
            seeds=seeds,
            actor=GossipDriver(core, inbox, handlers),
        )

    # the node's own events

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that it listens on; only while it serves."""
        listener = self._running.listener
        return Endpoint(listener.host, listener.port)

    def broadcast_block(self, block: Block) -> None:
        """Announce a block that the ledger accepted from the miner or by RPC."""
        self._post_event(LocalBlock(block))

    def broadcast_tx(self, transaction: Transaction) -> None:
        """Announce a transaction that the mempool accepted by RPC or the HTTP API."""
        self._post_event(LocalTx(transaction))

    def add_peer(self, address: Address) -> None:
        self._added.add(str(address), address)
        self._post_event(ManualAdded(address))

    def remove_peer(self, name: str) -> None:
        """Stop keeping a link to the peer of this name."""
        address = self._added.remove(name)
        if address is not None:
            self._post_event(ManualRemoved(address))

    def added_peers(self) -> list[AddedPeer]:
        """Return the nodes that the user wants links to, with their current links."""
        return self._added.shown(self._parts.core.peers() if self._parts else [])

    def try_peer(self, address: Address) -> None:
        self._post_event(ManualTryRequested(address))

    def bans_changed(self) -> None:
        self._saver.note_change()
        self._post_event(BansChanged())

    def disconnect(self, link: int) -> bool:
        """End a link at the user's request; return whether there was one."""
        return self._parts is not None and self._parts.end(LinkId(link))

    def ping_peers(self) -> None:
        self._post_event(PingWanted())

    def set_network_active(self, is_active: bool) -> None:  # noqa: FBT001 - it is the value itself
        """End all links and have none until it is active again."""
        self.is_network_active = is_active
        self._post_event(NetworkActivity(is_active))

    def known_addresses(self, count: int, ip_bytes: Container[int]) -> list[KnownAddress]:
        records = self._parts.core.known_addresses(count, ip_bytes) if self._parts else []
        return [
            KnownAddress(
                r.address.host, r.address.port, network_name(r.address), r.time, r.services
            )
            for r in records
        ]

    def local_addresses(self) -> list[Address]:
        listen = self._parts.core.hello().listen if self._parts else None
        return [] if listen is None or not any(listen.ip) else [listen]

    def connection_counts(self) -> ConnectionCounts:
        """Return how many links there are; callable from any thread."""
        types = self._connection_types()
        return ConnectionCounts(len(types), types.count(None))

    def connected(self) -> list[PeerStatus]:
        """Return the current links, oldest first; callable from any thread."""
        if self._parts is None:
            return []
        now = self._node.clock.now()
        link = self._parts.actor.link
        return [shown_peer(info, link(info.link), now) for info in self._parts.core.peers()]

    def has_relay_links(self) -> bool:
        """Return whether a peer is linked from which blocks come: a seed is only asked."""
        types = self._connection_types()
        return any(kind is not ConnectionType.ADDR_FETCH for kind in types)

    def _connection_types(self) -> Sequence[ConnectionType | None]:
        return self._parts.core.connection_types() if self._parts else ()

    def totals(self) -> NetTotals:
        """Return the traffic of all links since the start, and the state of the daily limit."""
        if self._parts is None:
            return NetTotals()
        totals, day = self._parts.inbox.totals, self._parts.core.upload.day(self._node.clock.now())
        return NetTotals(
            received_bytes=totals.received_bytes,
            sent_bytes=totals.sent_bytes,
            upload_limit_bytes=day.limit_bytes,
            upload_day_bytes=day.written_bytes,
            upload_day_left_s=day.left_s,
            gives_old_blocks=day.serves_historical_blocks,
        )

    @property
    def counts(self) -> Counter[str]:
        """Counts of events since the start, by the core's names."""
        return self._parts.actor.counts if self._parts else Counter()

    def sync_progress(self) -> SyncProgress:
        """Return the node's synchronization state and the height that its peers claim."""
        infos = self._parts.core.peers() if self._parts else []
        claimed = [max(info.start_height, info.known_height or 0) for info in infos]
        chain = self._node.chain
        return SyncProgress(chain.tip.height, chain.best_header.height, max(claimed, default=0))

    @property
    def _running(self) -> "_Parts":
        assert self._parts is not None, "only while it serves"
        return self._parts

    def _post_event(self, event: LocalBlock | LocalTx | PingWanted | OwnerEvent) -> None:
        """Post an event of the node; ignored before the start, when there are no peers."""
        if self._parts is not None:
            self._parts.inbox.post(event)

    # background tasks

    def _save(self, action: SaveState) -> None:
        self._peers_file.saved[action.part] = action.data
        self._saver.note_change()

    def _worth_keeping(self) -> "Callable[[], bytes]":
        saved = {**self._peers_file.saved, BANS_NAME: self.bans.save()}
        return partial(store.encode, store.PeersFile(self._peers_file.secret, saved))

    async def _resolve(self, parts: "_Parts", peer: Endpoint) -> None:
        """Resolve a peer's name, with retries, until it has IPs or the peer is removed."""
        name = str(peer)
        while name in self._added:
            try:
                found = await self._resolver.resolve(peer.host, peer.port)
            except OSError as error:
                _log.warning("cannot resolve %s: %s", peer, error.strerror or error)
                await asyncio.sleep(RESOLVE_AGAIN_S)
            else:
                if name in self._added:
                    self._added.add(name, found[0])
                    parts.inbox.post(ManualAdded(found[0]))
                return

    async def _discover(self, parts: "_Parts") -> None:
        """Announce this node and browse for others on the local network until cancelled.

        Raises OSError: there is no usable network.
        """
        params = self._settings.config.params
        discovery = Discovery(params, lambda found: parts.inbox.post(Discovered(found)))
        try:
            await discovery.start(parts.listener.host, parts.listener.port)
            await asyncio.Event().wait()
        finally:
            await discovery.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """The parts of a serving PeerService."""

    listener: Listener
    core: gossip.Gossip
    inbox: Inbox
    acceptor: Acceptor
    dialler: Dialler
    seeds: SeedResolver
    actor: GossipDriver

    def end(self, link: LinkId) -> bool:
        """End a link, inbound or outbound; return whether there was one."""
        accepted, dialled = self.acceptor.links.get(link), self.dialler.links.get(link)
        if accepted is not None:
            self.acceptor.end(accepted, _UNWANTED)
        elif dialled is not None:
            dialled.close(None)
            self.inbox.end(link, Closed(link, _UNWANTED))
        return accepted is not None or dialled is not None

    async def say_goodbye(self) -> None:
        """Say goodbye on all links within a time limit, and end them."""
        bye = Bye(_STOPPING, _COME_BACK_S)
        self.acceptor.stop(bye)
        for dialled in self.dialler.links.values():
            dialled.close(bye)
        await self.dialler.stop()


def _advertised(config: Config, bound: socket.socket) -> Address | None:
    """Return the listening address for our hello; none if strangers cannot reach it."""
    host, port = bound.getsockname()[:2]
    ip = ipaddress.ip_address(host)
    if not config.is_public or ip.is_unspecified:
        return Address(UNKNOWN_IP, port)
    return None if ip.is_loopback else parse_address(host, port)


def _load(folder: Path) -> store.PeersFile:
    try:
        return store.load(folder)
    except store.StoreError as error:
        _log.warning("starting without known peers: %s", error)
        return store.PeersFile()
