"""One node's process: opens its parts in order, reports readiness, and closes them in reverse."""

import asyncio
import gc
import logging
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Final

from fastapi import FastAPI

from chain.api_address import published_api_address
from chain.endpoint import Endpoint
from chain.gossip.config import Config, config_for
from chain.ledger.db.engine import bytes_on_disk, log_bytes
from chain.ledger.db.node_state import Version
from chain.ledger.errors import LedgerError
from chain.ledger.ledger import Ledger
from chain.ledger.reader import Reader, open_reader
from chain.mining.kernel import best_kernel
from chain.node.ledger_requests import LedgerRequestHandler, NodeChain, NodePool
from chain.node.node import Node
from chain.node.policy import Policy
from chain.service.api.access.cookie import remove_cookie, write_cookie
from chain.service.api.app import create_api
from chain.service.api.context import ApiContext
from chain.service.api.events import Events
from chain.service.api.metrics import counted_by_kind
from chain.service.api.ports import NoMiner
from chain.service.api.state.live_state import LiveNode, LiveState
from chain.service.api_port import PortReservation
from chain.service.api_process import (
    API_LIMITS,
    PEERS,
    ProcessError,
    StopRequest,
    allowed_hosts,
    listening,
    logins_of,
)
from chain.service.chain_lines import ChainLines, report_progress
from chain.service.clock import Clock
from chain.service.debug_lines import log_if_slow, log_update, with_lines
from chain.service.debug_log import set_active
from chain.service.descriptors import Descriptors, raise_limit, share, wanted
from chain.service.hand_on import SOCKET_NAME, Commit, taking_hand_ons
from chain.service.heartbeat import HEARTBEAT_NAME, INTERVAL_S, Heartbeat
from chain.service.http.access_log import AccessLog
from chain.service.http.listener import Listener
from chain.service.ledger_thread import LedgerThread
from chain.service.mining import Mining, MiningPlan
from chain.service.node_log import NOT_SHOWN, configure_logging
from chain.service.peers.acceptor import guard_limits
from chain.service.peers.service import PeerNode, PeerService, PeerSettings
from chain.service.peers.signature_cost import measured_signature_us
from chain.service.pool_keeper import PoolKeeper
from chain.service.preflight import check_start
from chain.service.readers.api_children import ApiChildren
from chain.service.readers.own_reads import OwnReads
from chain.service.readiness import Readiness
from chain.service.supervisor import Job, Supervisor, described
from chain.settings import Settings
from chain.text_file import shown_path

log = logging.getLogger(__name__)

_BYTES_PER_MB: Final = 1_000_000
NO_PUBLIC_NETWORK: Final = (
    "there is no public network yet: name a node with --peer or --seed, or make a network of your "
    "own with `groat network new`"
)
# Blocks are hundreds of thousands of objects without cycles: collecting them took a tenth of the
# time that a block at the tip takes.
GARBAGE_THRESHOLDS: Final = (50_000, 20, 100)
# The thread switch interval: with Python's 5 ms, one request in a hundred waited 300 ms while
# blocks were connected, as a request needs several turns.
_SWITCH_S: Final = 0.0005


@dataclass(frozen=True, slots=True)
class NodeCore:
    """The objects of the ledger thread, and the reader."""

    ledger: Ledger
    node: Node
    reader: Reader
    readiness: Readiness
    clock: Clock
    lines: ChainLines


@dataclass(frozen=True, slots=True)
class _Frame:
    """The objects that every part of the process needs."""

    settings: Settings
    config: Config  # of the peer side
    descriptors: Descriptors
    thread: LedgerThread
    supervisor: Supervisor
    stop: StopRequest


async def run_node(settings: Settings) -> None:
    """Run a node until SIGINT, SIGTERM or `stop`.

    Raises UsageError; LedgerError, DescriptorError, OSError (an address is taken), ProcessError:
    the node cannot go on.
    """
    await check_start(settings)  # before anything that would have to be undone
    stop = StopRequest()
    os.umask(0o077)  # only the user may read the node's files
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    sys.setswitchinterval(_SWITCH_S)
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _open_log(settings)
    config, descriptors = _shared_out(settings)
    supervisor = Supervisor(stop.fail)
    async with AsyncExitStack() as stack:
        stack.enter_context(supervisor.watching())
        thread = LedgerThread(stop.on_ledger_error)
        stack.push_async_callback(asyncio.to_thread, thread.stop)
        frame = _Frame(settings, config, descriptors, thread, supervisor, stop)
        core = await stack.enter_async_context(_core(frame))
        keeper = await stack.enter_async_context(_keeper(frame, core))
        await stack.enter_async_context(supervisor.restarting("saving the mempool", keeper.run))
        peers = await stack.enter_async_context(_peers(frame, core))
        mining = await stack.enter_async_context(_mining(frame, core, peers))
        api = await stack.enter_async_context(_api(frame, core, keeper, peers, mining))
        await stack.enter_async_context(_reports(frame, core, peers, mining))
        _say_ready(settings, peers, api)
        await stop.requested.wait()
        log.info("stopping")
    if stop.error is not None:
        why = f"stopped: {described(stop.error)}"
        log.critical("%s", why, extra=NOT_SHOWN)  # it becomes the last line of standard error
        raise ProcessError(why) from stop.error
    log.info("stopped")


def warn_of_unused_flags(settings: Settings) -> None:
    """Log which flags, or settings, of mining have no effect, as the node does not mine."""
    if settings.mine_script is not None:
        return
    for flag, is_given in (
        ("--mine-alone", settings.mine_alone),
        ("--mine-threads", settings.mine_threads > 1),
    ):
        if is_given:
            log.warning("%s has no effect: without --mine ADDRESS this node does not mine", flag)


def _open_log(settings: Settings) -> None:
    """Send the log to its files, with the debug categories that were asked for."""
    configure_logging(settings.folder, is_quiet=settings.quiet)
    set_active(settings.debug)
    if settings.config_file is not None:
        log.info("configuration file: %s", shown_path(settings.config_file))
    warn_of_unused_flags(settings)


def _shared_out(settings: Settings) -> tuple[Config, Descriptors]:
    """Return the peer configuration and the division of open files and sockets.

    Raises DescriptorError.
    """
    config = replace(
        config_for(settings.params, agent=f"groat:{version('groat')}"),
        signature_us=measured_signature_us(),
        upload_bytes_per_day=settings.upload_mb_per_day * _BYTES_PER_MB,
        seeds=settings.seeds,
    )
    limit = raise_limit(wanted(config, len(settings.peers)))
    descriptors = share(limit, config, len(settings.peers))
    log.info("%s", descriptors)
    return replace(config, inbound_max=descriptors.inbound_max), descriptors


@asynccontextmanager
async def _core(frame: _Frame) -> AsyncIterator[NodeCore]:
    settings, thread = frame.settings, frame.thread

    def open_core() -> NodeCore:
        threads = max(os.cpu_count() or 1, 1)
        ledger = Ledger(
            settings.database,
            settings.params,
            verify_threads=threads,
            take_over=settings.take_over,
        )
        node = Node(ledger, Policy())
        node.listeners.append(log_update)
        ledger.timing_listeners.append(log_if_slow)
        clock = Clock()
        readiness = Readiness(lambda: node.view, settings.params.spacing_s, clock.now)
        lines = ChainLines(lambda: readiness.behind() is not None)
        node.listeners.append(lines.on_update)
        reader = open_reader(settings.database)
        return NodeCore(ledger, node, reader, readiness, clock, lines)

    core = await thread.call(open_core)
    if core.ledger.check is not None:
        core.ledger.check.result.add_done_callback(frame.stop.on_checked)
    if core.ledger.watch is not None:
        core.ledger.watch.result.add_done_callback(frame.stop.on_checked)
    try:
        yield core
    finally:
        core.lines.flush()
        core.reader.close()
        await thread.call(core.ledger.close)


def _keeper(frame: _Frame, core: NodeCore) -> PoolKeeper:
    def is_syncing() -> bool:
        return core.readiness.behind() is not None

    clock = core.clock.unix_s
    return PoolKeeper(core.node, frame.thread, frame.settings.folder, clock, is_syncing)


@asynccontextmanager
async def _peers(frame: _Frame, core: NodeCore) -> AsyncIterator[PeerService]:
    settings, call = frame.settings, frame.thread.call
    limits = guard_limits(frame.config)
    wired = PeerSettings(
        config=frame.config,
        endpoint=settings.p2p,
        folder=settings.folder,
        peers=settings.peers,
        discovery=settings.discovery,
        guard=replace(limits, connections_max=frame.descriptors.peer_connections_max),
    )
    chain = NodeChain(core.node, core.ledger.tree)
    answers = LedgerRequestHandler(core.node, frame.stop.requested.is_set)
    pool = NodePool(core.node)
    node = PeerNode(chain, pool, with_lines(answers.handle_next), call, core.clock)
    service = PeerService(wired, node)
    with listening(PEERS, settings.p2p):
        await service.start()
    try:
        async with frame.supervisor.required("the peer side", service.wait()):
            yield service
    finally:
        try:
            await service.stop()
        except ExceptionGroup as group:
            frame.supervisor.failed("the peer side", group)


def _heart(
    frame: _Frame, core: NodeCore, peers: PeerService, mining: Mining | None
) -> Callable[[], Job]:
    """Return what writes the node's heartbeat each second, for processes that follow it."""
    started_at = core.clock.unix_s()

    async def beat() -> None:
        for number in count(1):
            mined, counts = (mining or NoMiner()).info(), peers.connection_counts()
            said = Heartbeat(
                beat=number,
                started_at=started_at,
                mock_time=core.clock.mock_time,
                is_syncing=core.readiness.behind() is not None,
                peers=counts.total,
                inbound=counts.inbound,
                hashes_per_second=mined.hashes_per_second,
                mine_threads=mined.threads,
                kernel=mined.kernel,
                mining_waits_for=mined.waits_for,
                gossip_events=counted_by_kind(peers.counts),
            )
            row = {HEARTBEAT_NAME: said.encode()}
            await frame.thread.call_patiently(partial(core.ledger.note, row))
            await asyncio.sleep(INTERVAL_S)

    return beat


@asynccontextmanager
async def _reports(
    frame: _Frame, core: NodeCore, peers: PeerService, mining: Mining | None
) -> AsyncIterator[None]:
    """Report how the node is: to readers each second, and to the log while it is syncing."""
    heart, progress = (
        _heart(frame, core, peers, mining),
        partial(_report_progress, frame.settings, core, peers),
    )
    async with (
        frame.supervisor.restarting("the heartbeat", heart),
        frame.supervisor.restarting("reporting progress", progress),
    ):
        yield


@asynccontextmanager
async def _mining(
    frame: _Frame, core: NodeCore, peers: PeerService
) -> AsyncIterator[Mining | None]:
    settings = frame.settings
    if settings.mine_script is None:
        yield None
        return

    def reason_to_wait() -> str | None:
        return _reason_not_to_mine(settings, core.readiness, peers)

    plan = MiningPlan(
        script=settings.mine_script,
        threads=settings.mine_threads,
        first_extranonce=secrets.randbits(64),
        clock=core.clock.unix_s,
        reason_to_wait=reason_to_wait,
    )
    kernel = await asyncio.to_thread(best_kernel)
    mining = Mining(core.node, frame.thread, kernel, plan, settings.params)
    async with frame.supervisor.required("mining", mining.run(peers.broadcast_block)):
        yield mining


def _reason_not_to_mine(settings: Settings, readiness: Readiness, peers: PeerService) -> str | None:
    """Return why the miner has to wait; None: it may mine."""
    if settings.mine_alone or settings.params.name == "regtest":
        return None
    behind = readiness.behind()
    if behind is not None:
        return f"catching up, block {behind[0]} of {behind[1]}"
    if settings.params.name != "devnet" and not peers.has_relay_links():
        return "no peers (--mine-alone mines without)"
    return None


@dataclass(frozen=True, slots=True)
class NodeHost:
    """The process as the API uses it, its HostPort."""

    settings: Settings
    core: NodeCore
    keeper: PoolKeeper
    end: StopRequest
    started_at: int  # unix seconds

    def is_syncing(self) -> bool:
        """Return whether blocks of the best header are missing, and coming in."""
        return self.core.readiness.behind() is not None

    def disk_bytes(self) -> int:
        return bytes_on_disk(self.settings.database)

    def log_bytes(self) -> int:
        return log_bytes(self.settings.database)

    def node_age_s(self) -> float:
        """Return 0: the node is this process."""
        return 0.0

    def node_started_at(self) -> int:
        return self.started_at

    def set_clock(self, unix_s: int) -> None:
        """Freeze the node's time of day; 0 follows the system's clock again."""
        self.core.clock.set(unix_s)

    async def save_pool(self) -> Path:
        """Save the mempool now, and return where. Raises OSError: the old file stays."""
        return await self.keeper.save()

    def ledger_failed(self, error: LedgerError) -> None:
        """Stop the node because of `error`, with which it exits."""
        self.end.fail(error)

    def stop(self) -> None:
        """Ask the node to stop, and return at once."""
        self.end.requested.set()


@asynccontextmanager
async def _api(
    frame: _Frame, core: NodeCore, keeper: PoolKeeper, peers: PeerService, mining: Mining | None
) -> AsyncIterator[Listener | ApiChildren]:
    settings = frame.settings
    cookie = write_cookie(settings.folder)
    started_at = core.clock.unix_s()
    live = LiveNode(
        node=core.node,
        events=Events(core.node),
        tree=core.ledger.tree,
        reader=core.reader,
        call=frame.thread.call,
        call_when_idle=frame.thread.call_when_idle,
    )
    commit = partial(frame.thread.call_patiently, partial(_committed, core))
    context = ApiContext(
        params=settings.params,
        state=LiveState(live),
        live=live,
        events=live.events,
        clock=core.clock.unix_s,
        logins=logins_of(settings, cookie),
        version=version("groat"),
        started_at=started_at,
        peers=peers,
        miner=mining or NoMiner(),
        host=NodeHost(settings, core, keeper, frame.stop, started_at),
        allowed_hosts=allowed_hosts(settings),
    )
    try:
        async with (
            _own_reads(frame, context, keeper, commit) as reading,
            _served(frame, reading, commit) as at,
        ):
            yield at
    finally:
        remove_cookie(settings.folder, cookie)


@asynccontextmanager
async def _own_reads(
    frame: _Frame, context: ApiContext, keeper: PoolKeeper, commit: Commit
) -> AsyncIterator[ApiContext]:
    """Have the API in this process read what is committed, unless other processes answer it."""
    if frame.settings.api_processes:
        yield context  # what they hand on is about what is in memory here
        return
    reads = OwnReads(context, commit)
    keeper.batch_listeners.append(reads.on_commit)
    async with (
        reads.opened(),
        frame.supervisor.required("following the ledger", reads.following.run()),
    ):
        yield reads.context


@asynccontextmanager
async def _served(
    frame: _Frame, context: ApiContext, commit: Commit
) -> AsyncIterator[Listener | ApiChildren]:
    """Answer the API, here or in processes of their own, and take what readers hand on."""
    app = create_api(context)
    answering = _children(frame) if frame.settings.api_processes else _listener(frame, app)
    async with app.router.lifespan_context(app), _hand_ons(frame, app, commit):
        try:
            async with answering as listener:
                listens_at = Endpoint(listener.host, listener.port).to_dial()
                with published_api_address(frame.settings.folder, listens_at):
                    yield listener
        finally:
            context.end_streams()  # and the calls that wait here for readers


@asynccontextmanager
async def _listener(frame: _Frame, app: FastAPI) -> AsyncIterator[Listener]:
    """Answer the API in this process."""
    endpoint = frame.settings.api
    limits = replace(API_LIMITS, connections_max=frame.descriptors.api_connections_max)
    listener = Listener(AccessLog(app), limits)
    with listening("the API", endpoint):
        await listener.start(endpoint.host, endpoint.port)
    try:
        async with frame.supervisor.required("the API's listener", listener.wait()):
            yield listener
    finally:
        app.state.context.end_streams()
        await listener.stop()


@asynccontextmanager
async def _children(frame: _Frame) -> AsyncIterator[ApiChildren]:
    """Have the API answered by processes of their own."""
    endpoint = frame.settings.api
    with listening("the API", endpoint):
        port = await asyncio.to_thread(PortReservation, endpoint)
    try:
        children = ApiChildren(frame.settings, port.endpoint)
        async with children.running(frame.supervisor):
            yield children
    finally:
        port.close()


def _committed(core: NodeCore) -> Version:
    """Commit the mempool's changes, if there are any; return the version that has all."""
    if core.node.unsaved:
        core.node.save_pool(core.clock.unix_s(), is_durable=False)
    return core.ledger.version


@asynccontextmanager
async def _hand_ons(frame: _Frame, app: FastAPI, commit: Commit) -> AsyncIterator[None]:
    """Take what readers hand on, in processes of this node or of others."""
    try:
        async with taking_hand_ons(AccessLog(app), frame.settings.folder, commit):
            yield
    except OSError as error:
        where = error.filename or frame.settings.folder / SOCKET_NAME  # or another file beside it
        raise ProcessError(f"cannot listen on {where}: {error.strerror or error}") from error


async def _report_progress(settings: Settings, core: NodeCore, peers: PeerService) -> None:
    """Log progress, and on networks of several nodes that there are no peers."""

    def is_behind() -> bool:
        return core.readiness.behind() is not None

    def peer_count() -> int:
        return peers.connection_counts().total

    counted = None if _may_be_alone(settings) else peer_count
    has_places = bool(settings.peers or settings.seeds)
    await report_progress(
        core.lines, peers.sync_progress, is_behind, counted, has_places=has_places
    )


def _may_be_alone(settings: Settings) -> bool:
    """Return whether a node without peers is as its user wants it: on regtest, or mining alone."""
    name = settings.params.name
    mines_alone = settings.mine_script is not None and (settings.mine_alone or name == "devnet")
    return name == "regtest" or mines_alone


def _is_alone(settings: Settings, peers: PeerService) -> bool:
    """Return whether a node of main or test has no way to others: groat ships no seeds for them."""
    is_named = settings.peers or settings.seeds or settings.discovery
    has_public_name = settings.params.name in {"main", "test"}
    return has_public_name and not is_named and not peers.known_addresses(1, {4, 16})


def ready_line(network: str, p2p: Endpoint, api: Endpoint) -> str:
    """Return the line that programs wait for: the peers' address and the API's local URL.

    Both are where the node listens; the URL has a loopback address if that is every address.
    """
    return f"groat: ready network={network} p2p={p2p} api=http://{api.to_dial()}"


def _say_ready(settings: Settings, peers: PeerService, api: Listener | ApiChildren) -> None:
    line = ready_line(settings.params.name, peers.endpoint, Endpoint(api.host, api.port))
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    if _is_alone(settings, peers):
        log.info("%s", NO_PUBLIC_NETWORK)
