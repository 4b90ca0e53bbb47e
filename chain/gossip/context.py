"""State shared by all parts of the gossip core: clocks, randomness, links, timers and actions."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.gossip.actions import Action, Close, ConnectionType, Priority, Send, Trace
from chain.gossip.bans import Bans
from chain.gossip.config import Config
from chain.gossip.events import LinkId, Now, Token
from chain.gossip.limits import Discouraged, LinkBudget
from chain.gossip.short_ids import ShortIds
from chain.gossip.views import ChainView, PoolView, RandomSource
from chain.gossip.wire.address import Address, is_local
from chain.gossip.wire.hello import (
    RELAYS_ADDRESSES,
    RELAYS_TRANSACTIONS,
    SERVICE_BLOCK_RUNS,
    Hello,
)
from chain.gossip.wire.messages import Message
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import SECOND_US

CODE_NORMAL: Final = 200  # codes of Bye
CODE_MISBEHAVED: Final = 403
CODE_BANNED: Final = 403
CODE_TIMEOUT: Final = 408
CODE_DUPLICATE: Final = 409
CODE_SLOW: Final = 429
CODE_FULL: Final = 503
_WITHOUT_TRANSACTIONS: Final = (ConnectionType.BLOCK_RELAY, ConnectionType.ADDR_FETCH)
QUEUE_ADDRESSES_BYTES_MAX: Final = 256 * 1024  # with more unsent bytes, a link gets no addresses
QUEUE_TRANSACTIONS_BYTES_MAX: Final = 512 * 1024  # with more, no transactions


@dataclass(slots=True, eq=False, kw_only=True)
class Link:
    """A link, and what is known about the peer at its other end."""

    id: LinkId
    address: Address  # the one we dialled, or the source of an inbound link
    connection_type: ConnectionType | None  # None: inbound
    hello: Hello
    nonce: int  # of the dial that opened it, ours or theirs
    seen_as: Address | None  # our address, as reported by a peer that we dialled
    clock_ahead_s: int  # the peer's clock minus ours, when the link opened
    opened_us: int
    budget: LinkBudget
    last_receive_us: int
    best_known: BlockTreeEntry | None = None  # best block that the peer announced
    common: BlockTreeEntry | None = (
        None  # best block that the peer has by what we sent it and what it requested
    )
    queued_bytes: int = 0  # written but not yet sent, as reported by the driver
    ping_us: int | None = None  # shortest round trip
    last_ping_us: int | None = None  # last round trip
    addresses_taken: int = 0  # accepted from the peer
    addresses_refused: int = 0  # over the peer's rate
    last_transaction_us: int = -1  # last one from the peer that the pool accepted
    last_block_us: int = -1  # last new block from the peer
    knows_compact: bool = False  # compact blocks of our version
    wants_compact: bool = False  # new blocks as compact blocks (BIP152: high bandwidth)
    close_reason: str = ""  # once it is closed
    retry_after_s: int = 0  # requested by the peer when it closed the link
    is_added_node: bool = False  # the user wants a link to this node, but it dialled first

    @property
    def is_outbound(self) -> bool:
        """Whether we chose the peer: an attacker could not, so such links are worth more."""
        return self.connection_type is not None

    @property
    def is_manual(self) -> bool:
        """Whether the user named the peer."""
        return self.connection_type is ConnectionType.MANUAL or self.is_added_node

    @property
    def listens_at(self) -> Address | None:
        """Where the peer listens: the address we dialled, or the one it states if plausible.

        An inbound peer may state a zero IP, which stands for the IP we see, or that IP itself.
        """
        if self.is_outbound:
            return self.address
        claimed = self.hello.listen
        if claimed is None or (any(claimed.ip) and claimed.ip != self.address.ip):
            return None
        return Address(self.address.ip, claimed.port)

    @property
    def relays_transactions(self) -> bool:
        """Whether transactions are announced on this link."""
        wants = bool(self.hello.flags & RELAYS_TRANSACTIONS)
        return wants and self.connection_type not in _WITHOUT_TRANSACTIONS

    @property
    def relays_addresses(self) -> bool:
        """Whether addresses are announced on this link."""
        wants = bool(self.hello.flags & RELAYS_ADDRESSES)
        return wants and self.connection_type is not ConnectionType.BLOCK_RELAY

    @property
    def serves_block_runs(self) -> bool:
        """Whether more than 16 blocks may be requested at once.

        Only the reply to an HTTP request may end early, which limits its bytes.
        """
        return self.is_outbound and bool(self.hello.services & SERVICE_BLOCK_RUNS)

    def has(self, entry: BlockTreeEntry) -> bool:
        """Return whether the peer is known to have this block."""
        return self.best_known is not None and entry.is_ancestor_of(self.best_known)

    def update_best_known(self, entry: BlockTreeEntry) -> None:
        """Record that the peer announced this block."""
        if self.best_known is None or entry.chain_work > self.best_known.chain_work:
            self.best_known = entry

    def share(self, entry: BlockTreeEntry) -> None:
        """Record that the peer has this block: we sent it, or the peer requested what follows it.

        Nothing is decided by this: only the peer's own announcements show that it follows our
        chain.
        """
        if self.common is None or entry.chain_work > self.common.chain_work:
            self.common = entry


class Context:
    """State shared by the parts.

    Only `Gossip` calls `begin`, `run_timers`, `run_deferred` and `take_actions`.
    """

    def __init__(
        self, config: Config, rng: RandomSource, secret: bytes, chain: ChainView, pool: PoolView
    ) -> None:
        self.config = config
        self.rng = rng
        self.secret = secret
        self.chain = chain
        self.pool = pool
        self.now = Now(0, 0)
        self.links: dict[LinkId, Link] = {}  # in the order they opened
        self.opened: list[Link] = []  # not reported to the parts yet
        self.closed: list[Link] = []  # not reported to the parts yet
        self.discouraged = Discouraged(secret)
        self.bans = Bans()
        self.is_active = True  # whether the user allows any links
        self.short_ids = ShortIds()
        self._actions: list[Action] = []
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._deferred: dict[Callable[[], None], None] = {}  # as an ordered set
        self._sequence = 0

    def begin(self, now: Now) -> None:
        """Start an event; a clock that went backwards counts as stopped."""
        is_back = now.mono_us < self.now.mono_us
        self.now = Now(self.now.mono_us, now.unix_s) if is_back else now

    def run_timers(self) -> None:
        """Call the timers that are due; a timer set by one of them waits for the next event."""
        if not self._timers or self._timers[0][0] > self.now.mono_us:
            return
        due = []
        while self._timers and self._timers[0][0] <= self.now.mono_us:
            due.append(heapq.heappop(self._timers)[2])
        for function in due:
            function()

    def defer(self, function: Callable[[], None]) -> None:
        """Call `function` at the end of this event, once, however often it is deferred."""
        self._deferred[function] = None

    def run_deferred(self) -> bool:
        """Call what was deferred; return whether there was anything."""
        deferred, self._deferred = self._deferred, {}
        for function in deferred:
            function()
        return bool(deferred)

    def take_actions(self) -> list[Action]:
        """Return the actions since `begin`."""
        actions, self._actions = self._actions, []
        return actions

    def next_deadline(self) -> int | None:
        """Return when (monotonic microseconds) the next timer is due."""
        return self._timers[0][0] if self._timers else None

    def call_later(self, delay_s: float, function: Callable[[], None]) -> None:
        """Call `function` after a delay; it must check whether it is still needed."""
        self._sequence += 1
        due_us = self.now.mono_us + max(int(delay_s * SECOND_US), 1)
        heapq.heappush(self._timers, (due_us, self._sequence, function))

    def next_id(self) -> int:
        """Return a number never returned before, for a token or a dial."""
        self._sequence += 1
        return self._sequence

    def token(self) -> Token:
        """Return a new token."""
        return Token(self.next_id())

    def nonce(self, purpose: bytes) -> int:
        """Return 64 unpredictable bits, others for each purpose and call."""
        seed = f"{self.next_id()} {self.now.mono_us} {self.now.unix_s}".encode()
        return int.from_bytes(sha256d(self.secret + purpose + seed)[:8], "little")

    def emit(self, action: Action) -> None:
        """Add an action."""
        self._actions.append(action)

    def send(self, link: Link, message: Message, lane: Priority) -> None:
        """Send a message, unless the link is closed, or is too slow for this priority."""
        if link.id not in self.links:
            return
        if link.queued_bytes > QUEUE_ADDRESSES_BYTES_MAX and _is_dropped(lane, link.queued_bytes):
            return
        self._actions.append(Send(link.id, message, lane))

    def trace(self, kind: str, **fields: str | int) -> None:
        """Record something for logs and metrics."""
        self.emit(Trace(kind, tuple(fields.items())))

    def open(self, link: Link) -> None:
        """Add a link; the parts are informed before the event is done."""
        self.links[link.id] = link
        self.opened.append(link)

    def close(self, link: Link, why: str, code: int = CODE_NORMAL, retry_after_s: int = 0) -> None:
        """Close a link, once; the parts are informed before the event is done."""
        if self.links.pop(link.id, None) is not None:
            link.close_reason = why
            self.emit(Close(link.id, why, code, retry_after_s))
            self.closed.append(link)

    def is_banned(self, address: Address) -> bool:
        """Return whether the user banned an address."""
        return self.bans.has(address.ip, self.now.unix_s)

    def misbehaved(self, link: Link, why: str) -> None:
        """Close a link because its peer misbehaved, and remember the IP.

        The IP is not remembered where many nodes share one, on networks for tests and of local IPs
        (Bitcoin: MaybeDiscourageAndDisconnect), or for manual peers.
        """
        self.trace("misbehaved", link=link.id, why=why)
        is_shared = not self.config.is_public or is_local(ip_address(link.address.ip))
        if not is_shared and not link.is_manual:
            self.discouraged.add(link.address, self.now.unix_s)
        self.close(link, why, CODE_MISBEHAVED)


def _is_dropped(lane: Priority, queued_bytes: int) -> bool:
    """Return whether a message of this priority is dropped for a slow reader."""
    if lane is Priority.ADDRESS:
        return queued_bytes > QUEUE_ADDRESSES_BYTES_MAX
    return lane is Priority.TRANSACTION and queued_bytes > QUEUE_TRANSACTIONS_BYTES_MAX
