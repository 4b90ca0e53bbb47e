"""Where others reach us, as far as we can know it."""

from typing import Final

from chain.gossip.context import Context
from chain.gossip.wire.address import Address

WITNESSES_MIN: Final = 2  # peers that we chose, of different networks


def own_address(context: Context) -> Address | None:
    """Return what to tell of where we listen.

    What was configured; where nodes share IPs a zero IP, "where you see me"; in public the IP from
    which peers of different networks saw us come, for one peer may lie, or see a NAT of its own.
    """
    listen = context.config.listen
    if listen is None or any(listen.ip) or not context.config.is_public:
        return listen
    witnesses: dict[bytes, dict[bytes, None]] = {}  # their networks, by the IP that they saw
    for link in context.links.values():
        if link.is_outbound and link.seen_as is not None:
            witnesses.setdefault(link.seen_as.ip, {})[link.address.group] = None
    ip = max(witnesses, key=lambda ip: len(witnesses[ip]), default=b"")
    if not ip or len(witnesses[ip]) < WITNESSES_MIN:
        return None
    return Address(ip, listen.port)
