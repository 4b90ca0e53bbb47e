"""One node's process: opens its parts in order, reports readiness, and closes them in reverse."""

import asyncio
import gc
import ipaddress
import logging
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

from chain.api_address import published_api_address
from chain.endpoint import Endpoint
from chain.errors import ShownError, UsageError
from chain.gossip.config import Config, config_for
from chain.ledger.db.engine import bytes_on_disk
from chain.ledger.errors import LedgerError
from chain.ledger.ledger import Ledger
from chain.ledger.reader import Reader, open_reader
from chain.mining.kernel import best_kernel
from chain.node.ledger_requests import LedgerRequestHandler, NodeChain, NodePool
from chain.node.node import Node
from chain.node.policy import Policy
from chain.service.api.access.auth import Logins, RpcAuthError
from chain.service.api.access.cookie import remove_cookie, write_cookie
from chain.service.api.app import create_api
from chain.service.api.context import ApiContext
from chain.service.api.events import Events
from chain.service.api.ports import NoMiner
from chain.service.chain_lines import ChainLines, report_progress
from chain.service.clock import Clock
from chain.service.debug_lines import log_if_slow, log_update, with_lines
from chain.service.debug_log import set_active
from chain.service.descriptors import Descriptors, raise_limit, share, wanted
from chain.service.http.access_log import AccessLog
from chain.service.http.guard import GuardLimits
from chain.service.http.listener import Listener
from chain.service.ledger_thread import LedgerThread
from chain.service.mining import Mining, MiningPlan
from chain.service.node_log import NOT_SHOWN, configure_logging
from chain.service.peers.acceptor import guard_limits
from chain.service.peers.service import PeerNode, PeerService, PeerSettings
from chain.service.peers.signature_cost import measured_signature_us
from chain.service.pool_keeper import PoolKeeper
from chain.service.readiness import Readiness
from chain.service.supervisor import FATAL, Supervisor, described
from chain.settings import Settings

log = logging.getLogger(__name__)

_BYTES_PER_MB: Final = 1_000_000
# Blocks are hundreds of thousands of objects without cycles: collecting them took a tenth of the
# time that a block at the tip takes.
GARBAGE_THRESHOLDS: Final = (50_000, 20, 100)
# The thread switch interval: with Python's 5 ms, one request in a hundred waited 300 ms while
# blocks were connected, as a request needs several turns.
_SWITCH_S: Final = 0.0005
API_LIMITS: Final = GuardLimits(
    connections_per_ip_max=512, loopback_exempt=True, takes_bare_lf=True
)


class ProcessError(ShownError):
    """The reason why the node had to stop, in one line."""


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
    stop: "_Stop"


async def run_node(settings: Settings) -> None:
    """Run a node until SIGINT, SIGTERM or `stop`.

    Raises UsageError; LedgerError, DescriptorError, OSError (an address is taken), ProcessError:
    the node cannot go on.
    """
    _logins(settings, None)  # before anything that would have to be undone
    stop = _Stop()
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
        await stack.enter_async_context(
            supervisor.restarting(
                "reporting progress", partial(_report_progress, settings, core, peers)
            )
        )
        _say_ready(settings, peers, api)
        await stop.requested.wait()
        log.info("stopping")
    if stop.error is not None:
        why = f"stopped: {described(stop.error)}"
        log.critical("%s", why, extra=NOT_SHOWN)  # it becomes the last line of standard error
        raise ProcessError(why) from stop.error
    log.info("stopped")


def _open_log(settings: Settings) -> None:
    """Send the log to its files, with the debug categories that were asked for."""
    configure_logging(settings.folder, is_quiet=settings.quiet)
    set_active(settings.debug)


def _shared_out(settings: Settings) -> tuple[Config, Descriptors]:
    """Return the peer configuration and the division of open files and sockets.

    Raises DescriptorError.
    """
    config = replace(
        config_for(settings.params, agent=f"groat:{version('groat')}"),
        signature_us=measured_signature_us(),
        upload_bytes_per_day=settings.upload_mb_per_day * _BYTES_PER_MB,
    )
    limit = raise_limit(wanted(config, len(settings.peers)))
    descriptors = share(limit, config, len(settings.peers))
    log.info("%s", descriptors)
    return replace(config, inbound_max=descriptors.inbound_max), descriptors


class _Stop:
    """The request to stop: by a signal, by RPC, or by a fatal failure."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self.requested.set)

    def fail(self, error: BaseException) -> None:
        """Stop the node because of `error`; the first one counts."""
        self.error = self.error or error
        self.requested.set()

    def on_ledger_error(self, error: BaseException) -> None:
        """Handle an error of a call on the ledger thread; only a LedgerError is fatal."""
        if isinstance(error, FATAL):
            self._loop.call_soon_threadsafe(self.fail, error)

    def on_checked(self, checked: Future[None]) -> None:
        """Handle the end of the ledger's check in the background; any error is fatal."""
        error = checked.exception()
        if error is not None:
            self._loop.call_soon_threadsafe(self.fail, error)


@asynccontextmanager
async def _core(frame: _Frame) -> AsyncIterator[NodeCore]:
    settings, thread = frame.settings, frame.thread

    def open_core() -> NodeCore:
        threads = max(os.cpu_count() or 1, 1)
        ledger = Ledger(settings.database, settings.params, verify_threads=threads)
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
    chain = NodeChain(core.node, core.ledger.tree, core.ledger.tree.is_stored)
    answers = LedgerRequestHandler(core.node)
    pool = NodePool(core.node)
    node = PeerNode(chain, pool, with_lines(answers.handle_next), call, core.clock)
    service = PeerService(wired, node)
    with _listening("peers", settings.p2p):
        await service.start()
    try:
        async with frame.supervisor.required("the peer side", service.wait()):
            yield service
    finally:
        try:
            await service.stop()
        except ExceptionGroup as group:
            frame.supervisor.failed("the peer side", group)


@contextmanager
def _listening(who: str, endpoint: Endpoint) -> Iterator[None]:
    """Name the listener in the error if it cannot listen."""
    try:
        yield
    except* OSError as group:
        error = group.exceptions[0]
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise ProcessError(f"cannot listen for {who} on {endpoint}: {error.strerror}") from error


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
    if settings.params.name != "devnet" and not peers.connected():
        return "no peers yet (--mine-alone mines without)"
    return None


@dataclass(frozen=True, slots=True)
class NodeHost:
    """The process as the API uses it, its HostPort."""

    settings: Settings
    core: NodeCore
    keeper: PoolKeeper
    end: "_Stop"

    def is_syncing(self) -> bool:
        """Return whether blocks of the best header are missing, and coming in."""
        return self.core.readiness.behind() is not None

    def disk_bytes(self) -> int:
        return bytes_on_disk(self.settings.database)

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
) -> AsyncIterator[Listener]:
    settings = frame.settings
    cookie = write_cookie(settings.folder)

    events = Events(core.node)
    context = ApiContext(
        params=settings.params,
        node=core.node,
        events=events,
        tree=core.ledger.tree,
        reader=core.reader,
        call=frame.thread.call,
        clock=core.clock.unix_s,
        logins=_logins(settings, cookie),
        version=version("groat"),
        started_at=core.clock.unix_s(),
        peers=peers,
        miner=mining or NoMiner(),
        host=NodeHost(settings, core, keeper, frame.stop),
        allowed_hosts=_allowed_hosts(settings),
    )
    app = create_api(context)
    limits = replace(API_LIMITS, connections_max=frame.descriptors.api_connections_max)
    listener = Listener(AccessLog(app), limits)
    try:
        async with app.router.lifespan_context(app):
            with _listening("the API", settings.api):
                await listener.start(settings.api.host, settings.api.port)
            try:
                listens_at = Endpoint(listener.host, listener.port).to_dial()
                async with frame.supervisor.required("the API's listener", listener.wait()):
                    with published_api_address(settings.folder, listens_at):
                        yield listener
            finally:
                events.close()  # ends its streams, so that the listener does not wait for them
                await listener.stop()
    finally:
        remove_cookie(settings.folder, cookie)


def _allowed_hosts(settings: Settings) -> tuple[str, ...]:
    """Return the accepted Host headers besides the socket's own address.

    The name in `--api` is one of them: the user connects to it.
    """
    try:
        ipaddress.ip_address(settings.api.host)
    except ValueError:
        return (*settings.api_hosts, settings.api.host)
    return settings.api_hosts


def _logins(settings: Settings, cookie: str | None) -> Logins:
    """Return who may use RPC. Raises UsageError."""
    try:
        return Logins(cookie, settings.rpc_auth)
    except RpcAuthError as error:
        raise UsageError(f"setting rpc_auth: {error}") from error


async def _report_progress(settings: Settings, core: NodeCore, peers: PeerService) -> None:
    """Log progress, and on networks of several nodes that there are no peers."""

    def is_behind() -> bool:
        return core.readiness.behind() is not None

    def peer_count() -> int:
        return len(peers.connected())

    counted = None if settings.params.name == "regtest" else peer_count
    await report_progress(core.lines, peers.sync_progress, is_behind, counted)


def ready_line(network: str, p2p: Endpoint, api: Endpoint) -> str:
    """Return the line that programs wait for: the peers' address and the API's local URL.

    Both are where the node listens; the URL has a loopback address if that is every address.
    """
    return f"groat: ready network={network} p2p={p2p} api=http://{api.to_dial()}"


def _say_ready(settings: Settings, peers: PeerService, api: Listener) -> None:
    line = ready_line(settings.params.name, peers.endpoint, Endpoint(api.host, api.port))
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
