"""A link as the API shows it: the core's and the driver's data combined."""

from collections import Counter
from collections.abc import Mapping

from chain.gossip.events import Now
from chain.gossip.peers import links
from chain.gossip.peers.policy import network_name
from chain.gossip.wire.frames import frame_name
from chain.primitives.numbers import SECOND_US
from chain.service.peers.acceptor import AcceptedLink
from chain.service.peers.dialled import DialledLink
from chain.service.peers.inbox import LinkTally
from chain.service.peers.status import PeerStatus


def shown_peer(
    info: links.PeerInfo, link: AcceptedLink | DialledLink | None, now: Now
) -> PeerStatus:
    """Return a link's status at this time; `link` is None if it has just ended."""
    totals = link.backlog.by_type if link else LinkTally()
    return PeerStatus(
        id=info.link,
        address=str(info.address),
        network=network_name(info.address),
        local_address=str(link.local) if link and link.local else None,
        seen_as=str(info.seen_as) if info.seen_as else None,
        is_inbound=info.connection_type is None,
        connection_type=info.connection_type,
        agent=info.agent,
        services=info.services,
        version=info.version,
        connected_at=_unix_s(info.opened_us, now),
        clock_ahead_s=info.clock_ahead_s,
        start_height=info.start_height,
        height=info.header_height,
        common_height=info.common_height,
        in_flight=info.in_flight,
        latency_s=_seconds(info.ping_us),
        last_latency_s=_seconds(info.last_ping_us),
        ping_waits_s=_seconds(info.ping_waits_us),
        last_sent_at=_unix_s(totals.last_sent_us, now),
        last_received_at=_unix_s(info.last_receive_us, now),
        last_transaction_at=_unix_s(info.last_transaction_us, now),
        last_block_at=_unix_s(info.last_block_us, now),
        relays_transactions=info.relays_transactions,
        relays_addresses=info.relays_addresses,
        addresses_taken=info.addresses_taken,
        addresses_refused=info.addresses_refused,
        fee_floor=info.fee_floor,
        pushes_blocks=info.pushes_blocks,
        wants_pushes=info.wants_pushes,
        sent=_by_name(totals.sent),
        received=_by_name(totals.received),
    )


def _by_name(counts: Mapping[int, int]) -> dict[str, int]:
    """Return counts by message name; messages without a name are summed under one."""
    named: Counter[str] = Counter()
    for frame_type, size in list(counts.items()):
        named[frame_name(frame_type)] += size
    return dict(sorted(named.items()))


def _unix_s(mono_us: int, now: Now) -> int:
    """Return the time of day of a steady clock's time; 0 for never."""
    return 0 if mono_us < 0 else max(now.unix_s - (now.mono_us - mono_us) // SECOND_US, 0)


def _seconds(duration_us: int | None) -> float | None:
    return None if duration_us is None else duration_us / SECOND_US
