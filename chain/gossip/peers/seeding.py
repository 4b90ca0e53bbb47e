"""Seeds: asked for addresses while the address book is thin and there are few outbound links.

A DNS seed is resolved by the driver. A seed that is an address is dialled as Bitcoin's addr-fetch
connections are: the link ends once it has answered one getaddr. What a seed says is stored as
announced by that seed: it fills only its source group's share of the address book.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from chain.gossip.actions import ConnectionType, ResolveSeed
from chain.gossip.context import CODE_NORMAL, Context, Link
from chain.gossip.dispatch import Handler, Part, on_event, on_message
from chain.gossip.events import SeedResolved
from chain.gossip.peers.addresses import AddressBook
from chain.gossip.peers.dialling import FEW_LINKS, Dialling
from chain.gossip.peers.links import SEED_ANSWERED, SEED_SILENT
from chain.gossip.peers.policy import may_dial
from chain.gossip.seeds import SEED_ADDRESSES_MAX, SEEDS_AT_ONCE, DnsSeed, Seed
from chain.gossip.wire.address import Address
from chain.gossip.wire.messages import Addresses
from chain.primitives.numbers import SECOND_US

THIN_BOOK: Final = 100  # with as many usable addresses no seed is used
KNOWN_FIRST_S: Final = 11.0  # for known addresses to answer (Bitcoin: DNSSEEDS_DELAY_FEW_PEERS)
CHECK_INTERVAL_S: Final = 5.0
ANSWER_S_MAX: Final = 15.0  # for a seed's answer, once there is a link to it
RESOLVE_AGAIN_S: Final = 60.0  # doubled each time ...
RESOLVE_AGAIN_S_MAX: Final = 3600.0  # ... up to this
DAY_S: Final = 24 * 3600
AGE_DAYS: Final = (3, 7)  # of a DNS seed's addresses: newer ones are better (Bitcoin: the same)
S = TypeVar("S", bound=Seed)


@dataclass(slots=True)
class _Resolution:
    """When a DNS seed may be resolved again."""

    due_us: int = 0
    wait_s: float = RESOLVE_AGAIN_S
    is_pending: bool = False


class Seeding(Part):
    """Uses the configured seeds when they are needed."""

    def __init__(self, context: Context, book: AddressBook, dialling: Dialling) -> None:
        self._context = context
        self._book = book
        self._dialling = dialling
        seeds = context.config.seeds
        self._names = {seed: _Resolution() for seed in seeds if isinstance(seed, DnsSeed)}
        self._nodes = {seed: None for seed in seeds if isinstance(seed, Address)}  # not used yet

    def handlers(self) -> tuple[Handler, ...]:
        """Handle what seeds answer."""
        return (
            on_message(Addresses, self._addresses),
            on_event(SeedResolved, self._resolved),
        )

    def start(self) -> None:
        """Use the seeds at once if no address is known; else known ones are dialled first."""
        if not self._context.config.auto_dial or not (self._names or self._nodes):
            return
        if self._book.has_usable(1, self._context.now.unix_s):
            self._context.call_later(KNOWN_FIRST_S, self._check)
        else:
            self._check()

    def opened(self, link: Link) -> None:
        """Give a seed that we dialled for its addresses a time limit."""
        if link.connection_type is ConnectionType.ADDR_FETCH:
            self._context.call_later(ANSWER_S_MAX, lambda: self._give_up(link))

    def closed(self, link: Link) -> None:
        """Let a seed that has answered be dialled like any address; others are used again later."""
        if link.connection_type is ConnectionType.ADDR_FETCH and link.address not in self._nodes:
            self._dialling.end_back_off(link.address)
            self._dialling.fill_slot()

    def _check(self) -> None:
        """Use a few seeds at random, if seeds are needed; repeat shortly."""
        if self._are_needed():
            for address in self._shuffled(self._nodes):
                self._dialling.fetch_addresses(address)
            for seed in self._shuffled(self._names):
                self._resolve(seed)
        self._context.call_later(CHECK_INTERVAL_S, self._check)

    def _shuffled(self, seeds: Iterable[S]) -> list[S]:
        """Return seeds in random order, as new nodes must not all use the same one."""
        return sorted(seeds, key=lambda _: self._context.rng.uniform(0, 1))

    def _are_needed(self) -> bool:
        if not self._context.is_active or self._dialling.count_outbound() >= FEW_LINKS:
            return False
        return not self._book.has_usable(THIN_BOOK, self._context.now.unix_s)

    def _resolve(self, seed: DnsSeed) -> None:
        resolution = self._names[seed]
        pending = sum(other.is_pending for other in self._names.values())
        is_due = not resolution.is_pending and resolution.due_us <= self._context.now.mono_us
        if is_due and pending < SEEDS_AT_ONCE:
            resolution.is_pending = True
            self._context.emit(ResolveSeed(seed))

    def _resolved(self, event: SeedResolved) -> None:
        """Store a DNS seed's addresses, as many as it may give; nothing else is dialled for it."""
        resolution = self._names.get(event.seed)
        if resolution is None or not resolution.is_pending:
            return
        context = self._context
        resolution.is_pending = False
        resolution.due_us = context.now.mono_us + int(resolution.wait_s * SECOND_US)
        resolution.wait_s = min(resolution.wait_s * 2, RESOLVE_AGAIN_S_MAX)
        now_s = context.now.unix_s
        taken = event.addresses[:SEED_ADDRESSES_MAX]
        usable = [address for address in taken if may_dial(address, context.config.reach)]
        for address in usable:
            if not context.is_banned(address):
                seen_s = now_s - int(context.rng.uniform(*AGE_DAYS) * DAY_S)
                self._book.add(address, event.seed, seen_s, now_s)
        if event.addresses:
            self._trace_answer(str(event.seed), len(taken), len(usable))
            self._dialling.fill_slot()

    def _addresses(self, link: Link, message: Addresses) -> None:
        """End the link to a seed that has answered: it may be needed by others.

        A single address may be one that it relays, so that the answer is still to come.
        """
        if link.connection_type is not ConnectionType.ADDR_FETCH:
            return
        if len(message.records) == 1:
            self._dialling.fill_slot()
        else:
            reach = self._context.config.reach
            usable = sum(may_dial(record.address, reach) for record in message.records)
            self._trace_answer(str(link.address), len(message.records), usable)
            self._end(link)

    def _give_up(self, link: Link) -> None:
        if link.id not in self._context.links:
            return
        if link.addresses_taken:
            self._trace_answer(str(link.address), link.addresses_taken, link.addresses_taken)
        else:
            self._context.trace(SEED_SILENT, seed=str(link.address))
        self._end(link)

    def _end(self, link: Link) -> None:
        self._nodes.pop(link.address, None)
        self._context.close(link, "it was dialled for addresses only", CODE_NORMAL)

    def _trace_answer(self, seed: str, addresses: int, usable: int) -> None:
        self._context.trace(SEED_ANSWERED, seed=seed, addresses=addresses, usable=usable)
