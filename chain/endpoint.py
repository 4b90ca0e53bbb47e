"""Endpoints to listen on and to connect to: a host and a TCP port."""

import ipaddress
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

PORT_MAX: Final = 65_535
_LOOPBACK_IPV4: Final = "127.0.0.1"
_LOOPBACK_IPV6: Final = "::1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and a TCP port; port 0 means any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def to_dial(self) -> "Endpoint":
        """Return the endpoint to connect to from this machine."""
        return Endpoint(dial_host(self.host), self.port)


def dial_host(host: str) -> str:
    """Return the host to connect to, given the host of a listener.

    0.0.0.0 and :: mean "every address" to a listener and are not destinations (RFC 1122 3.2.1.3,
    RFC 4291 2.5.2): in any spelling that the system accepts, they become the loopback address.
    Every other host is returned unchanged.
    """
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return _LOOPBACK_IPV4 if _is_short_zero(host) else host
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return _LOOPBACK_IPV6 if ip.is_unspecified else host
        ip = ip.ipv4_mapped
    return _LOOPBACK_IPV4 if ip.is_unspecified else host


def dial_url(url: str) -> str:
    """Return the URL to connect to, given one that may have a bind address.

    An invalid URL is returned unchanged; opening it will fail. Raises ValueError:
    a port that is not a number from 1 to PORT_MAX.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    port, host = parts.port, parts.hostname or ""  # the port raises if it is over PORT_MAX
    if port == 0:
        raise ValueError(f"port 0 is not from 1 to {PORT_MAX}")
    dialled = dial_host(host)
    if dialled == host:
        return url
    user, at, _ = parts.netloc.rpartition("@")
    where = f"[{dialled}]" if ":" in dialled else dialled
    where = where if port is None else str(Endpoint(dialled, port))
    return urlunsplit(parts._replace(netloc=f"{user}{at}{where}"))


def is_port(value: object) -> bool:
    """Return whether a value is a TCP port: an int, not a bool, float or text."""
    return type(value) is int and 0 <= value <= PORT_MAX


def _is_short_zero(host: str) -> bool:
    """Return whether a host is 0.0.0.0 in a short form of inet_aton(3), such as 0 or 0x0."""
    try:
        return socket.inet_aton(host) == bytes(4)
    except (OSError, ValueError):
        return False
