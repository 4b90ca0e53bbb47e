"""The peers that only give us blocks, remembered so that they are the first ones after a restart.

Whoever fills the address book with its own nodes and then has us restart still cannot choose all
our links (Bitcoin: anchors.dat).
"""

from typing import Final

from chain.gossip.address import Address, encode_address, read_address
from chain.primitives.encoding import DecodeError

ANCHORS_MAX: Final = 2


def save_anchors(addresses: list[Address]) -> bytes:
    """Return the addresses as bytes."""
    return b"".join(map(encode_address, addresses[:ANCHORS_MAX]))


def load_anchors(data: bytes) -> list[Address]:
    """Return what `save_anchors` was given. Raises DecodeError: damaged."""
    addresses: list[Address] = []
    at = 0
    while at < len(data):
        address, at = read_address(data, at)
        if address is None or len(addresses) >= ANCHORS_MAX:
            raise DecodeError("anchors that we never saved")
        addresses.append(address)
    return addresses
