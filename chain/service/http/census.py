"""The open connections of one listener: limits, and which connection to shed for a new one."""

import ipaddress
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from chain.gossip.wire.address import parse_address

CONNECTIONS_MAX: Final = 6  # what one link to a peer uses: down, two lanes up, requests
_ANY_PORT = 1
_KEPT_SHARE: Final = 16  # of the connections, one in so many is for IPs that are not exempt
EXEMPT_GROUP: Final = b""  # one network: what has no limit of its own displaces only itself


IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Exempt = Callable[[IPAddress], bool]


def exempt_nobody(_ip: IPAddress) -> bool:
    """Exempt no IP from a limit."""
    return False


def exempt_loopback(ip: IPAddress) -> bool:
    """Exempt this machine from a limit."""
    return ip.is_loopback


class Rank(IntEnum):
    """What a connection is doing; the lowest rank is shed first."""

    IDLE = 0  # no whole request head has arrived since it was opened or last answered
    SENDING = 1  # a request's body is arriving, refused or not
    ANSWERED = 2  # a request is being answered: never shed


@dataclass(eq=False, slots=True)
class Connection:
    """One admitted connection."""

    origin: str  # see origin_of
    group: bytes  # the network assumed to have one operator, as in gossip's eviction
    drop: Callable[[], None]  # closes the connection
    rank: Rank = Rank.IDLE
    owner: Hashable = None  # the link that vouches for it


class Census:
    """Counts the open connections of one listener by address and by network.

    At the limit a new connection replaces the one that has been idle longest in the network with
    most connections to shed, so that a flood displaces only itself (Bitcoin: SelectNodeToEvict, but
    before any handshake). Connections that are being answered, and up to CONNECTIONS_MAX of each
    link, are never shed.
    """

    def __init__(
        self,
        connections_max: int,
        per_origin_max: int,
        *,
        exempt: Exempt = exempt_nobody,
        is_banned: Callable[[str], bool] = lambda _address: False,
    ) -> None:
        """Set the limits; IPs that are `exempt` have none per origin, and are one network."""
        self._connections_max = connections_max
        self._per_origin_max = per_origin_max
        self._is_exempt = exempt
        self._is_banned = is_banned
        self._exempt_max = connections_max - connections_max // _KEPT_SHARE
        self._exempt_total = 0
        self._origins: Counter[str] = Counter()
        self._owners: Counter[Hashable] = Counter()
        # Connections to shed by network and rank, each dictionary in the order of waiting.
        self._idle: dict[bytes, tuple[dict[Connection, None], dict[Connection, None]]] = {}
        self.total = 0
        self.shed = 0  # since the start

    def admit(self, address: str, drop: Callable[[], None]) -> Connection | None:
        """Count a connection from `address`, shedding another if necessary; None: no room.

        `drop` is called if it is shed later; it has left the count by then.
        """
        if self._is_banned(address):
            return None
        origin = origin_of(address)
        is_exempt = self._is_exempt(ipaddress.ip_address(origin))
        if self._origins[origin] >= self._per_origin_max and not is_exempt:
            return None
        group = EXEMPT_GROUP if is_exempt else parse_address(origin, _ANY_PORT).group
        if is_exempt and self._exempt_total >= self._exempt_max:
            has_room = self._shed_of(group)
        else:
            has_room = self.total < self._connections_max or self._make_room(group)
        if not has_room:
            return None
        self.total += 1
        self._exempt_total += is_exempt
        self._origins[origin] += 1
        connection = Connection(origin, group, drop)
        self._list(connection)
        return connection

    def leave(self, connection: Connection) -> None:
        """Remove an admitted connection that was not shed."""
        self._unlist(connection)
        self._disown(connection)
        self.total -= 1
        self._exempt_total -= connection.group == EXEMPT_GROUP
        self._origins[connection.origin] -= 1
        if not self._origins[connection.origin]:
            del self._origins[connection.origin]

    def set_rank(self, connection: Connection, rank: Rank) -> None:
        """Set what a connection is doing; a new rank moves it to the end of the queue."""
        if rank is not connection.rank:
            self._unlist(connection)
            connection.rank = rank
            self._list(connection)

    def vouch(self, connection: Connection, owner: Hashable, host: str) -> None:
        """Protect a connection from shedding until its next request: the current one is `owner`'s.

        Limited to the owner's own host and to CONNECTIONS_MAX, or one link could protect a whole
        network of silent connections.
        """
        is_ours = origin_of(host) == connection.origin
        if is_ours and connection.owner is None and self._owners[owner] < CONNECTIONS_MAX:
            self._unlist(connection)
            connection.owner = owner
            self._owners[owner] += 1

    def disown(self, connection: Connection) -> None:
        """End the protection of `vouch`: another request begins."""
        if connection.owner is not None:
            self._disown(connection)
            self._list(connection)

    def _disown(self, connection: Connection) -> None:
        owner, connection.owner = connection.owner, None
        if owner is not None:
            self._owners[owner] -= 1
            if not self._owners[owner]:
                del self._owners[owner]

    def _list(self, connection: Connection) -> None:
        if connection.owner is None and connection.rank is not Rank.ANSWERED:
            ranks = self._idle.setdefault(connection.group, ({}, {}))
            ranks[connection.rank][connection] = None

    def _unlist(self, connection: Connection) -> None:
        if connection.owner is None and connection.rank is not Rank.ANSWERED:
            ranks = self._idle[connection.group]
            del ranks[connection.rank][connection]
            if not any(ranks):
                del self._idle[connection.group]

    def _make_room(self, group: bytes) -> bool:
        """Shed one connection for a new one of `group`; False: none can be shed."""
        if not self._idle:
            return False
        own = self._count(group)
        largest = max(self._idle, key=self._count)
        if self._count(largest) <= own:
            largest = group
        return self._shed_of(largest)

    def _shed_of(self, group: bytes) -> bool:
        """Shed one connection of a network; False: none can be shed."""
        if group not in self._idle:
            return False
        ranks = self._idle[group]
        connection = next(iter(ranks[Rank.IDLE] or ranks[Rank.SENDING]))
        self.leave(connection)
        self.shed += 1
        connection.drop()
        return True

    def _count(self, group: bytes) -> int:
        """Return the number of connections of a network that may be shed."""
        return sum(map(len, self._idle.get(group, ())))


def origin_of(address: str) -> str:
    """Return the unit of the limit per address: an IPv4 address, or the first of an IPv6 /64."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    if ip.is_loopback:
        return str(ip)
    return str(ipaddress.IPv6Network((ip, 64), strict=False).network_address)
