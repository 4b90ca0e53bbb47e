"""The address at which others reach this node, if it can be determined."""

from typing import Final

from chain.gossip.context import Context
from chain.gossip.wire.address import Address

WITNESSES_MIN: Final = 2  # outbound peers in different networks


def own_address(context: Context) -> Address | None:
    """Return our listening address as announced to peers, or None.

    The configured address; where nodes share IPs, a zero IP ("where you see me"); on public
    networks the IP that outbound peers in different networks report, since one peer may lie or see
    its own NAT.
    """
    listen = context.config.listen
    if listen is None or any(listen.ip) or not context.config.is_public:
        return listen
    witnesses: dict[bytes, dict[bytes, None]] = {}  # peers' networks, by reported IP
    for link in context.links.values():
        if link.is_outbound and link.seen_as is not None:
            witnesses.setdefault(link.seen_as.ip, {})[link.address.group] = None
    ip = max(witnesses, key=lambda ip: len(witnesses[ip]), default=b"")
    if not ip or len(witnesses[ip]) < WITNESSES_MIN:
        return None
    return Address(ip, listen.port)
