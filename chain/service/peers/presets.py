"""What the listening side grants, by what the gossip core was configured for."""

from typing import Final

from chain.gossip.config import Config
from chain.service.peers.acceptor import ServerLimits
from chain.service.peers.census import CONNECTIONS_MAX
from chain.service.peers.guard import GuardLimits

WRITE_STALL_S: Final = 60.0  # a link may be slow; the core ends those that only pile up
HANDSHAKES_MAX: Final = 100  # connections beside those of the links
_SPARE_CONNECTIONS: Final = 6  # of one IP, for handshakes beside its links


def guard_limits(config: Config) -> GuardLimits:
    """Return what suits a network: where many nodes share an IP, limits by IP are off."""
    usual = GuardLimits()
    return GuardLimits(
        body_s=usual.body_s + ServerLimits().hold_s,  # the core may not want it read at once
        write_stall_s=WRITE_STALL_S,
        connections_max=config.inbound_max * CONNECTIONS_MAX + HANDSHAKES_MAX,
        connections_per_ip_max=config.inbound_per_ip_max * CONNECTIONS_MAX + _SPARE_CONNECTIONS,
        loopback_exempt=not config.is_public,
    )


def server_limits(config: Config) -> ServerLimits:
    """Return what suits a network."""
    usual, factor = ServerLimits(), config.rate_factor
    return ServerLimits(
        hello_per_minute=usual.hello_per_minute * factor,
        links_per_minute=usual.links_per_minute * factor,
        unfinished_per_address_max=(
            usual.unfinished_per_address_max if config.is_public else usual.unfinished_max
        ),
    )
