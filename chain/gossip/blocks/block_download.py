"""Block download from many peers in parallel, passed to the ledger parents first.

The *goal* is the best header that some peer is known to have; the *plan* is a window of the missing
blocks towards it. A received block waits until its parent is stored.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile, islice
from operator import attrgetter
from typing import Final

from chain.consensus.entry import BlockTreeEntry, fork_point
from chain.gossip.actions import Priority
from chain.gossip.blocks.block_queue import BlockQueue
from chain.gossip.blocks.headersync import AHEAD_S, HeaderSync
from chain.gossip.blocks.serve import REPLY_BLOCKS_MAX
from chain.gossip.context import CODE_TIMEOUT, Context, Link
from chain.gossip.dispatch import Handler, Part, on_link_event, on_message
from chain.gossip.events import LinkId, RequestFinished
from chain.gossip.wire.messages import (
    COMPACT_BLOCK,
    WITNESS_BLOCK,
    BlockMessage,
    GetData,
    Headers,
    Inventory,
    Message,
    NotFound,
)
from chain.primitives.block import Header
from chain.primitives.numbers import SECOND_US, Hash32

WINDOW_BLOCKS: Final = 8192  # small ones: half at the ledger, half on the way
WINDOW_BYTES_MAX: Final = 64 * 1024 * 1024
REQUEST_BLOCKS_MAX: Final = REPLY_BLOCKS_MAX  # of small blocks
OLD_REQUEST_BLOCKS_MAX: Final = 16  # from links that serve no runs of blocks
_REQUEST_BLOCKS_MIN: Final = 8  # of large ones
_REQUEST_BYTES: Final = 1024 * 1024  # expected, of more blocks than that
REQUESTS_PER_LINK: Final = 2  # so that a peer always has the next one
IN_FLIGHT_PER_LINK_MAX: Final = REQUESTS_PER_LINK * REQUEST_BLOCKS_MAX
COPIES_MAX: Final = 3  # peers from which the same block is requested at the same time
STALL_S_MIN: Final = 2.0  # Bitcoin: BLOCK_STALLING_TIMEOUT_DEFAULT
STALL_S_MAX: Final = 64.0
STALL_DECAY: Final = 0.85  # for each connected block
WATCH_S: Final = 0.5
REQUEST_TIMEOUT_S: Final = 20.0
BYTES_PER_S_START: Final = 250_000  # assumed speed of a peer until it is measured
_SPEED_WEIGHT: Final = 0.3
BYTES_PER_S_MIN: Final = 16_000  # a slower peer is dropped
BACK_OFF_S: Final = 1.0  # doubled for each consecutive failed request
FAILURES_MAX: Final = 5


@dataclass(slots=True)
class _Arrival:
    """Blocks that arrived together."""

    since_us: int  # when the link began to send them, as far as we know
    speed_before: float  # of the link, in bytes a second
    size: int = 0


@dataclass(slots=True)
class _Fetch:
    """The blocks requested from one link."""

    flights: dict[Hash32, int] = field(default_factory=dict)  # request time of each block
    open_until_us: int = 0  # when the oldest request should be done
    wait_until_us: int = 0  # no request before this time
    last_block_us: int = 0  # when a block last arrived
    bytes_per_s: float = BYTES_PER_S_START  # recent speed
    arrival: _Arrival | None = None  # the last one
    failures: int = 0  # consecutive failed requests


class BlockDownload(Part):
    """Decides which block is requested from which link, and when to give up on a peer."""

    def __init__(self, context: Context, block_queue: BlockQueue, headers: HeaderSync) -> None:
        self._context = context
        self._block_queue = block_queue
        self._headers = headers
        self._fetches: dict[LinkId, _Fetch] = {}
        self._requested_from: dict[Hash32, int] = {}  # how many links each block was requested from
        self._goal: BlockTreeEntry | None = None
        self._plan: list[BlockTreeEntry] = []  # missing blocks towards the goal, lowest first
        self._scan_start = 0  # in the plan: what is before it has arrived or is in flight
        self._losses_seen = 0  # of the queue, at the last scan
        self._stall_s = STALL_S_MIN
        self._is_watching = False
        self._is_retry_due = False  # after a wait for headers

    def handlers(self) -> tuple[Handler, ...]:
        """Handle whole blocks, and the end of the requests for them."""
        return (
            on_message(BlockMessage, self.block, expects=self.expects),
            on_message(NotFound, self.not_found),
            on_link_event(RequestFinished, self.request_finished),
        )

    def opened(self, link: Link) -> None:
        """Note a new link."""
        self._fetches[link.id] = _Fetch()

    def closed(self, link: Link) -> None:
        """Forget a link, and request its outstanding blocks from other links."""
        fetch = self._fetches.pop(link.id)
        self._lose_flights(fetch, list(fetch.flights))
        self.schedule()

    def expects(self, link: Link, block: BlockMessage) -> bool:
        """Return whether this link has an open request for this block."""
        return self.is_requested(link, block.block_id)

    def block(self, link: Link, block: BlockMessage) -> None:
        """Handle a received block, requested or pushed."""
        chain = self._context.chain
        if self.take_requested(link, (block,)):
            return
        if chain.has_block(block.block_id) and (entry := chain.get(block.block_id)):
            link.update_best_known(entry)
        elif chain.get(block.header.previous) is None:
            self._headers.request(link)
        elif self._block_queue.is_worth_validating(block.header):
            self._block_queue.add(block, link)
            self.request_ancestors(link, block.header)

    def request_ancestors(self, link: Link, header: Header) -> None:
        """Request the missing ancestors of a block that a link pushed, if any."""
        if not self._block_queue.can_validate_children(header.previous):
            self._headers.headers(link, Headers((header,)))

    def take_requested(self, link: Link, messages: Sequence[Message]) -> int:
        """Handle the requested blocks that `messages` begin with; return how many there are.

        In a first sync hundreds come together, and nothing else.
        """
        fetch = self._fetches[link.id]
        blocks: list[BlockMessage] = []
        requested_us = 0  # when the first of them was
        for message in messages:
            if not isinstance(message, BlockMessage) or message.block_id not in fetch.flights:
                break
            if not blocks:
                requested_us = fetch.flights[message.block_id]
            self._end_flight(fetch, message.block_id)
            blocks.append(message)
        if blocks:
            self._time(fetch, requested_us, sum(len(block.raw) for block in blocks))
            fetch.failures = 0
            fetch.open_until_us = self._deadline_us(len(fetch.flights))
            self._block_queue.add_all(blocks, link)
            self._context.defer(self.schedule)
        return len(blocks)

    def heights_in_flight(self, link: Link) -> tuple[int, ...]:
        """Return the heights of the blocks that are requested from a link and have not arrived."""
        fetch = self._fetches.get(link.id)
        flights = [] if fetch is None else list(fetch.flights)
        requested = map(self._context.chain.get, flights)
        return tuple(entry.height for entry in requested if entry is not None)

    def is_requested(self, link: Link, block_id: Hash32) -> bool:
        """Return whether this link has an open request for this block."""
        return block_id in self._fetches[link.id].flights

    def reconstructed(self, link: Link, block: BlockMessage) -> None:
        """Handle a block reconstructed from a link's compact block, requested or not."""
        self._fetches[link.id].failures = 0
        self._block_queue.add(block, link, reconstructed=True)
        self.schedule()

    def compact_arrived(self, link: Link, block_id: Hash32) -> bool:
        """Count a compact block as the reply to a request; return whether it was requested."""
        fetch = self._fetches[link.id]
        if block_id not in fetch.flights:
            return False
        self._lose_flights(fetch, [block_id])  # unless it can be reconstructed
        fetch.open_until_us = self._deadline_us(len(fetch.flights))
        return True

    def request_whole(self, link: Link, block_id: Hash32) -> None:
        """Request the whole block from the link whose compact block could not be reconstructed."""
        fetch = self._fetches.get(link.id)
        if fetch is not None:
            self._start(fetch, [block_id])
            self._context.send(link, _getdata(WITNESS_BLOCK, [block_id]), Priority.CONTROL)

    def timed_out(self, link: Link) -> None:
        """Request nothing from this link for a while: it did not deliver what it announced."""
        self._failed(link, self._fetches[link.id])

    def not_found(self, link: Link, message: NotFound) -> None:
        """Forget a peer's best known block if it lacks a requested one."""
        fetch = self._fetches[link.id]
        requested = [item.id for item in message.items if item.id in fetch.flights]
        self._lose_flights(fetch, requested)
        if requested:
            link.best_known = None
            self._failed(link, fetch)
            self.schedule()

    def request_finished(self, link: Link, event: RequestFinished) -> None:
        """Record that an HTTP request ended: its blocks that are still missing will not arrive."""
        request = event.message
        if not isinstance(request, GetData):
            return
        fetch = self._fetches[link.id]
        missing = [item.id for item in request.items if item.id in fetch.flights]
        self._lose_flights(fetch, missing)
        if event.failed or len(missing) == len(request.items):
            self._failed(link, fetch)
        self.schedule()

    def blocks_validated(self, valid: Sequence[tuple[Link, BlockMessage]]) -> None:
        """Continue after verdicts; blocks that were valid show that peers are fast enough."""
        self._stall_s = max(self._stall_s * STALL_DECAY ** len(valid), STALL_S_MIN)
        self._context.defer(self.schedule)

    def best_known_changed(self, link: Link) -> None:
        """Record that a link may have more blocks than known before."""
        known, goal = link.best_known, self._goal or self._context.chain.tip
        is_better = known is not None and known.chain_work > goal.chain_work
        if is_better or not self._is_next_block_coming():
            self.schedule()
        self._request_competitor(link)

    def schedule(self) -> None:
        """Request missing blocks from links that have them and have room.

        The plan is scanned from where the last scan ended, unless what was before that may be
        missing again.
        """
        if self._losses_seen != self._block_queue.losses:
            self._losses_seen = self._block_queue.losses
            self._scan_start = 0
        self._choose_goal()
        self._refill_plan()
        if self._is_next_block_coming() or self._waits_for_headers():
            return
        free = self._free_links()
        wanted = self._wanted(sum(map(self._room, free)))
        if not wanted:
            return
        share = max(-(-len(wanted) // len(free)), _REQUEST_BLOCKS_MIN)
        while wanted:
            link = self._best_link(wanted[0])
            if link is None:
                break
            height = self._height_towards_goal(link)
            few = wanted[: min(share, self._request_max(link))]
            taken = [entry for entry in few if entry.height <= height]
            self._request(link, taken)
            wanted = wanted[len(taken) :]

    def _waits_for_headers(self) -> bool:
        """Return whether blocks are to be requested later; this comes back then."""
        if not self._headers.is_ahead:
            return False
        if not self._is_retry_due:
            self._is_retry_due = True
            self._context.call_later(AHEAD_S, self._retry)
        return True

    def _retry(self) -> None:
        self._is_retry_due = False
        self.schedule()

    def _request_competitor(self, link: Link) -> None:
        """Request a link's block on top of our tip although the goal is another one.

        The goal may be a header whose block does not exist, on the only chain that its peers have.
        """
        known = link.best_known
        if known is None or known.parent != self._context.chain.tip:
            return
        is_idle = not self._fetches[link.id].flights and self._is_free(link)
        if is_idle and not self._is_coming(known) and not self._block_queue.is_refused(known):
            self._request(link, [known])

    def _choose_goal(self) -> None:
        """Choose the valid block with the most work that a peer has, above our tip."""
        context = self._context
        best: BlockTreeEntry | None = None
        work = context.chain.tip.chain_work
        for link in context.links.values():
            known = link.best_known
            if known is not None and known.chain_work > work:
                if self._block_queue.is_refused(known):
                    link.best_known = None
                else:
                    best, work = known, known.chain_work
        if best != self._goal:
            if best is None or self._goal is None or not self._goal.is_ancestor_of(best):
                self._plan, self._scan_start = [], 0
            self._goal = best

    def _refill_plan(self) -> None:
        """Drop the blocks that arrived, and extend the plan when half of the window is done."""
        goal, chain = self._goal, self._context.chain
        if goal is None:
            return
        done = 0
        while done < len(self._plan) and chain.has_data(self._plan[done]):
            done += 1
        last = self._plan[-1] if self._plan else None
        del self._plan[:done]
        self._scan_start = max(self._scan_start - done, 0)
        if len(self._plan) > WINDOW_BLOCKS - REQUEST_BLOCKS_MAX or last == goal:
            return
        at = last or fork_point(chain.tip, goal)
        missing: list[BlockTreeEntry] = []
        while at != goal and not missing:  # the last block may have arrived before an earlier one
            path = _path(at, goal, WINDOW_BLOCKS - len(self._plan))
            missing = list(dropwhile(chain.has_data, path))
            at = path[-1]
        self._plan += missing

    def _free_links(self) -> list[Link]:
        """Return the links from which a block of the plan could be requested now."""
        if not self._plan:
            return []
        lowest = self._plan[0].height
        return [
            link
            for link in self._context.links.values()
            if link.best_known is not None
            and link.best_known.height >= lowest
            and self._is_free(link)
        ]

    def _height_towards_goal(self, link: Link) -> int:
        """Return up to which height a link has the blocks towards the goal; -1: none."""
        if link.best_known is None or self._goal is None:
            return -1
        return fork_point(link.best_known, self._goal).height

    def _request_max(self, link: Link) -> int:
        """Return how many blocks to request from a link at once.

        Bitcoin has 16 of any size on the way from a peer.
        """
        fitting = _REQUEST_BYTES // self._block_queue.expected_block_bytes
        at_most = REQUEST_BLOCKS_MAX if link.serves_block_runs else OLD_REQUEST_BLOCKS_MAX
        return min(max(fitting, _REQUEST_BLOCKS_MIN), at_most)

    def _room(self, link: Link) -> int:
        """Return how many blocks may be requested from a link now, in full requests.

        Few large ones are better.
        """
        fetch = self._fetches[link.id]
        if fetch.wait_until_us > self._context.now.mono_us:
            return 0
        request_max = self._request_max(link)
        requests = (REQUESTS_PER_LINK * request_max - len(fetch.flights)) // request_max
        return max(requests, 0) * request_max

    def _is_free(self, link: Link) -> bool:
        """Return whether a link has room for a full request."""
        return self._room(link) > 0

    def _wanted(self, count: int) -> list[BlockTreeEntry]:
        """Return at most `count` blocks to request now.

        The window has room for the blocks that arrived and those in flight, each of which counts
        with the size of the largest recent block, because headers do not contain sizes.
        """
        block_queue = self._block_queue
        if not count or self._scan_start == len(self._plan):
            return []
        in_flight = sum(len(fetch.flights) for fetch in self._fetches.values())
        room = (WINDOW_BYTES_MAX - block_queue.size) // block_queue.expected_block_bytes - in_flight
        # The first missing block is requested even if the queue is full, or the download stops.
        if room <= 0 and self._plan[0].id not in self._requested_from:
            room = 1
        at_most = min(count, max(room, 0))
        scanned, requested = islice(self._plan, self._scan_start, None), self._requested_from
        missing = block_queue.missing(e for e in scanned if e.id not in requested)
        wanted = list(islice(missing, at_most))
        if at_most:
            first = wanted[0].height if wanted else self._plan[-1].height + 1
            self._scan_start = bisect_left(self._plan, first, key=attrgetter("height"))
        return wanted

    def _is_next_block_coming(self) -> bool:
        """Return whether at most one block is missing, and in flight: usual at the tip."""
        return not self._plan or (len(self._plan) == 1 and self._is_coming(self._plan[0]))

    def _is_coming(self, entry: BlockTreeEntry) -> bool:
        """Return whether a block has arrived or is in flight."""
        return entry.id in self._requested_from or self._block_queue.has(entry.id)

    def _best_link(self, entry: BlockTreeEntry) -> Link | None:
        """Return the link with the block and with room; outbound first, then the least busy."""
        best: tuple[bool, int] | None = None
        chosen = None
        for link in self._context.links.values():
            flights = self._fetches[link.id].flights
            rank = (not link.is_outbound, len(flights))
            if best is not None and rank >= best:
                continue
            if self._is_free(link) and entry.id not in flights and link.has(entry):
                best, chosen = rank, link
        return chosen

    def _request(self, link: Link, entries: list[BlockTreeEntry]) -> None:
        """Request blocks; one on top of our tip as a compact block, since we have most of it."""
        is_next_block = len(entries) == 1 and entries[0].parent == self._context.chain.tip
        kind = COMPACT_BLOCK if is_next_block and link.knows_compact else WITNESS_BLOCK
        ids = [entry.id for entry in entries]
        self._start(self._fetches[link.id], ids)
        self._context.send(link, _getdata(kind, ids), Priority.CONTROL)

    def _start(self, fetch: _Fetch, ids: list[Hash32]) -> None:
        if not fetch.flights:
            fetch.open_until_us = self._deadline_us(len(ids))
        for block_id in ids:
            if block_id not in fetch.flights:
                self._requested_from[block_id] = self._requested_from.get(block_id, 0) + 1
            fetch.flights[block_id] = self._context.now.mono_us
        self._schedule_watch()

    def _time(self, fetch: _Fetch, requested_us: int, size: int) -> None:
        """Update a peer's measured speed from the gaps between arrivals of one block or several."""
        now_us = self._context.now.mono_us
        arrival = fetch.arrival
        if arrival is None or now_us != fetch.last_block_us:
            since_us = max(requested_us, fetch.last_block_us)
            arrival = fetch.arrival = _Arrival(since_us, fetch.bytes_per_s)
            fetch.last_block_us = now_us
        arrival.size += size
        speed = arrival.size * SECOND_US / max(now_us - arrival.since_us, 1)
        before = arrival.speed_before
        fetch.bytes_per_s = before + (speed - before) * _SPEED_WEIGHT

    def _end_flight(self, fetch: _Fetch, block_id: Hash32) -> None:
        del fetch.flights[block_id]
        self._requested_from[block_id] -= 1
        if not self._requested_from[block_id]:
            del self._requested_from[block_id]

    def _lose_flights(self, fetch: _Fetch, block_ids: Iterable[Hash32]) -> None:
        """End flights without their blocks, which are missing again."""
        for block_id in block_ids:
            self._end_flight(fetch, block_id)
            self._scan_start = 0

    def _failed(self, link: Link, fetch: _Fetch) -> None:
        """Wait longer after each consecutive failed request, then close the link."""
        fetch.failures += 1
        if fetch.failures > FAILURES_MAX:
            self._context.close(link, "does not deliver the requested blocks", CODE_TIMEOUT)
            return
        wait_s = BACK_OFF_S * 2**fetch.failures
        fetch.wait_until_us = self._context.now.mono_us + int(wait_s * SECOND_US)
        self._context.call_later(wait_s, self.schedule)

    def _deadline_us(self, blocks: int) -> int:
        """Return when a link with this many open requests is dropped unless a block arrives."""
        expected_s = blocks * self._block_queue.expected_block_bytes / BYTES_PER_S_MIN
        return self._context.now.mono_us + int((REQUEST_TIMEOUT_S + expected_s) * SECOND_US)

    def _schedule_watch(self) -> None:
        if not self._is_watching:
            self._is_watching = True
            self._context.call_later(WATCH_S, self._watch)

    def _watch(self) -> None:
        """Check for late blocks, while any are in flight."""
        self._is_watching = False
        self._scan_start = 0
        context = self._context
        for link in list(context.links.values()):
            fetch = self._fetches[link.id]
            if fetch.flights and fetch.open_until_us < context.now.mono_us:
                context.close(link, "delivered blocks too late", CODE_TIMEOUT)
        self._watch_first()
        if self._requested_from:
            self._schedule_watch()

    def _watch_first(self) -> None:
        """Request the block that delays all others from a second peer, then drop the first peer."""
        if not self._plan or self._plan[0].id not in self._requested_from:
            return
        first = self._plan[0]
        since_us, slowest = self._oldest_flight(first.id)
        if slowest is None:
            return
        waited_s = (self._context.now.mono_us - since_us) / SECOND_US
        owed = self._owed_with(slowest, first)
        # What others delivered meanwhile may keep its sender busy, but it is no reason to wait.
        missing = sum(not self._block_queue.has_body(block_id) for block_id in owed)
        is_late = waited_s - self._expected_s(slowest, missing) >= self._stall_s / 2
        if is_late and self._requested_from[first.id] < COPIES_MAX:
            other = self._best_link(first)
            if other is not None:
                self._request(other, self._first_due(slowest, other))
        late_s = waited_s - self._expected_s(slowest, len(owed))
        if late_s >= self._stall_s and self._is_window_full():
            self._stall_s = min(self._stall_s * 2, STALL_S_MAX)
            self._context.close(slowest, "stalls the block download", CODE_TIMEOUT)

    def _first_due(self, slow: Link, other: Link) -> list[BlockTreeEntry]:
        """Return the lowest blocks requested from a link that another link could give at once.

        Checked one by one, each block would wait for a check of its own.
        """
        owed, requested = self._fetches[slow.id].flights, self._fetches[other.id].flights
        return [
            entry
            for entry in self._plan[: self._request_max(other)]
            if entry.id in owed
            and entry.id not in requested
            and other.has(entry)
            and self._requested_from[entry.id] < COPIES_MAX
        ]

    def _owed_with(self, link: Link, entry: BlockTreeEntry) -> list[Hash32]:
        """Return what was requested from a link up to a block."""
        flights = list(self._fetches[link.id].flights)
        return flights[: flights.index(entry.id) + 1]

    def _expected_s(self, link: Link, blocks: int) -> float:
        """Return how long so many blocks may take at a link's own speed.

        A large block from a slow but honest peer is not a stall; from one below the minimum speed
        it is.
        """
        speed = max(self._fetches[link.id].bytes_per_s, BYTES_PER_S_MIN)
        return blocks * self._block_queue.expected_block_bytes / speed

    def _oldest_flight(self, block_id: Hash32) -> tuple[int, Link | None]:
        flights = [
            (self._fetches[link.id].flights[block_id], link)
            for link in self._context.links.values()
            if block_id in self._fetches[link.id].flights
        ]
        return min(flights, key=lambda flight: flight[0], default=(self._context.now.mono_us, None))

    def _is_window_full(self) -> bool:
        """Return whether more blocks are wanted but must wait for the lowest one."""
        return self._plan[-1] != self._goal and not self._wanted(1)


def _getdata(kind: int, ids: list[Hash32]) -> GetData:
    return GetData(tuple(Inventory(kind, block_id) for block_id in ids))


def _path(base: BlockTreeEntry, goal: BlockTreeEntry, count: int) -> list[BlockTreeEntry]:
    """Return the entries after `base` towards `goal`, lowest first, at most `count` of them."""
    top = goal.ancestor(min(goal.height, base.height + count))
    path: list[BlockTreeEntry] = []
    at: BlockTreeEntry | None = top
    while at is not None and at != base and at.height > base.height:
        path.append(at)
        at = at.parent
    path.reverse()
    return path
