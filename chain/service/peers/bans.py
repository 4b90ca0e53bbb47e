"""The user's bans where a clock and a file are: kept in peers.json, asked by a host's text."""

import ipaddress
import logging
from collections.abc import Callable
from typing import Final

from chain.gossip.bans import Bans
from chain.gossip.wire.address import Address
from chain.primitives.encoding import DecodeError
from chain.service.clock import Clock
from chain.service.peers.store import PeersFile

BANS_NAME: Final = "bans"  # in peers.json, beside what the core keeps there
_log = logging.getLogger(__name__)


def load_bans(kept: PeersFile, clock: Clock) -> Bans:
    """Return the bans that were kept; none if they are damaged, which is told."""
    bans = Bans()
    try:
        if BANS_NAME in kept.saved:
            bans.load(kept.saved[BANS_NAME], clock.unix_s())
    except DecodeError as error:
        _log.warning("starting without the bans that were set: %s", error)
    return bans


def banned_hosts(bans: Bans, clock: Clock) -> Callable[[str], bool]:
    """Return what tells whether an IP, as a socket shows it, is banned now."""

    def is_banned(host: str) -> bool:
        return bans.has(Address(ipaddress.ip_address(host).packed, 0).ip, clock.unix_s())

    return is_banned
