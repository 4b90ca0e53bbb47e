"""Seeds as people write them: a DNS name, or a node's IP with or without its port."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from chain.endpoint import PORT_MAX, Endpoint

SEEDS_MAX: Final = 32  # of a node, or in a network's file
NO_SEEDS: Final = "none"  # cancels the seeds before it
_NAME_CHARACTERS_MAX: Final = 253
_SHOWN_CHARACTERS_MAX: Final = 100  # of a quoted invalid text
# RFC 1123, and the underscore that resolvers take too.
_LABEL: Final = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_IP: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]{1,10}))?")
# The last label of what resolvers take for an IPv4 address in a short form: inet_aton(3).
_NUMBER: Final = re.compile("[0-9]+|0[xX][0-9A-Fa-f]*")


class SeedTextError(ValueError):
    """A text that is no seed; the message names it and says why."""


def parse_seeds(
    texts: Iterable[str], default_port: int, known: Iterable[Endpoint] = ()
) -> tuple[Endpoint, ...]:
    """Return the `known` seeds and those of the texts, each once; `none` cancels those before it.

    Raises SeedTextError: one is invalid, or there are more than SEEDS_MAX.
    """
    seeds = dict.fromkeys(known)
    for text in texts:
        if text == NO_SEEDS:
            seeds.clear()
        else:
            seeds[parse_seed(text, default_port)] = None
    if len(seeds) > SEEDS_MAX:
        raise SeedTextError(f"{len(seeds)} seeds are too many: at most {SEEDS_MAX}")
    return tuple(seeds)


def parse_seed(text: str, default_port: int) -> Endpoint:
    """Return the name or IP, and the port, of a seed. Raises SeedTextError.

    `default_port` is the network's for peers, 0 if it has none: a name's addresses have it, and an
    IP without a port.
    """
    shown = repr(text[:_SHOWN_CHARACTERS_MAX])
    seed = _ip_seed(text, default_port)
    if seed is None and is_dns_name(text):
        seed = Endpoint(text, default_port)
    if seed is None:
        name, _, port = text.rpartition(":")
        if is_dns_name(name) and port.isdecimal():
            raise SeedTextError(
                f"{shown}: a seed's name has no port: its addresses have the network's (a single "
                "node's name is for --peer)"
            )
        raise SeedTextError(f"{shown} is neither a DNS name nor IP:PORT or [IPv6]:PORT")
    if seed.port == 0:
        raise SeedTextError(f"{shown}: no port, and the network has none by default")
    if seed.port > PORT_MAX:
        raise SeedTextError(f"{shown}: the port is over {PORT_MAX}")
    if not is_dns_name(seed.host) and not _may_be_a_node(seed.host):
        raise SeedTextError(f"{shown} is not the address of a single host that others can reach")
    return seed


def seed_text(seed: Endpoint) -> str:
    """Return a seed as a person writes it: a name has no port."""
    return seed.host if is_dns_name(seed.host) else str(seed)


def is_dns_name(text: str) -> bool:
    """Return whether a text is a DNS name, and no IP in any form that a resolver takes."""
    last = text.removesuffix(".").rpartition(".")[2]
    is_name = _NAME.fullmatch(text) is not None and len(text) <= _NAME_CHARACTERS_MAX
    return is_name and _NUMBER.fullmatch(last) is None


def _ip_seed(text: str, default_port: int) -> Endpoint | None:
    found = _IP.fullmatch(text)
    if found is None:
        return None
    try:
        ip = ipaddress.ip_address(found[1] or found[2])
    except ValueError:
        return None
    if (ip.version == 6) != (found[1] is not None):
        return None
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    return Endpoint(str(ip), default_port if found[3] is None else int(found[3]))


def _may_be_a_node(host: str) -> bool:
    ip = ipaddress.ip_address(host)
    is_nobody = ip.is_unspecified or (ip.packed[:1] == b"\0" and ip.version == 4)
    return not (is_nobody or ip.is_multicast or ip.is_link_local or ip.packed == b"\xff" * 4)
