"""What a node may choose about its peers, with presets by network."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from chain.consensus.params import DEVNET, REGTEST, Params
from chain.gossip.limits import SIGNATURE_US
from chain.gossip.wire.address import Address


class Reach(Enum):
    """Which addresses of other nodes are ever dialled unless the user named them."""

    PUBLIC = "public"
    LOCAL = "local"  # loopback and private networks too
    LOOPBACK = "loopback"  # nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that may be chosen; frozen for a node's life."""

    params: Params
    agent: str
    listen: Address | None  # told to peers; with a zero IP: "where you see me, this port"
    manual: tuple[Address, ...]  # kept linked, whatever the policy says
    auto_dial: bool  # whether to dial what peers told of
    reach: Reach
    outbound_max: int
    block_relay_max: int  # outbound links besides, for blocks only
    inbound_max: int
    inbound_per_ip_max: int
    inbound_per_group_max: int
    trickle_outbound_s: float  # mean wait before transactions are announced
    trickle_inbound_s: float
    announced_per_trickle: int
    tracked_per_link: int  # announcements of transactions that are not yet asked for
    announced_per_link: int  # transactions that a link was told of and may ask for
    request_delay_s: float  # before asking a peer that is not preferred, or overloaded
    redial_first_s: float  # then doubled up to an hour
    rate_factor: int  # multiplies every message rate
    signature_us: int = SIGNATURE_US  # what verifying a signature takes, as links are charged
    upload_bytes_per_day: int = 0  # after most of which nobody is given old blocks; 0: no limit
    chain_work_min: int = 0  # header chains with less are never stored

    @property
    def is_public(self) -> bool:
        """Whether peers are strangers with an IP each: only then is one remembered as bad."""
        return self.reach is Reach.PUBLIC


_REACH: Final = {DEVNET.name: Reach.LOCAL, REGTEST.name: Reach.LOOPBACK}


def config_for(
    params: Params,
    *,
    agent: str,
    listen: Address | None = None,
    manual: tuple[Address, ...] = (),
    auto_dial: bool = True,
) -> Config:
    """Return the preset of a network: patient and suspicious in public, quick on devnet, regtest.

    On those two every node may share one IP, so limits by IP are off.
    """
    reach = _REACH.get(params.name, Reach.PUBLIC)
    public = reach is Reach.PUBLIC
    return Config(
        params=params,
        agent=agent,
        listen=listen,
        manual=manual,
        auto_dial=auto_dial,
        reach=reach,
        outbound_max=8,
        block_relay_max=2 if public else 0,
        inbound_max=250,
        inbound_per_ip_max=3 if public else 250,
        inbound_per_group_max=16 if public else 250,
        trickle_outbound_s=2.0 if public else 0.15,
        trickle_inbound_s=5.0 if public else 0.3,
        announced_per_trickle=35 if public else 1000,
        tracked_per_link=1000 if public else 5000,  # Bitcoin: MAX_PEER_TX_ANNOUNCEMENTS
        announced_per_link=5000 if public else 20_000,
        request_delay_s=2.0 if public else 0.25,
        redial_first_s=60.0 if public else 1.0,
        rate_factor=1 if public else 100,
    )
