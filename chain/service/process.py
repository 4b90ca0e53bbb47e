"""One node's process: opens everything in order, says when it is ready, and closes in reverse."""

import asyncio
import gc
import logging
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Final

from chain.errors import ShownError
from chain.gossip.config import config_for
from chain.ledger.errors import LedgerError
from chain.ledger.ledger import Ledger
from chain.ledger.reader import Reader, open_reader
from chain.mining.kernel import best_kernel
from chain.node.answers import Answers, NodeChain, NodePool
from chain.node.node import Node
from chain.node.policy import Policy
from chain.service.api.app import create_api
from chain.service.api.auth import Logins, RpcAuthError
from chain.service.api.context import ApiContext, MiningInfo
from chain.service.api.cookie import remove_cookie, write_cookie
from chain.service.api.events import Events
from chain.service.clock import Clock
from chain.service.ledger_thread import LedgerThread
from chain.service.mining import Mining, MiningPlan
from chain.service.node_log import configure_logging
from chain.service.peers.guard import GuardLimits
from chain.service.peers.listener import Listener
from chain.service.peers.pace import measured_signature_us
from chain.service.peers.service import PeerNode, PeerService, PeerSettings
from chain.service.pool_keeper import PoolKeeper
from chain.service.readiness import Readiness
from chain.settings import Endpoint, Settings

log = logging.getLogger(__name__)

_PROGRESS_S: Final = 2.0  # between two lines that say how far the node has synced
_BYTES_PER_MB: Final = 1_000_000
_FATAL: Final = (LedgerError, AssertionError, MemoryError)  # on the ledger thread: go on no more
# Blocks are hundreds of thousands of objects without cycles: looking for some took a tenth of the
# time that a block at the tip takes.
GARBAGE_THRESHOLDS: Final = (50_000, 20, 100)
# How long a thread may keep the others from running: with Python's 5 ms, one request in a hundred
# waited 300 ms while blocks were connected, as it has to get its turn several times.
_SWITCH_S: Final = 0.0005
_API_LIMITS: Final = GuardLimits(connections_per_ip_max=512, loopback_exempt=True)


class ProcessError(ShownError):
    """Why the node had to end; one line."""


@dataclass(frozen=True, slots=True)
class Core:
    """What lives on the ledger thread, and the reader beside it."""

    ledger: Ledger
    node: Node
    reader: Reader
    readiness: Readiness
    clock: Clock


async def run_node(settings: Settings) -> None:
    """Run a node until SIGINT, SIGTERM or `stop`.

    Raises LedgerError, OSError (an address is taken), ProcessError: the node cannot go on.
    """
    stop = _Stop()
    os.umask(0o077)  # what the node writes is for its user alone
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    sys.setswitchinterval(_SWITCH_S)
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    configure_logging(settings.folder)
    async with AsyncExitStack() as stack:
        thread = LedgerThread(stop.on_ledger_error)
        stack.push_async_callback(asyncio.to_thread, thread.stop)
        core = await stack.enter_async_context(_core(settings, thread))
        await stack.enter_async_context(PoolKeeper(core.node, thread, settings.folder))
        peers = await stack.enter_async_context(_peers(settings, core, thread, stop))
        mining = await stack.enter_async_context(_mining(settings, core, thread, peers, stop))
        api = await stack.enter_async_context(_api(settings, core, thread, peers, mining, stop))
        progress = asyncio.create_task(_report_progress(peers))
        stack.callback(progress.cancel)
        _say_ready(settings, peers, api)
        await stop.requested.wait()
        log.info("stopping")
    if stop.error is not None:
        raise ProcessError(f"stopped: {stop.error}") from stop.error


class _Stop:
    """The request to end, by a signal, by RPC, or by a failure that leaves no way on."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self.requested.set)

    def fail(self, error: BaseException) -> None:
        """End because of `error`; the first one counts."""
        self.error = self.error or error
        self.requested.set()

    def on_task_end(self, task: asyncio.Task[None]) -> None:
        """End with a task that was to run for ever, unless it was cancelled."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)

    def on_ledger_error(self, error: BaseException) -> None:
        """Take what a call on the ledger thread raised; most of it is no failure of the node."""
        if isinstance(error, _FATAL):
            self._loop.call_soon_threadsafe(self.fail, error)


@asynccontextmanager
async def _core(settings: Settings, thread: LedgerThread) -> AsyncIterator[Core]:
    def open_core() -> Core:
        threads = max(os.cpu_count() or 1, 1)
        ledger = Ledger(settings.database, settings.params, verify_threads=threads)
        node = Node(ledger, Policy())
        clock = Clock()
        readiness = Readiness(lambda: node.view, settings.params.spacing_s, clock.now)
        return Core(ledger, node, open_reader(settings.database), readiness, clock)

    core = await thread.call(open_core)
    try:
        yield core
    finally:
        core.reader.close()
        await thread.call(core.ledger.close)


@asynccontextmanager
async def _peers(
    settings: Settings, core: Core, thread: LedgerThread, stop: _Stop
) -> AsyncIterator[PeerService]:
    agent = f"groat:{version('groat')}"
    wired = PeerSettings(
        config=replace(
            config_for(settings.params, agent=agent),
            signature_us=measured_signature_us(),
            upload_bytes_per_day=settings.upload_mb_per_day * _BYTES_PER_MB,
        ),
        endpoint=settings.p2p,
        folder=settings.folder,
        peers=settings.peers,
        discovery=settings.discovery,
    )
    chain = NodeChain(core.node, core.ledger.tree, core.ledger.tree.is_stored)
    answers = Answers(core.node)
    pool = NodePool(core.node)
    node = PeerNode(chain, pool, answers.answer_waiting, thread.call, core.clock)
    service = PeerService(wired, node)
    with _listening("peers", settings.p2p):
        await service.start()
    watch = asyncio.create_task(_watch(service, stop))
    try:
        yield service
    finally:
        with suppress(ExceptionGroup):  # the watch, which is told too, says why
            await service.stop()
        await watch


@contextmanager
def _listening(who: str, endpoint: Endpoint) -> Iterator[None]:
    """Say which listener could not be, and why."""
    try:
        yield
    except* OSError as group:
        error = group.exceptions[0]
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise ProcessError(f"cannot listen for {who} on {endpoint}: {error.strerror}") from error


async def _watch(service: PeerService, stop: _Stop) -> None:
    """End the process if the peer side ends by itself: that is a bug or a failed ledger."""
    try:
        await service.wait()
    except ExceptionGroup as group:
        if group.split(LedgerError)[1] is not None:  # a failed ledger is told once, at the end
            log.exception("the peer side failed")
        stop.fail(group.exceptions[0])


@asynccontextmanager
async def _mining(
    settings: Settings, core: Core, thread: LedgerThread, peers: PeerService, stop: _Stop
) -> AsyncIterator[Mining | None]:
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
    mining = Mining(core.node, thread, kernel, plan, settings.params)
    task = asyncio.create_task(mining.run(peers.local_block))
    task.add_done_callback(stop.on_task_end)
    try:
        yield mining
    finally:
        task.cancel()
        await asyncio.wait({task})


def _reason_not_to_mine(settings: Settings, readiness: Readiness, peers: PeerService) -> str | None:
    """Say what has to come first; None: nothing, mine."""
    if settings.mine_alone or settings.params.name == "regtest":
        return None
    behind = readiness.behind()
    if behind is not None:
        return f"catching up, block {behind[0]} of {behind[1]}"
    if settings.params.name != "devnet" and not peers.peers():
        return "no peers yet (--mine-alone mines without)"
    return None


@asynccontextmanager
async def _api(  # noqa: PLR0913, PLR0917 - it shows everything, so it is given everything
    settings: Settings,
    core: Core,
    thread: LedgerThread,
    peers: PeerService,
    mining: Mining | None,
    stop: _Stop,
) -> AsyncIterator[Listener]:
    cookie = write_cookie(settings.folder)

    def mining_info() -> MiningInfo:
        if mining is None:
            return MiningInfo()
        return MiningInfo(
            hashes_per_second=mining.hashes_per_second,
            threads=settings.mine_threads,
            kernel=mining.kernel.name,
        )

    events = Events(core.node)
    context = ApiContext(
        params=settings.params,
        node=core.node,
        events=events,
        tree=core.ledger.tree,
        reader=core.reader,
        call=thread.call,
        clock=core.clock.unix_s,
        set_clock=core.clock.set,
        logins=_logins(settings, cookie),
        version=version("groat"),
        started_at=core.clock.unix_s(),
        peers=peers.peers,
        net_totals=peers.totals,
        is_syncing=lambda: core.readiness.behind() is not None,
        mining=mining_info,
        add_peer=peers.add_peer,
        remove_peer=peers.remove_peer,
        added_peers=peers.added_peers,
        try_peer=peers.try_peer,
        drop_peer=peers.disconnect,
        bans=peers.bans,
        bans_changed=peers.bans_changed,
        broadcast_tx=peers.local_tx,
        broadcast_block=peers.local_block,
        stop=stop.requested.set,
        fail=stop.fail,
        disk_bytes=lambda: _disk_bytes(settings),
        hosts=settings.api_hosts,
    )
    app = create_api(context)
    listener = Listener(app, _API_LIMITS)
    try:
        async with app.router.lifespan_context(app):
            with _listening("the API", settings.api):
                await listener.start(settings.api.host, settings.api.port)
            try:
                yield listener
            finally:
                events.close()  # its streams end now, so that the listener need not wait for them
                await listener.stop()
    finally:
        remove_cookie(settings.folder, cookie)


def _logins(settings: Settings, cookie: str) -> Logins:
    try:
        return Logins(cookie, settings.rpc_auth)
    except RpcAuthError as error:
        raise ProcessError(f"setting rpc_auth: {error}") from error


def _disk_bytes(settings: Settings) -> int:
    """Return what the ledger's files take; others in the folder come and go while one looks."""
    return sum(path.stat().st_size for path in settings.folder.glob("ledger.sqlite*"))


async def _report_progress(peers: PeerService) -> None:
    """Say how far the node is while it has blocks to catch up on."""
    last = peers.sync_progress().height
    while True:
        await asyncio.sleep(_PROGRESS_S)
        now = peers.sync_progress()
        if now.height != last and now.height < now.headers:
            share = 100 * now.height // now.headers
            log.info("syncing: block %d of %d (%d %%)", now.height, now.headers, share)
        last = now.height


def _say_ready(settings: Settings, peers: PeerService, api: Listener) -> None:
    host = f"[{api.host}]" if ":" in api.host else api.host
    sys.stdout.write(
        f"groat: ready network={settings.params.name} p2p={peers.endpoint} "
        f"api=http://{host}:{api.port}\n"
    )
    sys.stdout.flush()
