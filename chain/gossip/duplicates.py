"""Two nodes that dialled each other need one link, and both have to drop the same one.

Both ends know the nonces of both dials, so both drop the link of the lower one, whichever they see
first: never none, never both. Who dialled us, only its hello says (`Link.listens_at`), so somebody
who shares a peer's IP can take that peer's place, with no other means than being there.
"""

from chain.gossip.actions import Purpose
from chain.gossip.address import Address
from chain.gossip.context import CODE_DUPLICATE, Context, Link


def is_linked(context: Context, address: Address) -> bool:
    """Tell whether there is a link to the node at this address, whoever dialled."""
    return any(link.listens_at == address for link in context.links.values())


def drop_duplicate(context: Context, opened: Link) -> None:
    """Close one link if `opened` joins us to a node that another, dialled at its other end, does.

    Links for blocks only do not count: nobody is to know of them.
    """
    for other in context.links.values():
        if _are_opposite(opened, other):
            loser, winner = sorted((opened, other), key=lambda link: link.nonce)
            winner.is_named = winner.is_named or loser.is_manual
            context.close(loser, "linked the other way round too", CODE_DUPLICATE)
            return


def _are_opposite(one: Link, other: Link) -> bool:
    if one.is_outbound == other.is_outbound or Purpose.BLOCK_ONLY in (one.purpose, other.purpose):
        return False
    return one.listens_at is not None and one.listens_at == other.listens_at
