"""`groat serve`: a process that only reads the database of a node, and serves the API from it."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Final

from chain.endpoint import Endpoint
from chain.ledger.db.engine import bytes_on_disk, log_bytes
from chain.ledger.db.url import Database, shown_url
from chain.ledger.errors import (
    DatabaseURLError,
    LedgerError,
    NoLedgerError,
    RefusedError,
    SchemaTooNewError,
    SchemaTooOldError,
    UnavailableError,
)
from chain.ledger.reader import Reader, is_made, open_reader
from chain.service.api.access.cookie import FollowedLogins
from chain.service.api.access.limits import limits_of_one, part
from chain.service.api.app import create_api
from chain.service.api.context import ApiContext
from chain.service.api.events import LISTENERS_MAX
from chain.service.api.ports import MiningInfo, NoHost, NoPeers
from chain.service.api_process import (
    API_LIMITS,
    ProcessError,
    StopRequest,
    allowed_hosts,
    listening,
    logins_of,
)
from chain.service.debug_log import set_active
from chain.service.descriptors import raise_limit
from chain.service.hand_on import NodeWay
from chain.service.http.access_log import AccessLog
from chain.service.http.guard import GuardLimits
from chain.service.http.listener import Listener
from chain.service.node_log import NOT_SHOWN, configure_logging
from chain.service.peers.peer_status import ConnectionCounts
from chain.service.readers.follower import Follower
from chain.service.readers.following import Following
from chain.service.readers.journal_events import JournalEvents
from chain.service.supervisor import Supervisor, described
from chain.settings import Settings

log = logging.getLogger(__name__)

_OTHER_FILES: Final = 128  # of the database, the log, the node's socket and the event loop
LEDGER_POLL_S: Final = 0.2  # for a ledger that no node has made yet
REFUSED_POLL_S: Final = 1.0  # for a server that refuses the connection, ...
REFUSALS_MAX: Final = 10  # ... so often


class OtherSchemaError(ProcessError):
    """The database has another groat's schema; a reader never migrates."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class ReaderPlan:
    """How many processes share the address, and the descriptor that ends with their parent."""

    processes: int = 1
    parent: int | None = None  # None: a process of its own, whose address is its own


@dataclass(frozen=True, slots=True)
class _Reading:
    """The parts of a process that reads."""

    settings: Settings
    plan: ReaderPlan
    reader: Reader
    follower: Follower
    following: Following
    stop: StopRequest

    def clock(self) -> int:
        """Return the node's time of day, which its user may have stopped, in unix seconds."""
        return self.follower.heartbeat.mock_time or int(time.time())


ALONE: Final = ReaderPlan()


class ReaderHost(NoHost):
    """The process of a reader: a HostPort. What changes the node is handed on to it."""

    def __init__(self, reading: _Reading) -> None:
        self._reading = reading

    def is_syncing(self) -> bool:
        """Return what the node said last."""
        return self._reading.follower.heartbeat.is_syncing

    def disk_bytes(self) -> int:
        """Return the ledger's size on disk."""
        return bytes_on_disk(self._reading.settings.database)

    def log_bytes(self) -> int:
        """Return the size of the ledger's write-ahead log."""
        return log_bytes(self._reading.settings.database)

    def node_age_s(self) -> float:
        """Return the seconds since the node was last heard of, or since this process began."""
        return self._reading.follower.age_s

    def node_started_at(self) -> int:
        """Return what the node said last, in unix seconds; 0: it has said nothing yet."""
        return self._reading.follower.heartbeat.started_at

    def ledger_failed(self, error: LedgerError) -> None:
        """Stop this process because of `error`."""
        self._reading.stop.fail(error)

    def stop(self) -> None:
        """Ask this process to stop."""
        self._reading.stop.requested.set()


class ReaderPeers(NoPeers):
    """The peers of the node, as far as its heartbeat says."""

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._follower = follower

    @property
    def counts(self) -> Mapping[str, int]:
        """Counts of gossip events since the node's start, by kind."""
        return self._follower.heartbeat.gossip_events

    def connection_counts(self) -> ConnectionCounts:
        """Return how many peers are connected."""
        said = self._follower.heartbeat
        return ConnectionCounts(said.peers, said.inbound)


class ReaderMiner:
    """The node's own miner, as its heartbeat says: a MinerPort."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def info(self) -> MiningInfo:
        """Return its state."""
        said = self._follower.heartbeat
        return MiningInfo(
            hashes_per_second=said.hashes_per_second,
            threads=said.mine_threads,
            kernel=said.kernel,
            waits_for=said.mining_waits_for,
        )


async def run_reader(settings: Settings, plan: ReaderPlan = ALONE) -> None:
    """Serve the API from a node's database until SIGINT or SIGTERM, or the end of its parent.

    Raises UsageError; LedgerError, OSError, ProcessError: it cannot go on.
    """
    logins_of(settings, None)  # before anything that would have to be undone
    stop = StopRequest()
    os.umask(0o077)
    configure_logging(None)
    set_active(settings.debug)
    supervisor = Supervisor(stop.fail)
    raise_limit(API_LIMITS.connections_max + _OTHER_FILES)
    async with AsyncExitStack() as stack:
        stack.enter_context(supervisor.watching())
        if plan.parent is not None:
            _end_with(plan.parent, stop)
        reading = await stack.enter_async_context(_reading(settings, plan, stop))
        if reading is not None:
            listener = await stack.enter_async_context(_api(reading, supervisor))
            _say_ready(settings, listener)
            await stop.requested.wait()
    if stop.error is not None:
        raise _shown(stop.error)


@asynccontextmanager
async def _reading(
    settings: Settings, plan: ReaderPlan, stop: StopRequest
) -> AsyncIterator[_Reading | None]:
    """Open the ledger, once a node has made it; yield None if the process is to stop before."""
    reader = await _opened(settings, stop)
    if reader is None:
        yield None
        return
    try:
        follower = Follower(reader, settings.params)
        try:
            await asyncio.to_thread(follower.open)
        except LedgerError as error:
            raise _shown(error) from error
        yield _Reading(settings, plan, reader, follower, Following(follower), stop)
    finally:
        reader.close()


async def _opened(settings: Settings, stop: StopRequest) -> Reader | None:
    """Return a reader of the ledger; wait until there is one. None: the process is to stop.

    A server that is away may come back at any time. One that refuses, by a wrong name or password,
    goes on doing so, unless it is about to begin or to end, or has too many connections.
    """
    said, refusals = "", 0
    while not stop.requested.is_set():
        try:
            found = await asyncio.to_thread(_look, settings.database)
        except DatabaseURLError:
            raise
        except LedgerError as error:
            raise _shown(error) from error
        if isinstance(found, Reader):
            return found
        is_refused = isinstance(found, RefusedError)
        refusals = refusals + 1 if is_refused else 0
        if refusals == REFUSALS_MAX:
            raise _shown(found)
        if str(found) != said:
            log.info("waiting: %s", found)
            said = str(found)
        with suppress(TimeoutError):
            pause_s = REFUSED_POLL_S if is_refused else LEDGER_POLL_S
            await asyncio.wait_for(stop.requested.wait(), pause_s)
    return None


def _look(database: Database) -> Reader | LedgerError:
    """Return a reader of the ledger, or why there is none just now.

    Raises LedgerError: no node will make one there.
    """
    try:
        if is_made(database):
            return open_reader(database)
    except (UnavailableError, RefusedError) as error:  # a node is making it, or the server is away
        return error
    return NoLedgerError(f"there is no ledger at {shown_url(database)} yet")


@asynccontextmanager
async def _api(reading: _Reading, supervisor: Supervisor) -> AsyncIterator[Listener]:
    settings, follower, following = reading.settings, reading.follower, reading.following
    processes, is_shared = reading.plan.processes, reading.plan.parent is not None
    events = JournalEvents(follower, part(LISTENERS_MAX, "listeners_max", processes))
    await asyncio.to_thread(events.publish)  # subscriptions begin here
    following.listeners.append(events.publish)
    way = NodeWay(settings.folder)
    context = ApiContext(
        params=settings.params,
        state=follower,
        clock=reading.clock,
        logins=FollowedLogins(settings.folder, settings.rpc_auth),
        version=version("groat"),
        started_at=reading.clock(),
        events=events,
        peers=ReaderPeers(follower),
        miner=ReaderMiner(follower),
        host=ReaderHost(reading),
        allowed_hosts=allowed_hosts(settings),
        wait_for_version=following.wait_for,
        hand_on=way,
        limits=limits_of_one(processes),
    )
    app = create_api(context)
    listener = Listener(AccessLog(app), _listener_limits(processes))
    async with app.router.lifespan_context(app), AsyncExitStack() as stack:
        stack.push_async_callback(way.close)
        await stack.enter_async_context(supervisor.required("following", following.run()))
        with listening("the API", settings.api):
            await listener.start(settings.api.host, settings.api.port, is_shared=is_shared)
        try:
            async with supervisor.required("the API's listener", listener.wait()):
                yield listener
        finally:
            events.close()  # ends its streams, so that the listener does not wait for them
            await listener.stop()


def _listener_limits(processes: int) -> GuardLimits:
    """Return the limits on the connections of one of some processes."""
    return replace(
        API_LIMITS,
        connections_max=part(API_LIMITS.connections_max, "connections_max", processes),
        connections_per_ip_max=part(
            API_LIMITS.connections_per_ip_max, "connections_per_ip_max", processes
        ),
    )


def _end_with(parent: int, stop: StopRequest) -> None:
    """Stop when the other end of a pipe, which this process's parent holds, is closed."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(parent, 1):
            loop.remove_reader(parent)
            stop.requested.set()

    loop.add_reader(parent, read)


def _shown(error: BaseException) -> ProcessError:
    """Return the error with which the process ends, in one line."""
    if isinstance(error, SchemaTooNewError | SchemaTooOldError):
        return OtherSchemaError(str(error))
    if isinstance(error, ProcessError):
        return error
    why = f"stopped: {described(error)}"
    log.critical("%s", why, extra=NOT_SHOWN)
    return ProcessError(why)


def _say_ready(settings: Settings, api: Listener) -> None:
    where = Endpoint(api.host, api.port).to_dial()
    sys.stdout.write(f"groat: serving network={settings.params.name} api=http://{where}\n")
    sys.stdout.flush()
