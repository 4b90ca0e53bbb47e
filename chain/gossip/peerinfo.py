"""A link as people may see it."""

from dataclasses import dataclass

from chain.gossip.actions import Purpose
from chain.gossip.address import Address
from chain.gossip.context import Link
from chain.gossip.events import LinkId


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """What is known of a link; times in monotonic microseconds."""

    link: LinkId
    address: Address
    listens_at: Address | None  # as far as it is known
    purpose: Purpose | None  # None: inbound
    agent: str
    services: int
    version: int
    opened_us: int
    last_receive_us: int
    ping_us: int | None
    start_height: int  # at the handshake
    known_height: int | None  # of the best block that it is known to have


def peer_info(link: Link) -> PeerInfo:
    """Return what may be shown of a link now."""
    return PeerInfo(
        link=link.id,
        address=link.address,
        listens_at=link.listens_at,
        purpose=link.purpose,
        agent=link.hello.agent,
        services=link.hello.services,
        version=link.hello.version,
        opened_us=link.opened_us,
        last_receive_us=link.last_receive_us,
        ping_us=link.ping_us,
        start_height=link.hello.height,
        known_height=None if link.best_known is None else link.best_known.height,
    )
