"""IP addresses and networks that the user has banned, each until a given time.

This is separate from `Discouraged`, which the core fills itself. The driver owns the table and
the chain; the core reads it for every decision about a peer, and checks existing links again
after `BansChanged`.
"""

import ipaddress
from dataclasses import dataclass
from typing import Final

from chain.primitives.encoding import DecodeError, read_sized, read_uint, with_size

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

BANS_MAX: Final = 10_000
TIME_MAX: Final = (1 << 63) - 1  # largest unix time that the format can hold
_SAVED_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Ban:
    """A ban of every IP of one network until a time in unix seconds."""

    network: IpNetwork
    created_s: int
    until_s: int


class Bans:
    """At most BANS_MAX bans; a look-up takes one step per prefix length in use."""

    def __init__(self) -> None:
        # Keyed by IP size and prefix length in bits, then by the value of that prefix.
        self._by_size: dict[tuple[int, int], dict[int, Ban]] = {}

    def add(self, ban: Ban) -> bool:
        """Add a ban, replacing one of the same network; return whether there was room."""
        if len(self) >= BANS_MAX:
            self._forget_expired(ban.created_s)
        if len(self) >= BANS_MAX and self.get(ban.network, 0) is None:
            return False
        size, prefix = _key(ban.network)
        self._by_size.setdefault(size, {})[prefix] = ban
        return True

    def remove(self, network: IpNetwork, now_s: int) -> bool:
        """Remove the ban of exactly this network; return whether it was in force."""
        found = self.get(network, now_s)
        if found is not None:
            self._forget(found)
        return found is not None

    def clear(self) -> None:
        """Remove all bans."""
        self._by_size.clear()

    def get(self, network: IpNetwork, now_s: int) -> Ban | None:
        """Return the ban of exactly this network, if it is in force."""
        size, prefix = _key(network)
        ban = self._by_size.get(size, {}).get(prefix)
        return ban if ban is not None and ban.until_s > now_s else None

    def has(self, ip: bytes, now_s: int) -> bool:
        """Return whether an IP (4 or 16 bytes, as in `Address`) lies in a banned network."""
        bits, value = 8 * len(ip), int.from_bytes(ip)
        for (ip_bits, prefix_bits), bans in self._by_size.items():
            if ip_bits == bits:
                ban = bans.get(value >> (bits - prefix_bits))
                if ban is not None and ban.until_s > now_s:
                    return True
        return False

    def listed(self, now_s: int) -> list[Ban]:
        """Return the bans in force: IPv4 before IPv6, then by network."""
        self._forget_expired(now_s)
        return sorted(self._all(), key=lambda ban: (ban.network.version, ban.network))

    def save(self) -> bytes:
        """Return all bans as bytes."""
        parts = [bytes([_SAVED_VERSION])]
        for ban in self._all():
            parts.append(with_size(ban.network.network_address.packed))
            parts.append(bytes([ban.network.prefixlen]))
            parts += (time_s.to_bytes(8, "little") for time_s in (ban.created_s, ban.until_s))
        return b"".join(parts)

    def load(self, data: bytes, now_s: int) -> None:
        """Load from `save`'s bytes the bans that are still in force.

        Raises DecodeError: damaged, or too many bans; the table is then unchanged.
        """
        version, at = read_uint(data, 0, 1)
        if version != _SAVED_VERSION:
            raise DecodeError(f"bans of version {version}")
        found: list[Ban] = []
        while at < len(data):
            ban, at = _read_ban(data, at)
            found.append(ban)
        if len(found) > BANS_MAX:
            raise DecodeError(f"{len(found)} bans")
        for ban in found:
            if ban.until_s > now_s:
                self.add(ban)

    def __len__(self) -> int:
        return sum(map(len, self._by_size.values()))

    def _all(self) -> list[Ban]:
        return [ban for bans in self._by_size.values() for ban in bans.values()]

    def _forget_expired(self, now_s: int) -> None:
        for ban in self._all():
            if ban.until_s <= now_s:
                self._forget(ban)

    def _forget(self, ban: Ban) -> None:
        size, prefix = _key(ban.network)
        del self._by_size[size][prefix]
        if not self._by_size[size]:
            del self._by_size[size]


def parse_network(text: str) -> IpNetwork:
    """Return the network written as IP, IP/BITS or IP/MASK; a single IP is a network of one.

    IPv4-mapped IPv6 counts as IPv4, so its bits or mask must be IPv4's too. Raises ValueError.
    """
    host, slash, mask = text.partition("/")
    if "%" in host:
        raise ValueError("a network has no zone")
    ip = ipaddress.ip_address(host)
    if ip.version == 6 and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    bits = _prefix_bits(mask, ip.max_prefixlen) if slash else ip.max_prefixlen
    return ipaddress.ip_network((ip.packed, bits), strict=False)


def _prefix_bits(mask: str, ip_bits: int) -> int:
    """Return the prefix length of a mask, written as a number or as a dotted run of ones."""
    if mask.isascii() and mask.isdecimal() and len(mask) <= 3:
        return int(mask)  # a number that is too large is refused with the network
    ones = ipaddress.ip_address(mask)
    bits = int(ones).bit_count()
    if ones.max_prefixlen != ip_bits or int(ones) != ((1 << bits) - 1) << (ip_bits - bits):
        raise ValueError(f"{mask} is not a network mask")
    return bits


def _key(network: IpNetwork) -> tuple[tuple[int, int], int]:
    bits, prefix_bits = network.max_prefixlen, network.prefixlen
    return (bits, prefix_bits), int(network.network_address) >> (bits - prefix_bits)


def _read_ban(data: bytes, at: int) -> tuple[Ban, int]:
    ip, at = read_sized(data, at)
    bits, at = read_uint(data, at, 1)
    created_s, at = read_uint(data, at, 8)
    until_s, at = read_uint(data, at, 8)
    try:
        network = ipaddress.ip_network((ip, bits))
    except ValueError as error:
        raise DecodeError(f"not a network: {error}") from error
    return Ban(network, created_s, until_s), at
