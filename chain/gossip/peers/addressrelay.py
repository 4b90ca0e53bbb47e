"""Address relay: a sample for each peer that asks, once, and a few new addresses relayed."""

from collections.abc import Container
from itertools import islice
from typing import TYPE_CHECKING, Final

from chain.gossip.actions import ConnectionType, Priority, SavedPart, SaveState
from chain.gossip.context import Context, Link
from chain.gossip.dispatch import Handler, Part, on_message
from chain.gossip.limits import Bucket
from chain.gossip.peers.addresses import AddressBook
from chain.gossip.peers.ownaddress import own_address
from chain.gossip.peers.policy import may_dial
from chain.gossip.seeds import SEED_ADDRESSES_MAX
from chain.gossip.wire.hello import SERVICE_FULL_NODE, SERVICES
from chain.gossip.wire.messages import ADDRESSES_MAX, Addresses, AddressRecord, GetAddresses
from chain.primitives.encoding import DecodeError
from chain.primitives.hashes import sha256d

if TYPE_CHECKING:
    from chain.gossip.events import LinkId
    from chain.gossip.wire.address import Address

SAMPLE_PERCENT_MAX: Final = 23  # Bitcoin: MAX_PCT_ADDR_TO_SEND
SAMPLE_KEPT_S: Final = 24 * 3600  # one reply for a whole day, so that it shows no changes
SAMPLE_JITTER: Final = 1 / 8  # Bitcoin: 21 to 27 hours, so that nobody can predict it
TOKENS_PER_S: Final = 0.1  # Bitcoin: MAX_ADDR_RATE_PER_SECOND
TOKENS_MAX: Final = 1000
RELAYED_RECORDS_MAX: Final = 10  # addresses in one message; longer messages are samples
RELAYED_AGE_S_MAX: Final = 600
RELAYED_LINKS: Final = 2
SAVE_FIRST_S: Final = 30  # a node that crashes soon does not start from nothing
SAVE_INTERVAL_S: Final = 300
REANNOUNCE_S: Final = 24 * 3600  # Bitcoin: AVG_LOCAL_ADDRESS_BROADCAST_INTERVAL


class AddressRelay(Part):
    """Fills the address book from peers, and sends them addresses from it."""

    def __init__(
        self,
        context: Context,
        book: AddressBook,
        saved: bytes | None,
        saved_discouraged: bytes | None,
    ) -> None:
        self._context = context
        self._book = book
        self._saved = saved
        self._saved_discouraged = saved_discouraged
        self._tokens: dict[LinkId, Bucket] = {}
        self._answered: dict[LinkId, None] = {}
        self._sample: list[AddressRecord] = []
        self._sample_until_s = 0
        self._announced_local: Address | None = None

    def handlers(self) -> tuple[Handler, ...]:
        """Handle addresses and requests for them."""
        return (on_message(Addresses, self.addresses), on_message(GetAddresses, self.serve))

    def start(self) -> None:
        """Load the saved book, or start empty if it is damaged; save at intervals from now on."""
        if self._saved is not None:
            try:
                self._book.load(self._saved, self._context.now.unix_s)
            except DecodeError as error:
                self._context.trace("address book reset", why=str(error))
            self._saved = None
        if self._saved_discouraged is not None:
            try:
                self._context.discouraged.load(self._saved_discouraged)
            except DecodeError as error:
                self._context.trace("discouraged peers reset", why=str(error))
            self._saved_discouraged = None
        self._context.call_later(SAVE_FIRST_S, self._save)
        self._announced_local = own_address(self._context)
        self._context.call_later(REANNOUNCE_S, self._reannounce_local_address)

    def opened(self, link: Link) -> None:
        """Ask an outbound peer for addresses; record where an inbound peer says it listens."""
        now_us = self._context.now.mono_us
        factor = self._context.config.rate_factor
        bucket = Bucket(TOKENS_PER_S * factor, TOKENS_MAX, now_us)
        self._tokens[link.id] = bucket
        if link.connection_type is ConnectionType.ADDR_FETCH:
            bucket.take(TOKENS_MAX - SEED_ADDRESSES_MAX, now_us)
        if link.is_outbound:
            if link.relays_addresses:
                self._context.send(link, GetAddresses(), Priority.ADDRESS)
            if own_address(self._context) != self._announced_local:
                self._announce_local_address()
        else:
            bucket.take(TOKENS_MAX - 1, now_us)  # the full bucket is for addresses that we request
            self._take_claim(link)

    def closed(self, link: Link) -> None:
        """Forget a link."""
        self._tokens.pop(link.id, None)
        self._answered.pop(link.id, None)

    def serve(self, link: Link, _: GetAddresses) -> None:
        """Reply to a getaddr: on inbound links only, and once (Bitcoin: against fingerprinting)."""
        if link.is_outbound or link.id in self._answered:
            return
        self._answered[link.id] = None
        now_s = self._context.now.unix_s
        if now_s >= self._sample_until_s or not self._context.config.is_public:
            self._sample = self._new_sample(now_s)
            kept = self._context.rng.uniform(1 - SAMPLE_JITTER, 1 + SAMPLE_JITTER)
            self._sample_until_s = now_s + int(SAMPLE_KEPT_S * kept)
        shareable = (r for r in self._sample if not self._context.is_banned(r.address))
        self._context.send(link, Addresses(tuple(shareable)), Priority.ADDRESS)

    def known(self, count: int, ip_bytes: Container[int]) -> list[AddressRecord]:
        """Return up to `count` random addresses with IPs of these lengths that are not banned."""
        records = self._book.sample(self._context.rng, len(self._book), self._context.now.unix_s)
        wanted = (
            record
            for record in records
            if len(record.address.ip) in ip_bytes and not self._context.is_banned(record.address)
        )
        return list(islice(wanted, count))

    def addresses(self, link: Link, message: Addresses) -> None:
        """Add as many addresses as the link's tokens allow; relay a few recent ones.

        Banned addresses are skipped, as in Bitcoin: they would displace addresses that may be
        dialled.
        """
        if not link.relays_addresses:
            return
        now = self._context.now
        fresh = []
        for position, record in enumerate(message.records):
            if not self._tokens[link.id].try_take(1, now.mono_us):
                link.addresses_refused += len(message.records) - position
                break
            link.addresses_taken += 1
            if not may_dial(record.address, self._context.config.reach):
                continue
            if self._context.is_banned(record.address):
                continue
            is_new = self._book.add(record.address, link.address, record.time, now.unix_s)
            if is_new and abs(now.unix_s - record.time) < RELAYED_AGE_S_MAX:
                fresh.append(record)
        if len(message.records) <= RELAYED_RECORDS_MAX:
            self._relay(fresh, link)

    def _announce_local_address(self) -> None:
        """Announce our listening address to outbound peers; later ones see it in our hello."""
        context = self._context
        self._announced_local = own = own_address(context)
        if own is None or not may_dial(own, context.config.reach):
            return
        record = AddressRecord(own, context.now.unix_s, SERVICES)
        for link in context.links.values():
            if link.is_outbound and link.relays_addresses:
                context.send(link, Addresses((record,)), Priority.ADDRESS)

    def _reannounce_local_address(self) -> None:
        self._announce_local_address()
        wait_s = self._context.rng.expovariate(1 / REANNOUNCE_S)
        self._context.call_later(wait_s, self._reannounce_local_address)

    def _take_claim(self, link: Link) -> None:
        address = link.listens_at
        if address is None or not may_dial(address, self._context.config.reach):
            return
        now_s = self._context.now.unix_s
        if self._book.add(address, link.address, now_s, now_s):
            self._relay([AddressRecord(address, now_s, SERVICE_FULL_NODE)], link)

    def _new_sample(self, now_s: int) -> list[AddressRecord]:
        count = len(self._book)
        if self._context.config.is_public:
            count = count * SAMPLE_PERCENT_MAX // 100
        return self._book.sample(self._context.rng, min(count, ADDRESSES_MAX), now_s)

    def _relay(self, records: list[AddressRecord], source: Link) -> None:
        """Send each address to two links, the same two for a day (Bitcoin: RelayAddress)."""
        for record in records:
            day = self._context.now.unix_s // (24 * 3600)
            seed = self._context.secret + record.address.ip + day.to_bytes(8, "little")
            ranked = sorted(
                (sha256d(seed + link.id.to_bytes(8, "little")), link.id)
                for link in self._context.links.values()
                if link is not source and link.relays_addresses
            )
            for _, link_id in ranked[:RELAYED_LINKS]:
                link = self._context.links[link_id]
                self._context.send(link, Addresses((record,)), Priority.ADDRESS)

    def _save(self) -> None:
        self._context.emit(SaveState(SavedPart.ADDRESSES, self._book.save()))
        discouraged = self._context.discouraged.save(self._context.now.unix_s)
        self._context.emit(SaveState(SavedPart.DISCOURAGED, discouraged))
        self._context.call_later(SAVE_INTERVAL_S, self._save)
