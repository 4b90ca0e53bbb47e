"""Downloading blocks from many peers at once, and giving them to the ledger parents first.

The *goal* is the best header that some peer has shown to have; the *plan* is what is missing on
the way there, a window of it. What arrives waits until its parent is stored.
"""

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from chain.consensus.entry import BlockTreeEntry, fork_point
from chain.gossip.actions import Priority
from chain.gossip.blocks.block_queue import BlockQueue
from chain.gossip.context import CODE_TIMEOUT, SECOND_US, Context, Link
from chain.gossip.wire.messages import (
    COMPACT_BLOCK,
    WITNESS_BLOCK,
    BlockMessage,
    GetData,
    Inventory,
    NotFound,
)
from chain.primitives.numbers import Hash32

if TYPE_CHECKING:
    from chain.gossip.events import LinkId

WINDOW_BLOCKS: Final = 1024  # Bitcoin: BLOCK_DOWNLOAD_WINDOW
WINDOW_BYTES_MAX: Final = 64 * 1024 * 1024
IN_FLIGHT_PER_LINK_MAX: Final = 16  # Bitcoin: MAX_BLOCKS_IN_TRANSIT_PER_PEER
REQUEST_BLOCKS_MAX: Final = 8  # so a link has two requests open
COPIES_MAX: Final = 3  # peers asked for one block at a time
STALL_S_MIN: Final = 2.0  # Bitcoin: BLOCK_STALLING_TIMEOUT_DEFAULT
STALL_S_MAX: Final = 64.0
STALL_DECAY: Final = 0.85  # for each block that connects
WATCH_S: Final = 0.5
REQUEST_TIMEOUT_S: Final = 20.0
BYTES_PER_S_START: Final = 250_000  # taken for a peer's speed until it shows it
_SPEED_WEIGHT: Final = 0.3
BYTES_PER_S_MIN: Final = 16_000  # a slower peer is given up
BACK_OFF_S: Final = 1.0  # doubled for each request in a row that brought nothing
FAILURES_MAX: Final = 5


@dataclass(slots=True)
class _Fetch:
    """What one link was asked for."""

    flights: dict[Hash32, int] = field(default_factory=dict)  # when each block was asked for
    open_until_us: int = 0  # when the oldest request should be done
    wait_until_us: int = 0  # no request before
    last_block_us: int = 0  # when a block came last
    bytes_per_s: float = BYTES_PER_S_START  # of late
    failures: int = 0  # requests in a row that brought nothing


class BlockFetch:
    """Decides which block is asked of whom, and when to give up on a peer."""

    def __init__(self, context: Context, block_queue: BlockQueue) -> None:
        self._context = context
        self._block_queue = block_queue
        self._fetches: dict[LinkId, _Fetch] = {}
        self._requested_from: dict[Hash32, int] = {}  # links asked for each block
        self._goal: BlockTreeEntry | None = None
        self._plan: list[BlockTreeEntry] = []  # missing blocks towards the goal, lowest first
        self._stall_s = STALL_S_MIN
        self._is_watching = False

    def opened(self, link: Link) -> None:
        """Note a new link."""
        self._fetches[link.id] = _Fetch()

    def closed(self, link: Link) -> None:
        """Forget a link; others are asked for what it owes."""
        fetch = self._fetches.pop(link.id)
        for block_id in list(fetch.flights):
            self._end_flight(fetch, block_id)
        self.schedule()

    def expects(self, link: Link, block: BlockMessage) -> bool:
        """Tell whether this link was asked for this block."""
        return self.is_requested(link, block.block_id)

    def block(self, link: Link, block: BlockMessage) -> None:
        """Take a block that was asked for."""
        fetch = self._fetches[link.id]
        self._time(fetch, block)
        self._end_flight(fetch, block.block_id)
        fetch.failures = 0
        fetch.open_until_us = self._deadline_us(len(fetch.flights))
        self._block_queue.add(block, link)
        self.schedule()

    def heights_asked(self, link: Link) -> tuple[int, ...]:
        """Return the heights of the blocks that a link was asked for and has not given."""
        fetch = self._fetches.get(link.id)
        flights = [] if fetch is None else list(fetch.flights)
        requested = map(self._context.chain.get, flights)
        return tuple(entry.height for entry in requested if entry is not None)

    def is_requested(self, link: Link, block_id: Hash32) -> bool:
        """Tell whether this link was asked for this block."""
        return block_id in self._fetches[link.id].flights

    def reconstructed(self, link: Link, block: BlockMessage) -> None:
        """Take a block that was rebuilt from what a link sent, asked for or not."""
        self._fetches[link.id].failures = 0
        self._block_queue.add(block, link, reconstructed=True)
        self.schedule()

    def compact_arrived(self, link: Link, block_id: Hash32) -> bool:
        """Take the compact form of a block as the answer; tell whether it was asked for."""
        fetch = self._fetches[link.id]
        if block_id not in fetch.flights:
            return False
        self._end_flight(fetch, block_id)
        fetch.open_until_us = self._deadline_us(len(fetch.flights))
        return True

    def request_whole(self, link: Link, block_id: Hash32) -> None:
        """Ask for a block that could not be rebuilt, of whoever sent its compact form."""
        fetch = self._fetches.get(link.id)
        if fetch is not None:
            self._start(fetch, [block_id])
            self._context.send(link, _getdata(WITNESS_BLOCK, [block_id]), Priority.CONTROL)

    def timed_out(self, link: Link) -> None:
        """Ask this link for nothing for a while: it did not give what it announced."""
        self._failed(link, self._fetches[link.id])

    def not_found(self, link: Link, message: NotFound) -> None:
        """Believe nothing of a peer that lacks what it seemed to have, until it tells anew."""
        fetch = self._fetches[link.id]
        requested = [item.id for item in message.items if item.id in fetch.flights]
        for block_id in requested:
            self._end_flight(fetch, block_id)
        if requested:
            link.best_known = None
            self._failed(link, fetch)
            self.schedule()

    def request_finished(self, link: Link, request: GetData, *, failed: bool) -> None:
        """Note that the HTTP request for these blocks ended: what did not come will not."""
        fetch = self._fetches[link.id]
        missing = [item.id for item in request.items if item.id in fetch.flights]
        for block_id in missing:
            self._end_flight(fetch, block_id)
        if failed or len(missing) == len(request.items):
            self._failed(link, fetch)
        self.schedule()

    def connected(self) -> None:
        """Note that a block was accepted: peers have shown to be fast enough."""
        self._stall_s = max(self._stall_s * STALL_DECAY, STALL_S_MIN)

    def best_known_changed(self, link: Link) -> None:
        """Note that a link may have shown to have more than before."""
        known, goal = link.best_known, self._goal or self._context.chain.tip
        is_better = known is not None and known.chain_work > goal.chain_work
        if is_better or not self._is_next_block_coming():
            self.schedule()
        self._request_competitor(link)

    def schedule(self) -> None:
        """Ask for what is missing, of whoever has it and is free."""
        self._choose_goal()
        self._refill_plan()
        if self._is_next_block_coming():
            return
        wanted = self._wanted(self._count_free() * IN_FLIGHT_PER_LINK_MAX)
        while wanted:
            link = self._best_link(wanted[0])
            if link is None:
                break
            taken = [entry for entry in wanted[:REQUEST_BLOCKS_MAX] if link.has(entry)]
            self._request(link, taken)
            ids = {entry.id for entry in taken}
            wanted = [entry for entry in wanted if entry.id not in ids]

    def _request_competitor(self, link: Link) -> None:
        """Ask a link for its block on top of our tip though another one is the goal.

        The goal may be one that does not exist but for its header, and is all that its peers have.
        """
        known = link.best_known
        if known is None or known.parent is not self._context.chain.tip:
            return
        is_idle = not self._fetches[link.id].flights and self._is_free(link)
        if is_idle and not self._is_coming(known) and not self._block_queue.is_refused(known):
            self._request(link, [known])

    def _choose_goal(self) -> None:
        """Find the most work that a peer has, above our tip and on no invalid block."""
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
        if best is not self._goal:
            self._goal, self._plan = best, []

    def _refill_plan(self) -> None:
        """Drop what has come, and look further ahead when half of the window is done."""
        goal, chain = self._goal, self._context.chain
        if goal is None:
            return
        done = 0
        while done < len(self._plan) and chain.has_block(self._plan[done].id):
            done += 1
        base = self._plan[done - 1] if done else None
        del self._plan[:done]
        if len(self._plan) > WINDOW_BLOCKS // 2 or (self._plan and self._plan[-1] is goal):
            return
        if base is None:
            base = self._plan[0].parent if self._plan else fork_point(chain.tip, goal)
        assert base is not None, "what is missing has a parent"
        path = _path(base, goal)
        missing: list[BlockTreeEntry] = []
        while path and not missing:  # the last may be here and one before it not
            missing = [entry for entry in path if not chain.has_block(entry.id)]
            path = _path(path[-1], goal)
        self._plan = missing

    def _count_free(self) -> int:
        """Return how many links could be asked for something of the plan now."""
        if not self._plan:
            return 0
        lowest = self._plan[0].height
        return sum(
            link.best_known is not None and link.best_known.height >= lowest and self._is_free(link)
            for link in self._context.links.values()
        )

    def _is_free(self, link: Link) -> bool:
        """Whether a link has room for a whole request: rather one later than many small ones."""
        fetch = self._fetches[link.id]
        room = IN_FLIGHT_PER_LINK_MAX - len(fetch.flights)
        return room >= REQUEST_BLOCKS_MAX and fetch.wait_until_us <= self._context.now.mono_us

    def _wanted(self, count: int) -> list[BlockTreeEntry]:
        """Return at most `count` blocks to ask for now.

        What is here and what is on its way, each taken to be as large as the largest of late, has
        room in the window; headers do not tell sizes.
        """
        if not count:
            return []
        block_queue = self._block_queue
        in_flight = sum(len(fetch.flights) for fetch in self._fetches.values())
        room = (WINDOW_BYTES_MAX - block_queue.size) // block_queue.expected_block_bytes - in_flight
        missing = (entry for entry in self._plan if not self._is_coming(entry))
        # What is missing first must be had whatever waits for it, or nothing ever moves again.
        if room <= 0 and self._plan and self._plan[0].id not in self._requested_from:
            room = 1
        return list(islice(missing, min(count, max(room, 0))))

    def _is_next_block_coming(self) -> bool:
        """Tell whether at most one block is missing, and comes: so it is once we caught up."""
        return not self._plan or (len(self._plan) == 1 and self._is_coming(self._plan[0]))

    def _is_coming(self, entry: BlockTreeEntry) -> bool:
        """Tell whether a block is here or on its way."""
        return entry.id in self._requested_from or self._block_queue.has(entry.id)

    def _best_link(self, entry: BlockTreeEntry) -> Link | None:
        """Return who should be asked: has it, is free; outbound, and with the least to do."""
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
        """Ask for blocks; for one on top of our tip in its compact form, as we have most of it."""
        is_next_block = len(entries) == 1 and entries[0].parent is self._context.chain.tip
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

    def _time(self, fetch: _Fetch, block: BlockMessage) -> None:
        """Learn a peer's speed: blocks come one after the other, so each took since the last."""
        since_us = max(fetch.flights[block.block_id], fetch.last_block_us)
        fetch.last_block_us = self._context.now.mono_us
        took_us = max(fetch.last_block_us - since_us, 1)
        speed = len(block.raw) * SECOND_US / took_us
        fetch.bytes_per_s += (speed - fetch.bytes_per_s) * _SPEED_WEIGHT

    def _end_flight(self, fetch: _Fetch, block_id: Hash32) -> None:
        del fetch.flights[block_id]
        self._requested_from[block_id] -= 1
        if not self._requested_from[block_id]:
            del self._requested_from[block_id]

    def _failed(self, link: Link, fetch: _Fetch) -> None:
        """Wait a little longer for each request in a row that brought nothing, then give up."""
        fetch.failures += 1
        if fetch.failures > FAILURES_MAX:
            self._context.close(link, "does not give blocks", CODE_TIMEOUT)
            return
        wait_s = BACK_OFF_S * 2**fetch.failures
        fetch.wait_until_us = self._context.now.mono_us + int(wait_s * SECOND_US)
        self._context.call_later(wait_s, self.schedule)

    def _deadline_us(self, blocks: int) -> int:
        """Return when a link that owes so many blocks is given up unless one of them comes."""
        expected_s = blocks * self._block_queue.expected_block_bytes / BYTES_PER_S_MIN
        return self._context.now.mono_us + int((REQUEST_TIMEOUT_S + expected_s) * SECOND_US)

    def _schedule_watch(self) -> None:
        if not self._is_watching:
            self._is_watching = True
            self._context.call_later(WATCH_S, self._watch)

    def _watch(self) -> None:
        """Look for what is too late, while anything is on its way."""
        self._is_watching = False
        context = self._context
        for link in list(context.links.values()):
            fetch = self._fetches[link.id]
            if fetch.flights and fetch.open_until_us < context.now.mono_us:
                context.close(link, "blocks came too late", CODE_TIMEOUT)
        self._watch_first()
        if self._requested_from:
            self._schedule_watch()

    def _watch_first(self) -> None:
        """Ask a second peer for the block that holds up all others, then drop the first peer."""
        if not self._plan or self._plan[0].id not in self._requested_from:
            return
        first = self._plan[0]
        since_us, slowest = self._oldest_flight(first.id)
        if slowest is None:
            return
        late_s = (self._context.now.mono_us - since_us) / SECOND_US - self._expected_s(
            slowest, first
        )
        if late_s >= self._stall_s / 2 and self._requested_from[first.id] < COPIES_MAX:
            other = self._best_link(first)
            if other is not None:
                self._request(other, self._first_due(slowest, other))
        if late_s >= self._stall_s and self._is_window_full():
            self._stall_s = min(self._stall_s * 2, STALL_S_MAX)
            self._context.close(slowest, "stalls the download of blocks", CODE_TIMEOUT)

    def _first_due(self, slow: Link, other: Link) -> list[BlockTreeEntry]:
        """Return what a link owes of the lowest blocks, as far as another can give it at once.

        One by one, each would wait for a look of its own.
        """
        owed, requested = self._fetches[slow.id].flights, self._fetches[other.id].flights
        return [
            entry
            for entry in self._plan[:REQUEST_BLOCKS_MAX]
            if entry.id in owed
            and entry.id not in requested
            and other.has(entry)
            and self._requested_from[entry.id] < COPIES_MAX
        ]

    def _expected_s(self, link: Link, entry: BlockTreeEntry) -> float:
        """Return how long a block may take from a link at its own speed, after those before it.

        A large block of a slow but honest peer is no stall; one slower than is fair does stall.
        """
        fetch = self._fetches[link.id]
        before = list(fetch.flights).index(entry.id) + 1
        speed = max(fetch.bytes_per_s, BYTES_PER_S_MIN)
        return before * self._block_queue.expected_block_bytes / speed

    def _oldest_flight(self, block_id: Hash32) -> tuple[int, Link | None]:
        flights = [
            (self._fetches[link.id].flights[block_id], link)
            for link in self._context.links.values()
            if block_id in self._fetches[link.id].flights
        ]
        return min(flights, key=lambda flight: flight[0], default=(self._context.now.mono_us, None))

    def _is_window_full(self) -> bool:
        """Whether more is to be asked for, and cannot be before the lowest block has come."""
        return self._plan[-1] is not self._goal and not self._wanted(1)


def _getdata(kind: int, ids: list[Hash32]) -> GetData:
    return GetData(tuple(Inventory(kind, block_id) for block_id in ids))


def _path(base: BlockTreeEntry, goal: BlockTreeEntry) -> list[BlockTreeEntry]:
    """Return the entries after `base` towards `goal`, lowest first, at most a window of them."""
    top = goal.ancestor(min(goal.height, base.height + WINDOW_BLOCKS))
    path: list[BlockTreeEntry] = []
    at: BlockTreeEntry | None = top
    while at is not None and at is not base and at.height > base.height:
        path.append(at)
        at = at.parent
    path.reverse()
    return path
