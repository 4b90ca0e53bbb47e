"""What every part of the gossip core shares: clocks, chance, links, timers, and the way out."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from chain.consensus.entry import BlockTreeEntry
from chain.gossip.actions import Action, Close, ConnectionType, Priority, Send, Trace
from chain.gossip.bans import Bans
from chain.gossip.config import Config
from chain.gossip.events import LinkId, Now, Token
from chain.gossip.limits import Discouraged, LinkBudget
from chain.gossip.short_ids import ShortIds
from chain.gossip.views import ChainView, PoolView, RandomSource
from chain.gossip.wire.address import Address
from chain.gossip.wire.hello import RELAYS_ADDRESSES, RELAYS_TRANSACTIONS, Hello
from chain.gossip.wire.messages import Message
from chain.primitives.hashes import sha256d

SECOND_US: Final = 1_000_000
CODE_NORMAL: Final = 200  # what Bye tells
CODE_MISBEHAVED: Final = 403
CODE_BANNED: Final = 403
CODE_TIMEOUT: Final = 408
CODE_DUPLICATE: Final = 409
CODE_SLOW: Final = 429
CODE_FULL: Final = 503
QUEUE_ADDRESSES_BYTES_MAX: Final = 256 * 1024  # a slow reader gets no addresses from here on
QUEUE_TRANSACTIONS_BYTES_MAX: Final = 512 * 1024  # and no transactions from here on


@dataclass(slots=True, eq=False, kw_only=True)
class Link:
    """One link: who is at the other end, and what it is known to have."""

    id: LinkId
    address: Address  # the one we dialled, or the one the other dialled from
    connection_type: ConnectionType | None  # None: the other side dialled
    hello: Hello
    nonce: int  # of the dial that made it, ours or theirs
    seen_as: Address | None  # from where the other end, if we dialled it, saw us come
    clock_ahead_s: int  # of the other end's clock before ours, when the link opened
    opened_us: int
    budget: LinkBudget
    last_receive_us: int
    best_known: BlockTreeEntry | None = None  # the best block that it told us it has
    common: BlockTreeEntry | None = (
        None  # the best block that it has by what we gave it and what it asked
    )
    queued_bytes: int = 0  # written but not yet sent, as the driver said
    ping_us: int | None = None  # the shortest answer to a ping
    last_ping_us: int | None = None  # the last answer to a ping
    addresses_taken: int = 0  # that it told us
    addresses_refused: int = 0  # that it told above its rate
    last_transaction_us: int = -1  # when it last gave us one that the pool took
    last_block_us: int = -1  # likewise a block
    knows_compact: bool = False  # compact blocks, of our version
    wants_compact: bool = False  # to be told of blocks by them (BIP152: high bandwidth)
    retry_after_s: int = 0  # what the other end asked for when it ended the link
    is_added_node: bool = False  # the user wants a link to this node, which dialled first

    @property
    def is_outbound(self) -> bool:
        """Whether we chose the other end: worth more, as it cannot choose us."""
        return self.connection_type is not None

    @property
    def is_manual(self) -> bool:
        """Whether the user named the other end."""
        return self.connection_type is ConnectionType.MANUAL or self.is_added_node

    @property
    def listens_at(self) -> Address | None:
        """Where the other end takes links: what we dialled, or what it says if that can be true.

        Who dialled us may name a zero IP, which means the one that we see, or that one.
        """
        if self.is_outbound:
            return self.address
        claimed = self.hello.listen
        if claimed is None or (any(claimed.ip) and claimed.ip != self.address.ip):
            return None
        return Address(self.address.ip, claimed.port)

    @property
    def relays_transactions(self) -> bool:
        """Whether either side tells the other of transactions."""
        wants = bool(self.hello.flags & RELAYS_TRANSACTIONS)
        return wants and self.connection_type is not ConnectionType.BLOCK_RELAY

    @property
    def relays_addresses(self) -> bool:
        """Whether either side tells the other of addresses."""
        wants = bool(self.hello.flags & RELAYS_ADDRESSES)
        return wants and self.connection_type is not ConnectionType.BLOCK_RELAY

    def has(self, entry: BlockTreeEntry) -> bool:
        """Tell whether the other end is known to have this block."""
        return self.best_known is not None and entry.is_ancestor_of(self.best_known)

    def update_best_known(self, entry: BlockTreeEntry) -> None:
        """Note that the other end has this block."""
        if self.best_known is None or entry.chain_work > self.best_known.chain_work:
            self.best_known = entry

    def share(self, entry: BlockTreeEntry) -> None:
        """Note that the other end has this block, which it had from us or asked what follows.

        Nothing is decided by it: only what it tells of itself shows that it follows our chain.
        """
        if self.common is None or entry.chain_work > self.common.chain_work:
            self.common = entry


class Context:
    """The state that parts share. Only `Gossip` calls `begin`, `run_timers` and `finish`."""

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
        self.closed: list[Link] = []  # that the parts have not been told of yet
        self.discouraged = Discouraged(secret)
        self.bans = Bans()
        self.is_active = True  # whether the user wants links at all
        self.short_ids = ShortIds()
        self._actions: list[Action] = []
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0

    def begin(self, now: Now) -> None:
        """Start an event; a clock that went back is taken to stand still."""
        is_back = now.mono_us < self.now.mono_us
        self.now = Now(self.now.mono_us, now.unix_s) if is_back else now

    def run_timers(self) -> None:
        """Call what is due; what that puts off by nothing waits for the next event."""
        if not self._timers or self._timers[0][0] > self.now.mono_us:
            return
        due = []
        while self._timers and self._timers[0][0] <= self.now.mono_us:
            due.append(heapq.heappop(self._timers)[2])
        for function in due:
            function()

    def take_actions(self) -> list[Action]:
        """Return the actions since `begin`."""
        actions, self._actions = self._actions, []
        return actions

    def next_deadline(self) -> int | None:
        """Return when (monotonic microseconds) the next timer is due."""
        return self._timers[0][0] if self._timers else None

    def call_later(self, delay_s: float, function: Callable[[], None]) -> None:
        """Call `function` after a while; it must look for itself whether it still matters."""
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

    def nonce(self, connection_type: bytes) -> int:
        """Return 64 bits that nobody else can foresee."""
        seed = f"{self.next_id()} {self.now.mono_us} {self.now.unix_s}".encode()
        return int.from_bytes(sha256d(self.secret + connection_type + seed)[:8], "little")

    def emit(self, action: Action) -> None:
        """Have something done."""
        self._actions.append(action)

    def send(self, link: Link, message: Message, lane: Priority) -> None:
        """Send a message, unless the link is closed or too slow for what can wait."""
        if link.id not in self.links:
            return
        if link.queued_bytes > QUEUE_ADDRESSES_BYTES_MAX and _is_deferred(lane, link.queued_bytes):
            return
        self._actions.append(Send(link.id, message, lane))

    def trace(self, kind: str, **fields: str | int) -> None:
        """Note something for logs and metrics."""
        self.emit(Trace(kind, tuple(fields.items())))

    def close(self, link: Link, why: str, code: int = CODE_NORMAL, retry_after_s: int = 0) -> None:
        """End a link, once; the parts hear of it before the event is done."""
        if self.links.pop(link.id, None) is not None:
            self.emit(Close(link.id, why, code, retry_after_s))
            self.closed.append(link)

    def is_banned(self, address: Address) -> bool:
        """Tell whether the user shut out an address."""
        return self.bans.has(address.ip, self.now.unix_s)

    def misbehaved(self, link: Link, why: str) -> None:
        """End a link whose other end alone is to blame, and remember its IP.

        Not where many nodes share an IP, and not for peers that the user chose.
        """
        self.trace("misbehaved", link=link.id, why=why)
        if self.config.is_public and not link.is_manual:
            self.discouraged.add(link.address, self.now.unix_s)
        self.close(link, why, CODE_MISBEHAVED)


def _is_deferred(lane: Priority, queued_bytes: int) -> bool:
    """Tell whether a reader with so much unread may go without a message of this lane."""
    if lane is Priority.ADDRESS:
        return queued_bytes > QUEUE_ADDRESSES_BYTES_MAX
    return lane is Priority.TRANSACTION and queued_bytes > QUEUE_TRANSACTIONS_BYTES_MAX


class Part(Protocol):
    """A part of the core that keeps something for each link."""

    def opened(self, link: Link) -> None:
        """Note that a link opened."""

    def closed(self, link: Link) -> None:
        """Note that a link ended; `context.links` has it no more."""
