"""The user's bans with a clock and a file: kept in peers.json, looked up by an IP's text."""

import ipaddress
import logging
from collections.abc import Callable
from typing import Final

from chain.gossip.bans import Bans
from chain.gossip.wire.address import Address
from chain.primitives.encoding import DecodeError
from chain.service.clock import Clock
from chain.service.peers.store import PeersFile

BANS_NAME: Final = "bans"  # in peers.json, next to the core's tables
_log = logging.getLogger(__name__)


def load_bans(file: PeersFile, clock: Clock) -> Bans:
    """Return the saved bans; none, and a log line, if they are damaged."""
    bans = Bans()
    try:
        if BANS_NAME in file.saved:
            bans.load(file.saved[BANS_NAME], clock.unix_s())
    except DecodeError as error:
        _log.warning("starting without the bans that were set: %s", error)
    return bans


def banned_hosts(bans: Bans, clock: Clock) -> Callable[[str], bool]:
    """Return a function that returns whether an IP, as a socket shows it, is banned now."""

    def is_banned(host: str) -> bool:
        return bans.has(Address(ipaddress.ip_address(host).packed, 0).ip, clock.unix_s())

    return is_banned
