"""Outbound links: which address to dial, when to retry, and how to treat a failure."""

from dataclasses import dataclass
from typing import Final

from chain.gossip.actions import Close, ConnectionType, Dial, Feeler
from chain.gossip.context import CODE_BANNED, CODE_MISBEHAVED, Context, Link
from chain.gossip.dispatch import Handler, Part, on_event
from chain.gossip.events import (
    BansChanged,
    DialFailed,
    DialFailure,
    DialId,
    Dialled,
    Discovered,
    FeelerSucceeded,
    ManualAdded,
    ManualRemoved,
    ManualTryRequested,
    NetworkActivity,
)
from chain.gossip.peers.addresses import AddressBook
from chain.gossip.peers.anchors import Anchors
from chain.gossip.peers.greeting import Greeting
from chain.gossip.peers.links import OpenedLink, is_linked, open_link
from chain.gossip.peers.ownaddress import own_address
from chain.gossip.peers.policy import may_dial
from chain.gossip.seeds import SEEDS_AT_ONCE
from chain.gossip.wire.address import Address
from chain.primitives.numbers import SECOND_US

REDIAL_S_MAX: Final = 3600.0
NAMED_REDIAL_S: Final = 5.0  # first retry delay for peers and seeds that the user named
NAMED_REDIAL_S_MAX: Final = 60.0  # for both, which may be all that this node knows
REDIAL_JITTER: Final = 0.3
REDIAL_SOON_S: Final = 2.0  # after a link that lasted long
LONG_LIFE_S: Final = 600
FINAL_S: Final = 24 * 3600  # another network or version: no retry for a day
FILL_INTERVAL_S: Final = 0.5
FILL_INTERVAL_S_MAX: Final = 4.0  # while no address is left to dial
FEELER_INTERVAL_S: Final = 120.0
BACK_OFFS_MAX: Final = 10_000
DIALS_MAX: Final = 8  # dials at the same time
FEW_LINKS: Final = 2  # with as many outbound ones, seeds are not used (Bitcoin: DNS seeds)
MANUAL_MAX: Final = 128  # links to the user's peers; at that number, nothing is dialled once only
LINKS_TO_BLAME: Final = 2  # Bitcoin: outbound groups from which on an attempt counts as failed
_FINAL: Final = frozenset(
    {DialFailure.WRONG_NETWORK, DialFailure.VERSION, DialFailure.FORBIDDEN, DialFailure.SELF}
)


@dataclass(slots=True)
class _BackOff:
    failures: int = 0
    until_us: int = 0


@dataclass(frozen=True, slots=True)
class _Attempt:
    address: Address
    connection_type: ConnectionType | None  # None: a feeler


class Dialling(Part):
    """Fills the outbound slots, keeps links to the user's peers, and sends feelers."""

    def __init__(
        self,
        context: Context,
        book: AddressBook,
        greeting: Greeting,
        saved_anchors: bytes | None,
    ) -> None:
        self._context = context
        self._anchors = Anchors(context, saved_anchors)
        self._book = book
        self._greeting = greeting
        self._manual: dict[Address, None] = dict.fromkeys(context.config.manual)
        self._seeds = {seed: None for seed in context.config.seeds if isinstance(seed, Address)}
        self._attempts: dict[DialId, _Attempt] = {}
        self._back_offs: dict[Address, _BackOff] = {}
        self._fill_interval_s = FILL_INTERVAL_S
        self._ended: list[Address] = []  # linked when networking was switched off
        self.extra_full_relay = 0  # extra full-relay slots, while the tip is stale
        self.extra_block_relay = 0  # extra block-relay slots, to compare our tip with other peers'

    def start(self) -> None:
        """Start dialling, beginning with the anchors of the last run."""
        self._anchors.start()
        self._fill()
        if self._context.config.auto_dial:
            self._schedule_feeler()

    def handlers(self) -> tuple[Handler, ...]:
        """Handle the results of dials, the user's requests, and the node's own discoveries."""
        return (
            on_event(Dialled, self._dialled),
            on_event(DialFailed, self._failed),
            on_event(FeelerSucceeded, self._feeler_succeeded),
            on_event(Discovered, self._discovered),
            on_event(ManualAdded, self._manual_added),
            on_event(ManualRemoved, self._manual_removed),
            on_event(ManualTryRequested, self._manual_tried),
            on_event(BansChanged, self._end_banned),
            on_event(NetworkActivity, self._activity_changed),
        )

    def _manual_added(self, event: ManualAdded) -> None:
        """Keep a link to an address from now on."""
        address = event.address
        self._manual[address] = None
        for link in self._context.links.values():
            link.is_added_node = link.is_added_node or link.listens_at == address
        self._back_offs.pop(address, None)
        self._dial_manual()

    def _manual_removed(self, event: ManualRemoved) -> None:
        """Stop keeping a link to an address, and close it."""
        address = event.address
        self._manual.pop(address, None)
        for link in list(self._context.links.values()):
            if link.is_manual and link.listens_at == address:
                self._context.close(link, "removed by the user")

    def _manual_tried(self, event: ManualTryRequested) -> None:
        """Dial an address once, even during its back-off."""
        address = event.address
        self._back_offs.pop(address, None)
        if self._count(ConnectionType.MANUAL) < MANUAL_MAX and self._is_free(address):
            self._dial(address, ConnectionType.MANUAL)

    def _end_banned(self, _: BansChanged) -> None:
        for link in list(self._context.links.values()):
            if self._context.is_banned(link.address):
                self._context.close(link, "banned by the user", CODE_BANNED)

    def _activity_changed(self, event: NetworkActivity) -> None:
        """Close all links and stop dialling, or dial the former peers again."""
        context = self._context
        context.is_active = event.is_active
        if not event.is_active:
            links = list(context.links.values())
            self._ended = [link.address for link in links if link.is_outbound]
            for link in links:
                context.close(link, "networking switched off by the user")
            return
        for address in self._ended:
            self._back_offs.pop(address, None)
        self._ended = []
        self._dial_manual()

    def _discovered(self, event: Discovered) -> None:
        """Add addresses that the node itself found; each counts as its own source."""
        now_s = self._context.now.unix_s
        for address in event.addresses:
            if may_dial(address, self._context.config.reach):
                self._book.add(address, address, now_s, now_s)

    def _dialled(self, event: Dialled) -> None:
        """Open a link that we dialled, or close it if it is not the node that was dialled."""
        wanted, reply = self._wanted(event.dial), event.reply
        if wanted is None or not self._greeting.is_ours(reply.hello):
            self._context.emit(
                Close(event.link, "another node than was dialled", CODE_MISBEHAVED, 0)
            )
            return
        open_link(
            self._context,
            OpenedLink(event.link, *wanted, hello=reply.hello, seen_as=reply.your_address),
        )

    def _wanted(self, dial: DialId) -> tuple[Address, ConnectionType, int] | None:
        """Return the address, connection type and nonce of a dial that led to a link.

        None: the dial is unknown, or the user has banned the address meanwhile.
        """
        done = self._attempts.pop(dial, None)
        if done is None or done.connection_type is None:
            return None
        nonce = self._greeting.dial_ended(dial)
        if self._context.is_banned(done.address) or not self._context.is_active:
            return None
        self._book.reached(done.address, self._context.now.unix_s)
        is_block_only = done.connection_type is ConnectionType.BLOCK_RELAY
        if (
            is_block_only
            and self._count_links(ConnectionType.BLOCK_RELAY) < self._context.config.block_relay_max
        ):
            self._anchors.add(done.address)  # not an extra link
        return done.address, done.connection_type, nonce

    def fetch_addresses(self, seed: Address) -> None:
        """Dial a seed for its addresses, unless it is in back-off or known to be this node.

        Other dials do not count: those of a thin book may take a while to fail.
        """
        has_room = self._count(ConnectionType.ADDR_FETCH) < SEEDS_AT_ONCE
        if has_room and seed in self._seeds and self._may_dial_seed(seed):
            self._dial(seed, ConnectionType.ADDR_FETCH)

    def _may_dial_seed(self, seed: Address) -> bool:
        """Return whether a seed may be dialled now, whatever the policy says of its address."""
        is_discouraged = self._context.discouraged.has(seed, self._context.now.unix_s)
        return not is_discouraged and self._is_free(seed)

    def end_back_off(self, address: Address) -> None:
        """Allow an address to be dialled at once."""
        self._back_offs.pop(address, None)

    def keep_anchor(self, address: Address) -> None:
        """Record that an extra block-relay link replaced another, so that it is kept."""
        self._anchors.add(address)

    def _feeler_succeeded(self, event: FeelerSucceeded) -> None:
        """Record that a feeler found a node, of our network or of another."""
        done = self._attempts.pop(event.dial, None)
        if done is not None and self._greeting.is_ours(event.hello):
            self._book.reached(done.address, self._context.now.unix_s)
        elif done is not None:
            self._book.forget(done.address)

    def _failed(self, failure: DialFailed) -> None:
        """Record a failed dial; the delay before the next one grows each time."""
        done = self._attempts.pop(failure.dial, None)
        if done is None:
            return
        self._greeting.dial_ended(failure.dial)
        if failure.why is DialFailure.SELF:
            self._manual.pop(done.address, None)
            self._seeds.pop(done.address, None)
        if failure.why in (DialFailure.SELF, DialFailure.WRONG_NETWORK):
            self._book.forget(done.address)
        is_final = failure.why in _FINAL and done.address not in self._manual
        self._back_off(done.address, float(FINAL_S if is_final else failure.retry_after_s))

    def opened(self, link: Link) -> None:
        """Mark an inbound link whose node the user also wants a link to."""
        link.is_added_node = link.listens_at in self._manual

    def closed(self, link: Link) -> None:
        """Schedule a new dial: soon if the link lasted long, else with a growing delay."""
        if link.connection_type is None:
            return
        lived_us = self._context.now.mono_us - link.opened_us
        if lived_us > LONG_LIFE_S * SECOND_US:
            self._back_offs.pop(link.address, None)
            wait_s = self._context.rng.uniform(0, REDIAL_SOON_S) + min(link.retry_after_s, FINAL_S)
            until_us = self._context.now.mono_us + int(wait_s * SECOND_US)
            self._back_offs[link.address] = _BackOff(0, until_us)
        else:
            self._back_off(link.address, float(link.retry_after_s))
        self._fill_interval_s = FILL_INTERVAL_S

    def _back_off(self, address: Address, at_least_s: float) -> None:
        context = self._context
        back_off = self._back_offs.pop(address, None) or _BackOff()
        first_s, wait_s_max = context.config.redial_first_s, REDIAL_S_MAX
        if address in self._manual or address in self._seeds:
            first_s, wait_s_max = min(first_s, NAMED_REDIAL_S), NAMED_REDIAL_S_MAX
        wait_s = min(first_s * 2 ** min(back_off.failures, 16), wait_s_max)
        wait_s = max(wait_s, min(at_least_s, FINAL_S))
        wait_s *= context.rng.uniform(1 - REDIAL_JITTER, 1 + REDIAL_JITTER)
        back_off.failures += 1
        back_off.until_us = context.now.mono_us + int(wait_s * SECOND_US)
        self._back_offs[address] = back_off
        if len(self._back_offs) > BACK_OFFS_MAX:
            del self._back_offs[next(iter(self._back_offs))]

    def _fill(self) -> None:
        """Dial the user's peers, and one random address for a free slot; repeat shortly."""
        self._dial_manual()
        self._fill_interval_s = min(self._fill_interval_s * 2, FILL_INTERVAL_S_MAX)
        if self._context.config.auto_dial:
            self.fill_slot()
        self._context.call_later(self._fill_interval_s, self._fill)

    def fill_slot(self) -> None:
        """Dial one random address, if a slot is free for it."""
        connection_type = self._free_connection_type()
        if connection_type is None or len(self._attempts) >= DIALS_MAX:
            return
        address = self._next_address(connection_type)
        if address is not None:
            self._dial(address, connection_type)
            self._fill_interval_s = FILL_INTERVAL_S

    def _dial_manual(self) -> None:
        for address in list(self._manual):
            if self._is_free(address):
                self._dial(address, ConnectionType.MANUAL)

    def _free_connection_type(self) -> ConnectionType | None:
        """Return which type of slot to fill next; first those for saved anchors."""
        config = self._context.config
        block_only = self._count(ConnectionType.BLOCK_RELAY)
        if self._anchors.pending and block_only < config.block_relay_max:
            return ConnectionType.BLOCK_RELAY
        if (
            self._count(ConnectionType.OUTBOUND_FULL_RELAY)
            < config.outbound_max + self.extra_full_relay
        ):
            return ConnectionType.OUTBOUND_FULL_RELAY
        has_room = block_only < config.block_relay_max + self.extra_block_relay
        return ConnectionType.BLOCK_RELAY if has_room else None

    def _next_address(self, connection_type: ConnectionType) -> Address | None:
        while connection_type is ConnectionType.BLOCK_RELAY and self._anchors.pending:
            address = self._anchors.pending.pop(0)
            if self._may_fill_slot(address):
                return address
        found = self._book.choose(self._context.rng, self._may_fill_slot, new_only=False)
        if found is None and connection_type is ConnectionType.OUTBOUND_FULL_RELAY:
            found = self._last_resort()
        return found

    def _last_resort(self) -> Address | None:
        """Return a seed to link to as to any peer while there are few links, or None.

        A young network has no other node, and private addresses are not announced.
        """
        if self._attempts or self.count_outbound() >= FEW_LINKS:
            return None
        free = [seed for seed in self._seeds if self._may_dial_seed(seed)]
        return self._context.rng.choice(free) if free else None

    def count_outbound(self) -> int:
        """Return the number of outbound links other than those that only fetch addresses."""
        outbound = sum(link.is_outbound for link in self._context.links.values())
        return outbound - self._count_links(ConnectionType.ADDR_FETCH)

    def _count(self, connection_type: ConnectionType) -> int:
        attempts = sum(
            attempt.connection_type is connection_type for attempt in self._attempts.values()
        )
        return self._count_links(connection_type) + attempts

    def _count_links(self, connection_type: ConnectionType) -> int:
        return sum(link.connection_type is connection_type for link in self._context.links.values())

    def _may_fill_slot(self, address: Address) -> bool:
        """Return whether this address may fill a slot; on public networks only one per group."""
        config = self._context.config
        if not self._is_free(address) or not may_dial(address, config.reach):
            return False
        if self._context.discouraged.has(address, self._context.now.unix_s):
            return False
        if address == own_address(self._context):
            return False
        return not config.is_public or address.group not in self._groups()

    def _groups(self) -> list[bytes]:
        links = [link.address for link in self._context.links.values() if link.is_outbound]
        return [address.group for address in links + [t.address for t in self._attempts.values()]]

    def _is_free(self, address: Address) -> bool:
        """Return whether an address is not linked, not being dialled and not in back-off."""
        if not self._context.is_active or self._context.is_banned(address):
            return False
        back_off = self._back_offs.get(address)
        if back_off is not None and back_off.until_us > self._context.now.mono_us:
            return False
        if any(attempt.address == address for attempt in self._attempts.values()):
            return False
        return not is_linked(self._context, address)

    def _dial(self, address: Address, connection_type: ConnectionType) -> None:
        dial = DialId(self._context.next_id())
        self._attempts[dial] = _Attempt(address, connection_type)
        self._note_attempt(address)
        self._context.emit(
            Dial(dial, address, self._greeting.hello(dial, connection_type), connection_type)
        )

    def _note_attempt(self, address: Address) -> None:
        """Count a failure only while other addresses answer; else our network may be down."""
        links = sum(link.is_outbound for link in self._context.links.values())
        counts = links >= LINKS_TO_BLAME
        self._book.tried(address, self._context.now.unix_s, counts=counts)

    def _schedule_feeler(self) -> None:
        wait_s = self._context.rng.expovariate(1 / FEELER_INTERVAL_S)
        self._context.call_later(wait_s, self._start_feeler)

    def _start_feeler(self) -> None:
        """Test a new address, to keep the tried table full, or one whose slot is contested."""
        context = self._context
        self._book.resolve(context.now.unix_s)
        address = self._collision_to_test()
        if address is None:
            address = self._book.choose(context.rng, self._may_fill_slot, new_only=True)
        if address is not None and len(self._attempts) < DIALS_MAX:
            dial = DialId(context.next_id())
            self._attempts[dial] = _Attempt(address, None)
            self._note_attempt(address)
            context.emit(Feeler(dial, address))
        self._schedule_feeler()

    def _collision_to_test(self) -> Address | None:
        """Return a tried address to test; one that we are linked to has passed already."""
        address = self._book.collision_to_test(self._context.rng)
        if address is None:
            return None
        links = self._context.links.values()
        if any(link.is_outbound and link.address == address for link in links):
            self._book.reached(address, self._context.now.unix_s)
        may = self._is_free(address) and may_dial(address, self._context.config.reach)
        return address if may else None
