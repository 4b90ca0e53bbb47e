"""Choice of the inbound link to close when all slots are taken and a new peer connects.

Each rule protects links by a property that is hard for an attacker to have more of than honest
peers: a separate network, low latency, usefulness, age. Of the remaining links, the youngest in the
network with the most links is closed, so that a flood of links displaces only its own (Bitcoin:
SelectNodeToEvict).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from chain.gossip.context import Context, Link
from chain.gossip.peers.policy import inbound_group
from chain.primitives.hashes import sha256d

PROTECTED_BY_GROUP: Final = 4
PROTECTED_BY_PING: Final = 8
PROTECTED_BY_TRANSACTION: Final = 4
PROTECTED_BLOCK_ONLY: Final = 8
PROTECTED_BY_BLOCK: Final = 4
_NO_PING_US: Final = 1 << 60


def choose_evicted(context: Context) -> Link | None:
    """Return the inbound link to close for a new one; None: every link is protected."""
    links = context.links.values()
    inbound = [link for link in links if not link.is_outbound and not link.is_manual]
    discouraged = [
        link for link in inbound if context.discouraged.has(link.address, context.now.unix_s)
    ]
    if discouraged:
        return discouraged[-1]
    left = _without(inbound, lambda link: sha256d(context.secret + inbound_group(link.address)))
    left = _protect(left, PROTECTED_BY_PING, lambda link: -_ping_us(link))
    left = _protect(left, PROTECTED_BY_TRANSACTION, lambda link: link.last_transaction_us)
    left = _protect(left, PROTECTED_BLOCK_ONLY, lambda link: link.last_block_us, _is_block_only)
    left = _protect(left, PROTECTED_BY_BLOCK, lambda link: link.last_block_us)
    left = _protect(left, len(left) // 2, lambda link: -link.opened_us)
    if not left:
        return None
    groups = {link.id: inbound_group(link.address) for link in left}
    counts = Counter(groups.values())
    most = max(counts.values())
    # Among networks with equally many links, the one with the youngest link.
    return max((link for link in left if counts[groups[link.id]] == most), key=_opened_us)


def _without(links: list[Link], by_group: Callable[[Link], bytes]) -> list[Link]:
    """Protect one link from each of the groups that come first in a secret order."""
    protected: dict[bytes, Link] = {}
    for link in sorted(links, key=by_group, reverse=True):
        if len(protected) < PROTECTED_BY_GROUP:
            protected.setdefault(by_group(link), link)
    return [link for link in links if link not in protected.values()]


def _protect(
    links: Sequence[Link],
    count: int,
    merit: Callable[[Link], Any],
    qualifies: Callable[[Link], bool] = lambda link: True,  # noqa: ARG005
) -> list[Link]:
    """Return the links without the `count` best ones of those that qualify."""
    best = sorted(filter(qualifies, links), key=merit, reverse=True)[:count]
    return [link for link in links if link not in best]


def _ping_us(link: Link) -> int:
    return _NO_PING_US if link.ping_us is None else link.ping_us


def _opened_us(link: Link) -> int:
    return link.opened_us


def _is_block_only(link: Link) -> bool:
    return not link.relays_transactions
