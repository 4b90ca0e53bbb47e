"""The peer settings of a node, with presets for each network."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from chain.consensus.params import DEVNET, REGTEST, Params
from chain.gossip.limits import SIGNATURE_US
from chain.gossip.seeds import Seed
from chain.gossip.wire.address import Address


class Reach(Enum):
    """Which addresses may be dialled, other than those that the user named."""

    PUBLIC = "public"
    LOCAL = "local"  # loopback and private networks too
    LOOPBACK = "loopback"  # loopback only


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All peer settings, constant while the node runs."""

    params: Params
    agent: str
    listen: Address | None  # sent to peers; a zero IP means "the IP you see me at, with this port"
    manual: tuple[Address, ...]  # always kept linked, regardless of the dialling policy
    auto_dial: bool  # whether to dial addresses learned from peers
    reach: Reach
    outbound_max: int
    block_relay_max: int  # additional outbound links, for blocks only
    inbound_max: int
    inbound_per_ip_max: int
    inbound_per_group_max: int
    trickle_outbound_s: float  # mean wait before transactions are announced
    trickle_inbound_s: float
    announced_per_trickle: int
    tracked_per_link: int  # announced transactions, not yet requested
    announced_per_link: int  # transactions announced to a link, which it may request
    request_delay_s: float  # delay before a request to a link that is overloaded or not preferred
    redial_first_s: float  # then doubled, up to an hour
    rate_factor: int  # multiplies every message rate
    signature_us: int = SIGNATURE_US  # cost of one signature check, as charged to links
    upload_bytes_per_day: int = 0  # old blocks may use only a part of it; 0: no limit
    seeds: tuple[Seed, ...] = ()  # for addresses, while few are known
    chain_work_min: int = 0  # header chains with less work are never stored

    @property
    def is_public(self) -> bool:
        """Whether peers are unknown hosts with one IP each; only then are bad IPs remembered."""
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
    """Return the preset of a network: cautious on public ones, fast on devnet and regtest.

    On devnet and regtest all nodes may share one IP, so limits by IP are off.
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
