"""The address of a listening peer: an IP and a port, never a name, encoded as in BIP155."""

import ipaddress
from dataclasses import dataclass
from typing import Final

from chain.primitives.encoding import DecodeError, read_bytes, read_sized, read_uint, with_size

NETWORK_NONE: Final = 0  # not in BIP155; in a hello: no address
NETWORK_IPV4: Final = 1  # BIP155
NETWORK_IPV6: Final = 2
_ADDRESS_BYTES: Final = {NETWORK_IPV4: 4, NETWORK_IPV6: 16}
_ADDRESS_BYTES_MAX: Final = 512  # BIP155, for unknown network ids
_MAPPED: Final = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96
_BROADCAST: Final = b"\xff" * 4
PRIVATE_NETWORKS: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
_GROUP_BYTES: Final = {4: 2, 16: 4}  # IPv4 /16, IPv6 /32


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """An IP address, 4 or 16 bytes, and a port; IPv4-mapped IPv6 is always stored as IPv4."""

    ip: bytes
    port: int

    def __post_init__(self) -> None:
        if len(self.ip) == 16 and self.ip.startswith(_MAPPED):
            object.__setattr__(self, "ip", self.ip[12:])

    @property
    def host(self) -> str:
        """The IP as text, without brackets."""
        return str(ipaddress.ip_address(self.ip))

    @property
    def group(self) -> bytes:
        """The part of the IP that one operator is assumed to control: IPv4 /16, IPv6 /32."""
        return self.ip[: _GROUP_BYTES[len(self.ip)]]

    @property
    def is_one_host(self) -> bool:
        """Whether it can be a host's IP: not "this host" (RFC 1122), multicast or broadcast."""
        ip = ipaddress.ip_address(self.ip)
        is_nobody = ip.is_unspecified or (self.ip[:1] == b"\0" and len(self.ip) == 4)
        return not (is_nobody or ip.is_multicast or self.ip == _BROADCAST)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if len(self.ip) == 16 else f"{self.host}:{self.port}"


def parse_address(host: str, port: int) -> Address:
    """Return the address of an IP literal and a port. Raises ValueError: a name, a bad port."""
    if not 0 < port < 1 << 16:
        raise ValueError(f"port {port} is out of range")
    return Address(ipaddress.ip_address(host).packed, port)


def is_local(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an IP is this machine's or one of a local network.

    Many hosts may share one, behind a container's bridge for instance, and none is a stranger: such
    IPs have no limits of their own.
    """
    return ip.is_loopback or ip.is_link_local or any(ip in network for network in PRIVATE_NETWORKS)


def encode_address(address: Address | None) -> bytes:
    """Return network id, sized IP and big-endian port (BIP155); a single zero byte for None."""
    if address is None:
        return bytes([NETWORK_NONE])
    network = NETWORK_IPV4 if len(address.ip) == 4 else NETWORK_IPV6
    return bytes([network]) + with_size(address.ip) + address.port.to_bytes(2, "big")


def read_address(data: bytes, at: int) -> tuple[Address | None, int]:
    """Return the address at offset `at`, and the offset after it.

    None: no address, or one of an unknown network id, which must be skipped (BIP155). Raises
    DecodeError: truncated, or a length that the network id does not allow.
    """
    network, at = read_uint(data, at, 1)
    if network == NETWORK_NONE:
        return None, at
    ip, at = read_sized(data, at)
    port, at = read_bytes(data, at, 2)
    if network not in _ADDRESS_BYTES:
        if len(ip) > _ADDRESS_BYTES_MAX:
            raise DecodeError(f"an address of {len(ip)} bytes")
        return None, at
    if len(ip) != _ADDRESS_BYTES[network]:
        raise DecodeError(f"an address of kind {network} has {len(ip)} bytes")
    return Address(ip, int.from_bytes(port, "big")), at
