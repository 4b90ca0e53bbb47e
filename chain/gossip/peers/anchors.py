"""Anchors: block-relay peers that are remembered and dialled first after a restart.

An attacker who fills the address book with its own nodes and then makes us restart still cannot
choose all our links (Bitcoin: anchors.dat).
"""

from typing import Final

from chain.gossip.actions import SavedPart, SaveState
from chain.gossip.context import Context
from chain.gossip.wire.address import Address, encode_address, read_address
from chain.primitives.encoding import DecodeError

ANCHORS_MAX: Final = 2


class Anchors:
    """The anchors of the last run that are still to be dialled, and those of this run."""

    def __init__(self, context: Context, saved: bytes | None) -> None:
        self._context = context
        self._saved = saved
        self._current: list[Address] = []  # newest first
        self.pending: list[Address] = []

    def start(self) -> None:
        """Load the saved anchors; damaged ones are ignored."""
        if self._saved is not None:
            try:
                self.pending = load_anchors(self._saved)
            except DecodeError as error:
                self._context.trace("anchors reset", why=str(error))

    def add(self, address: Address) -> None:
        """Save a block-relay peer for the next start."""
        others = [other for other in self._current if other != address]
        self._current = [address, *others][:ANCHORS_MAX]
        self._context.emit(SaveState(SavedPart.ANCHORS, save_anchors(self._current)))


def save_anchors(addresses: list[Address]) -> bytes:
    """Return the addresses as bytes."""
    return b"".join(map(encode_address, addresses[:ANCHORS_MAX]))


def load_anchors(data: bytes) -> list[Address]:
    """Return the addresses that `save_anchors` was given. Raises DecodeError: damaged."""
    addresses: list[Address] = []
    at = 0
    while at < len(data):
        address, at = read_address(data, at)
        if address is None or not address.port or len(addresses) >= ANCHORS_MAX:
            raise DecodeError("more anchors than a node saves")
        addresses.append(address)
    return addresses
