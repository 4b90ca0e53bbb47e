"""The one task that owns the gossip core: feeds it events and carries out its actions."""

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from chain.gossip.actions import (
    Action,
    Admit,
    Close,
    Dial,
    Feeler,
    Pause,
    Refuse,
    Reply,
    ResolveSeed,
    Resume,
    SaveState,
    Send,
    Trace,
    ValidateBlocks,
    ValidateHeaders,
)
from chain.gossip.events import Closed, DialFailed, Event, LinkId, Now, Tick
from chain.gossip.peers.links import (
    CLOCK_OFF,
    LINK_CLOSED,
    LINK_OPENED,
    SEED_ANSWERED,
    SEED_SILENT,
)
from chain.gossip.wire.messages import Bye
from chain.node.ledger_requests import LedgerReply, LedgerRequest
from chain.primitives.numbers import SECOND_US
from chain.printable import printable
from chain.service.clock import Clock
from chain.service.debug_log import debug_logger, is_on
from chain.service.ledger_thread import LedgerBusyError
from chain.service.peers.acceptor import AcceptedLink, Acceptor
from chain.service.peers.dialled import DialledLink
from chain.service.peers.dialler import Dialler
from chain.service.peers.inbox import Inbox
from chain.service.peers.net_lines import log_dial, log_event, log_link, log_seed
from chain.service.peers.resolver import SeedResolver

LEDGER_REQUESTS_MAX: Final = 256  # of the peer side in the ledger thread's queue at a time
BLOCK_CALLS: Final = 2  # for blocks in a row: while one is made, the next one is queued
BUSY_PAUSE_S: Final = 0.05
SLICE_S: Final = 0.01  # then other tasks get their turn

_log = logging.getLogger(__name__)
_net_log: Final = debug_logger("net")


class GossipCore(Protocol):
    """The gossip core, as its driver sees it."""

    def handle(self, event: Event, now: Now) -> list[Action]:
        """Return the actions that follow from an event."""

    def next_deadline(self) -> int | None:
        """Return when (monotonic microseconds) it wants a Tick."""


class LedgerCall(Protocol):
    """LedgerThread.call, or a function with the same interface."""

    def __call__(
        self, function: Callable[[], list[LedgerReply]], /
    ) -> Awaitable[list[LedgerReply]]:
        """Run on the ledger thread. Raises LedgerBusyError: its queue is full."""


HandleRequests = Callable[[deque[LedgerRequest], int], list[LedgerReply]]  # the int is unix seconds


@dataclass(frozen=True, slots=True)
class ActionHandlers:
    """The functions that carry out the core's actions."""

    acceptor: Acceptor
    dialler: Dialler
    seeds: SeedResolver
    answer: HandleRequests  # on the ledger thread
    call: LedgerCall
    save: Callable[[SaveState], None]
    tasks: asyncio.TaskGroup
    clock: Clock


class GossipDriver:
    """Runs the core. Everything here happens on one event loop, so nothing needs a lock."""

    def __init__(self, core: GossipCore, inbox: Inbox, handlers: ActionHandlers) -> None:
        self.counts: Counter[str] = Counter()  # of the core's traces, by kind, and of failed dials
        self._core = core
        self._inbox = inbox
        self._handlers = handlers
        self._clock = handlers.clock
        self._requests: deque[LedgerRequest] = deque()  # the ledger thread takes them out
        self._headers: deque[LedgerRequest] = deque()  # those for headers, which go first
        self._blocks_in_row = 0  # at the end of what was ever put there
        self._forwarding = 0  # tasks that ask until no request is left
        self._slots = asyncio.Semaphore(LEDGER_REQUESTS_MAX)

    async def run(self) -> None:
        """Start the core and drive it until cancelled."""
        self.handle(Tick())
        slice_end_s = time.monotonic() + SLICE_S
        while True:
            due_us = self._core.next_deadline()
            if due_us is not None and due_us <= self._clock.now().mono_us:
                self.handle(Tick())
            elif (event := self._inbox.take()) is not None:
                self.handle(event)
            else:
                await self._wait_until(due_us)
            if time.monotonic() > slice_end_s:
                await asyncio.sleep(0)
                slice_end_s = time.monotonic() + SLICE_S

    def handle(self, event: Event) -> None:
        """Pass one event to the core and carry out its actions."""
        if is_on(_net_log):
            log_event(event)
        for action in self._core.handle(event, self._clock.now()):
            self._perform(action)
        if isinstance(event, Closed):
            self._inbox.drop(event.link)
        elif isinstance(event, DialFailed):
            self.counts[f"dial failed: {event.why}"] += 1

    async def _wait_until(self, due_us: int | None) -> None:
        wait_s = None if due_us is None else (due_us - self._clock.now().mono_us) / SECOND_US
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._inbox.wait()

    def _perform(self, action: Action) -> None:
        handlers = self._handlers
        match action:
            case Send() | Reply() | Close() | Pause() | Resume():
                self._perform_on_link(action)
            case Admit() | Refuse():
                handlers.acceptor.decide(action)
            case Dial():
                log_dial(action)
                handlers.dialler.dial(action)
            case Feeler():
                log_dial(action)
                handlers.dialler.dial_feeler(action)
            case ResolveSeed():
                handlers.seeds.resolve(action)
            case SaveState():
                handlers.save(action)
            case Trace():
                self._note(action)
            case _:
                self._request(action)

    def _perform_on_link(self, action: Send | Reply | Close | Pause | Resume) -> None:
        link = self.link(action.link)
        if link is None:
            return  # it has ended, and the core will get an event for that
        match action:
            case Send():
                link.send(action.message, action.priority)
            case Reply():
                assert isinstance(link, AcceptedLink), "who dialled is not asked by requests"
                link.reply(action.token, action.message, is_last=action.is_last)
            case Pause():
                link.pause()
            case Resume():
                link.resume()
            case Close():
                self._close(link, action)

    def link(self, link: LinkId) -> AcceptedLink | DialledLink | None:
        """Return an open link."""
        return self._handlers.acceptor.links.get(link) or self._handlers.dialler.links.get(link)

    def _close(self, link: AcceptedLink | DialledLink, action: Close) -> None:
        self._inbox.drop(link.id)
        bye = Bye(action.code, action.retry_after_s)
        if isinstance(link, AcceptedLink):
            self._handlers.acceptor.close(link, bye)
        else:
            link.close(bye)

    def _request(self, request: LedgerRequest) -> None:
        """Queue a request to the ledger, and ask there; blocks in a row are answered together.

        Headers do not wait for blocks: in a first sync, all peers would wait with them. Their
        parents are in the ledger, not among these blocks.
        """
        is_first = isinstance(request, ValidateHeaders)
        (self._headers if is_first else self._requests).append(request)
        self._blocks_in_row = self._blocks_in_row + 1 if isinstance(request, ValidateBlocks) else 0
        if self._blocks_in_row > BLOCK_CALLS and self._forwarding >= BLOCK_CALLS:
            return
        self._forwarding += 1
        task = self._forward_to_ledger()
        self._handlers.tasks.create_task(task, name=type(request).__name__)

    async def _forward_to_ledger(self) -> None:
        """Pass requests to the ledger thread, and its replies to the core, until none is left."""
        async with self._slots:
            while self._headers or self._requests:
                now_s = self._clock.now().unix_s
                try:
                    for event in await self._handlers.call(partial(self._answer_next, now_s)):
                        self._inbox.post(event)
                except LedgerBusyError:
                    await asyncio.sleep(BUSY_PAUSE_S)
        self._forwarding -= 1

    def _answer_next(self, now_s: int) -> list[LedgerReply]:
        """Answer the next request, or blocks in a row; called on the ledger thread."""
        return self._handlers.answer(self._headers or self._requests, now_s)

    def _note(self, trace: Trace) -> None:
        self.counts[trace.kind] += 1
        if trace.kind == CLOCK_OFF:
            _log.warning("the clocks of most peers are %s s ahead of ours", trace.fields[0][1])
        elif trace.kind in {LINK_OPENED, LINK_CLOSED}:
            log_link(trace)
        elif trace.kind in {SEED_ANSWERED, SEED_SILENT}:
            log_seed(trace)
        if is_on(_net_log):
            fields = " ".join(f"{name}={value}" for name, value in trace.fields)
            _net_log.debug("%s %s", trace.kind, printable(fields))
