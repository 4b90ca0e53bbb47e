"""Which addresses learned from peers may be dialled.

Without this policy a peer could make every node of the network connect to services that trust their
own network or expect no outside connections (server-side request forgery). Addresses are IPs and
ports, never names, and the path is fixed.
"""

import ipaddress
from typing import Final

from chain.gossip.config import Reach
from chain.gossip.wire.address import PRIVATE_NETWORKS, Address, is_local

_PORTS_LOW: Final = frozenset({80, 443})
_PORT_MIN: Final = 1024
# Ports of services that answer anyone who reaches them, or that must not be flooded from many
# places: Bitcoin's doc/p2p-bad-ports.md from 1024 on, and databases and control planes.
_PORTS_BAD: Final = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 5060, 5061, 6000, 6566, 10080}
    | {*range(6665, 6670), 6697}
    | {*range(2375, 2381), 3306, 5432, 5984, 6379, 6443, 8500, 9200, 10250, 11211, 27017}
)
# IANA's registries of special-purpose addresses (RFC 6890), and more. Python's own property for it
# differs between versions, and allows tunnels and anycast.
_SPECIAL_V4: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",  # shared address space behind carrier-grade NAT
    "127.0.0.0/8",
    "169.254.0.0/16",  # link-local, and cloud metadata services
    "172.16.0.0/12",
    "192.0.0.0/24",  # protocol assignments; its two global anycast hosts cannot be peers
    "192.0.2.0/24",  # documentation, as 198.51.100.0/24 and 203.0.113.0/24
    "192.31.196.0/24",  # AS112
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",  # multicast, reserved, broadcast
    "168.63.129.16/32",  # not in IANA's registry: Azure's host agent, which trusts every guest
)
_SPECIAL_V6: Final = (  # within 2000::/3, outside of which there are no Internet hosts
    "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID, AMT, AS112
    "2001:db8::/32",  # documentation, as 3fff::/20
    "2002::/16",  # 6to4: may embed any IPv4 address, even 127.0.0.1
    "2620:4f:8000::/48",  # AS112
    "3fff::/20",
)
_GLOBAL_V6: Final = ipaddress.ip_network("2000::/3")
_SPECIAL: Final = tuple(map(ipaddress.ip_network, _SPECIAL_V4 + _SPECIAL_V6))
_METADATA_V6: Final = ipaddress.ip_address("fd00:ec2::254")  # AWS's, inside fc00::/7

_LOCAL_GROUP: Final = b""


def may_dial(address: Address, reach: Reach) -> bool:
    """Return whether an address learned from a peer may be dialled, stored or passed on."""
    ip = ipaddress.ip_address(address.ip)
    if ip.is_loopback:
        return reach is not Reach.PUBLIC and address.port >= _PORT_MIN
    if reach is Reach.LOOPBACK or not _port_allowed(address.port):
        return False
    if reach is Reach.LOCAL and any(ip in network for network in PRIVATE_NETWORKS):
        return ip != _METADATA_V6
    return _is_global(ip)


def inbound_group(address: Address) -> bytes:
    """Return the network of a peer that dialled us, within which a flood displaces only itself.

    Local IPs are one (Bitcoin: NetGroupManager::GetGroup): a host has all of 127.0.0.0/8.
    """
    return _LOCAL_GROUP if is_local(ipaddress.ip_address(address.ip)) else address.group


def network_name(address: Address) -> str:
    """Return Bitcoin's name for an address's network: ipv4, ipv6, not_publicly_routable."""
    if not _is_global(ipaddress.ip_address(address.ip)):
        return "not_publicly_routable"
    return "ipv4" if len(address.ip) == 4 else "ipv6"


def _port_allowed(port: int) -> bool:
    return (port >= _PORT_MIN or port in _PORTS_LOW) and port not in _PORTS_BAD


def _is_global(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an IP is that of a single host on the Internet."""
    if ip.version == 6 and ip not in _GLOBAL_V6:
        return False
    return not any(ip in network for network in _SPECIAL)
