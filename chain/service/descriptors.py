"""The process's limit on open files and sockets, divided among the parts of the node."""

from dataclasses import dataclass
from typing import Final

from chain.errors import ShownError
from chain.gossip.config import Config
from chain.service.http.census import CONNECTIONS_MAX
from chain.service.http.listener import ACCEPT_TURNS, ACCEPTED_AT_ONCE
from chain.service.peers.acceptor import HANDSHAKES_MAX, guard_limits

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

API_CONNECTIONS_MAX: Final = 1200
_DATABASE: Final = 64  # the writer's files, and those of READERS_MAX snapshots or more
# Standard streams, log, lock, event loop, listeners, files being saved or served, and discovery,
# which has a socket for each network interface.
_REST: Final = 64
_ADDED_MAX: Final = 8  # peers that the user adds (Bitcoin: MAX_ADDNODE_CONNECTIONS)
_PROBES_MAX: Final = 2
_LISTENERS: Final = 2
_CONNECTIONS_MIN: Final = 32  # of a listener


class DescriptorError(ShownError):
    """The process may not open enough files to run a node."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """The open descriptors that each part may have."""

    limit: int  # of the process
    peer_connections_max: int
    api_connections_max: int
    inbound_max: int  # links that others dialled, for which there are connections

    def __str__(self) -> str:
        return (
            f"{self.limit} files may be open: at most {self.peer_connections_max} connections "
            f"from peers ({self.inbound_max} links) and {self.api_connections_max} to the API"
        )


def reserved(config: Config, peers: int) -> int:
    """Return the node's need besides connections to its listeners; `peers`: named by the user."""
    outbound = config.outbound_max + config.block_relay_max + max(peers, _ADDED_MAX) + _PROBES_MAX
    accepted = _LISTENERS * ACCEPTED_AT_ONCE * ACCEPT_TURNS
    return _DATABASE + _REST + accepted + outbound * CONNECTIONS_MAX


def wanted(config: Config, peers: int) -> int:
    """Return the descriptors needed to reach every limit."""
    return reserved(config, peers) + guard_limits(config).connections_max + API_CONNECTIONS_MAX


def share(limit: int, config: Config, peers: int) -> Descriptors:
    """Divide `limit` descriptors: the listeners share the rest in proportion to their limits.

    Raises DescriptorError.
    """
    free = limit - reserved(config, peers)
    if free < _LISTENERS * _CONNECTIONS_MIN:
        least = limit - free + _LISTENERS * _CONNECTIONS_MIN
        raise DescriptorError(
            f"only {limit} files may be open (ulimit -n), and a node needs {least}"
        )
    most = guard_limits(config).connections_max
    from_peers = min(most, free * most // (most + API_CONNECTIONS_MAX))
    to_api = min(API_CONNECTIONS_MAX, free - from_peers)
    handshakes = min(HANDSHAKES_MAX, from_peers // 2)
    links = min(config.inbound_max, (from_peers - handshakes) // CONNECTIONS_MAX)
    return Descriptors(limit, from_peers, to_api, links)


def raise_limit(count: int) -> int:
    """Raise the process's limit to `count` open files, or to its hard limit; never lower it.

    Return the new limit, or `count` if there is no limit. Bitcoin:
    RaiseFileDescriptorLimit.
    """
    if resource is None:
        return count
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return count
    if soft < count:
        reach = count if hard == resource.RLIM_INFINITY else min(count, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (reach, hard))
        except (ValueError, OSError):  # a limit of the system that getrlimit does not report
            return soft
        soft = reach
    return soft
