"""The address book: listening addresses of other nodes, in a table that resists flooding.

As in Bitcoin's address manager, each address has one slot, chosen by keyed hashes that nobody else
can compute. *New* addresses were only announced; those from one source reach 64 of the 1024
buckets. *Tried* addresses were reached; those of one operator reach 8 of the 256 buckets. A tried
address keeps its slot while it answers: it is tested before another replaces it (Bitcoin:
test-before-evict).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

from chain.gossip.views import RandomSource
from chain.gossip.wire.address import Address, encode_address, read_address
from chain.gossip.wire.messages import AddressRecord
from chain.primitives.encoding import DecodeError, read_bytes, read_uint
from chain.primitives.hashes import sha256d

NEW_BUCKETS: Final = 1024
NEW_BUCKETS_PER_SOURCE: Final = 64
TRIED_BUCKETS: Final = 256
TRIED_BUCKETS_PER_GROUP: Final = 8
BUCKET_SLOTS: Final = 64
HORIZON_S: Final = 30 * 24 * 3600  # an address not announced for longer is forgotten
NEVER_REACHED_TRIES_MAX: Final = 3
FAILURES_MAX: Final = 10  # in a row, over at least a week
FAILING_S_MAX: Final = 7 * 24 * 3600
FUTURE_S_MAX: Final = 600  # a time further in the future is implausible
CHOOSE_TRIES: Final = 50
COLLISIONS_MAX: Final = 10  # Bitcoin: ADDRMAN_SET_TRIED_COLLISION_SIZE
KEPT_S: Final = 4 * 3600  # an address reached since keeps its slot (Bitcoin: ADDRMAN_REPLACEMENT)
TEST_S_MAX: Final = 40 * 60  # without a test in this time the newer address wins
_TEST_S: Final = 60  # time allowed for a test in progress
_FAILURE_FACTOR: Final = 0.66  # Bitcoin: CAddrInfo::GetChance
_SAVED_VERSION: Final = 1
_CHECKSUM_BYTES: Final = 8


class Source(Protocol):
    """Who announced an address: a peer's own address, or a DNS seed."""

    @property
    def group(self) -> bytes:
        """What one operator is assumed to control."""


@dataclass(slots=True)
class AddressInfo:
    """What is known of one address; times in unix seconds, 0: never."""

    address: Address
    source: bytes  # group of the peer or seed that announced it
    seen_s: int
    reached_s: int = 0
    tried_s: int = 0
    failures: int = 0  # since it was last reached

    def is_terrible(self, now_s: int) -> bool:
        """Return whether any other address may replace it (Bitcoin: CAddrInfo::IsTerrible)."""
        if now_s - self.tried_s < 60:
            return False
        if not now_s - HORIZON_S <= self.seen_s <= now_s + FUTURE_S_MAX:
            return True
        if not self.reached_s:
            return self.failures >= NEVER_REACHED_TRIES_MAX
        return self.failures >= FAILURES_MAX and now_s - self.reached_s > FAILING_S_MAX


class AddressBook:
    """A bounded table of addresses: at most (1024 + 256) * 64."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._known: dict[Address, AddressInfo] = {}
        self._new: dict[tuple[int, int], Address] = {}
        self._tried: dict[tuple[int, int], Address] = {}
        self._collisions: dict[Address, None] = {}  # reached, but their tried slot is occupied

    def add(self, address: Address, source: Source, seen_s: int, now_s: int) -> bool:
        """Add an address announced by `source`; return whether it is new and was kept."""
        known = self._known.get(address)
        if known is not None:
            known.seen_s = max(known.seen_s, min(seen_s, now_s))
            return False
        fresh = AddressInfo(address, source.group, min(seen_s, now_s))
        slot = self._new_slot(fresh)
        holder = self._new.get(slot)
        if holder is not None:
            if not self._known[holder].is_terrible(now_s):
                return False
            del self._known[holder]
        self._new[slot] = address
        self._known[address] = fresh
        return True

    def tried(self, address: Address, now_s: int, *, counts: bool = True) -> None:
        """Record an attempt; if it counts, it is a failure until `reached` is called."""
        known = self._known.get(address)
        if known is not None:
            known.tried_s = now_s
            known.failures += counts

    def reached(self, address: Address, now_s: int) -> None:
        """Record that a node of our network answers at an address, and move it to the tried table.

        If its slot is occupied, it waits until the occupant was tested; few addresses may wait.
        """
        known = self._known.get(address)
        if known is None:
            return
        known.reached_s = known.tried_s = known.seen_s = now_s
        known.failures = 0
        holder = self._tried.setdefault(self._tried_slot(address), address)
        if holder != address and len(self._collisions) < COLLISIONS_MAX:
            self._collisions[address] = None
        elif holder == address:
            self._leave_new(known)

    def collision_to_test(self, rng: RandomSource) -> Address | None:
        """Return an occupant of a contested tried slot, which has to be tested."""
        if not self._collisions:
            return None
        return self._tried.get(self._tried_slot(rng.choice(list(self._collisions))))

    def resolve(self, now_s: int) -> None:
        """Give contested slots to the newer address if the occupant failed its test or had none."""
        for address in list(self._collisions):
            known = self._known.get(address)
            if known is None or not known.reached_s or self._is_resolved(known, now_s):
                del self._collisions[address]

    def _is_resolved(self, known: AddressInfo, now_s: int) -> bool:
        slot = self._tried_slot(known.address)
        holder = self._known.get(self._tried.get(slot, known.address))
        if holder is not None and holder is not known:
            if now_s - holder.reached_s < KEPT_S:
                return True
            tested_s_ago = now_s - holder.tried_s
            if tested_s_ago <= _TEST_S or (
                tested_s_ago >= KEPT_S and now_s - known.reached_s <= TEST_S_MAX
            ):
                return False
            self._tried[slot] = known.address
            self._return_to_new(holder)
        self._tried[slot] = known.address
        self._leave_new(known)
        return True

    def forget(self, address: Address) -> None:
        """Remove an address for good: it is our own, or of another network."""
        known = self._known.pop(address, None)
        if known is not None:
            self._new.pop(self._new_slot(known), None)
            if self._tried.get(self._tried_slot(address)) == address:
                del self._tried[self._tried_slot(address)]

    def choose(
        self, rng: RandomSource, is_wanted: Callable[[Address], bool], *, new_only: bool
    ) -> Address | None:
        """Return an address to dial, new or tried at equal odds, seldom a failing one; or None."""
        tables = [list(self._new.values()), [] if new_only else list(self._tried.values())]
        tables = [table for table in tables if table]
        refused: set[Address] = set()  # a small book gives the same address many times
        for _ in range(CHOOSE_TRIES if tables else 0):
            address = rng.choice(rng.choice(tables))
            known = self._known[address]
            odds = _FAILURE_FACTOR ** min(known.failures, 8)
            if rng.uniform(0, 1) >= odds or address in refused:
                continue
            if is_wanted(address):
                return address
            refused.add(address)
        return None

    def sample(self, rng: RandomSource, count: int, now_s: int) -> list[AddressRecord]:
        """Return up to `count` random addresses worth announcing to others."""
        good = [known for known in self._known.values() if not known.is_terrible(now_s)]
        picked: list[AddressInfo] = []
        while good and len(picked) < count:
            index = min(int(rng.uniform(0, len(good))), len(good) - 1)
            good[index], good[-1] = good[-1], good[index]
            picked.append(good.pop())
        return [AddressRecord(known.address, known.seen_s, 1) for known in picked]

    def has_usable(self, count: int, now_s: int) -> bool:
        """Return whether so many addresses are worth dialling."""
        usable = (known for known in self._known.values() if not known.is_terrible(now_s))
        return sum(1 for _ in islice(usable, count)) >= count

    def get(self, address: Address) -> AddressInfo | None:
        """Return what is known of an address."""
        return self._known.get(address)

    def __len__(self) -> int:
        return len(self._known)

    def save(self) -> bytes:
        """Return the whole book as bytes with a checksum."""
        parts = [bytes([_SAVED_VERSION]), len(self._known).to_bytes(4, "little")]
        for known in self._known.values():
            parts.append(encode_address(known.address))
            parts.append(len(known.source).to_bytes(1, "little") + known.source)
            times_s = (known.seen_s, known.reached_s, known.tried_s)
            parts += (time_s.to_bytes(8, "little") for time_s in times_s)
            parts.append(min(known.failures, 255).to_bytes(1, "little"))
        body = b"".join(parts)
        return sha256d(body)[:_CHECKSUM_BYTES] + body

    def load(self, data: bytes, now_s: int) -> None:
        """Load what `save` returned. Raises DecodeError: damaged; the book is then unchanged."""
        body = data[_CHECKSUM_BYTES:]
        if len(data) < _CHECKSUM_BYTES or sha256d(body)[:_CHECKSUM_BYTES] != data[:_CHECKSUM_BYTES]:
            raise DecodeError("the address book does not match its checksum")
        for known in _read_all(body):
            if not known.is_terrible(now_s) and known.address not in self._known:
                self._place(known)

    def _place(self, known: AddressInfo) -> None:
        address = known.address
        self._known[address] = known
        if not known.reached_s or self._tried.setdefault(self._tried_slot(address), address) != (
            address
        ):
            self._return_to_new(known)

    def _leave_new(self, known: AddressInfo) -> None:
        slot = self._new_slot(known)
        if self._new.get(slot) == known.address:
            del self._new[slot]

    def _return_to_new(self, known: AddressInfo) -> None:
        """Move an address back to the new table, or drop it if its slot there is taken."""
        known.reached_s = 0
        slot = self._new_slot(known)
        if self._new.setdefault(slot, known.address) != known.address:
            del self._known[known.address]

    def _new_slot(self, known: AddressInfo) -> tuple[int, int]:
        share = self._hash(b"new source", known.address.group, known.source)
        bucket = self._hash(b"new bucket", known.source, bytes([share % NEW_BUCKETS_PER_SOURCE]))
        return self._slot(b"new", bucket % NEW_BUCKETS, known.address)

    def _tried_slot(self, address: Address) -> tuple[int, int]:
        share = self._hash(b"tried share", encode_address(address))
        bucket = self._hash(
            b"tried bucket", address.group, bytes([share % TRIED_BUCKETS_PER_GROUP])
        )
        return self._slot(b"tried", bucket % TRIED_BUCKETS, address)

    def _slot(self, table: bytes, bucket: int, address: Address) -> tuple[int, int]:
        place = self._hash(table, bucket.to_bytes(2, "little"), encode_address(address))
        return bucket, place % BUCKET_SLOTS

    def _hash(self, *parts: bytes) -> int:
        joined = b"".join(len(part).to_bytes(1, "little") + part for part in parts)
        return int.from_bytes(sha256d(self._secret + joined)[:8], "little")


def _read_all(body: bytes) -> Iterable[AddressInfo]:
    """Yield the saved records. Raises DecodeError at the start if the version is unknown."""
    version, at = read_uint(body, 0, 1)
    if version != _SAVED_VERSION:
        raise DecodeError(f"an address book of version {version}")
    count, at = read_uint(body, at, 4)
    if count > (NEW_BUCKETS + TRIED_BUCKETS) * BUCKET_SLOTS:
        raise DecodeError(f"an address book of {count} addresses")
    records = []
    for _ in range(count):
        address, at = read_address(body, at)
        length, at = read_uint(body, at, 1)
        source, at = read_bytes(body, at, length)
        seen_s, at = read_uint(body, at, 8)
        reached_s, at = read_uint(body, at, 8)
        tried_s, at = read_uint(body, at, 8)
        failures, at = read_uint(body, at, 1)
        if address is not None and address.port:
            records.append(AddressInfo(address, source, seen_s, reached_s, tried_s, failures))
    return records
