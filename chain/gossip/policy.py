"""Which addresses may be dialled when it was a stranger who named them.

Without this a peer could make every node of the network knock at services that trust their own
network or never expect strangers (server-side request forgery). Addresses are IPs and ports, never
names, and the path is ours.
"""

import ipaddress
from typing import Final

from chain.gossip.address import Address
from chain.gossip.config import Reach

_PORTS_LOW: Final = frozenset({80, 443})
_PORT_MIN: Final = 1024
# Services that answer anyone who reaches them, or that must not be flooded from many places:
# Bitcoin's doc/p2p-bad-ports.md from 1024 on, and databases and control planes.
_PORTS_BAD: Final = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 5060, 5061, 6000, 6566, 10080}
    | {*range(6665, 6670), 6697}
    | {*range(2375, 2381), 3306, 5432, 5984, 6379, 6443, 8500, 9200, 10250, 11211, 27017}
)
_TUNNELS: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "64:ff9b::/96",  # NAT64: may hold any IPv4, 127.0.0.1 too
        "64:ff9b:1::/48",
        "2002::/16",  # 6to4
        "2001::/32",  # Teredo
        "::/96",  # IPv4-compatible, long gone
        "192.88.99.0/24",
        "fec0::/10",  # site-local
    )
)
_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)


def may_dial(address: Address, reach: Reach) -> bool:
    """Tell whether an address that peers told of may be dialled, stored or passed on."""
    ip = ipaddress.ip_address(address.ip)
    if ip.is_loopback:
        return reach is not Reach.PUBLIC and address.port >= _PORT_MIN
    if reach is Reach.LOOPBACK or not _port_allowed(address.port):
        return False
    if reach is Reach.LOCAL and any(ip in network for network in _PRIVATE):
        return True
    return _is_global(ip)


def _port_allowed(port: int) -> bool:
    return (port >= _PORT_MIN or port in _PORTS_LOW) and port not in _PORTS_BAD


def _is_global(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Tell whether an IP is one host of the Internet; is_global alone lets tunnels through."""
    if not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        return False
    return not any(ip in network for network in _TUNNELS)
