"""The nodes that the user wants links to, by name; the gossip core knows addresses only."""

from collections.abc import Iterable

from chain.gossip.peers.links import PeerInfo
from chain.gossip.wire.address import Address
from chain.service.peers.peer_status import AddedPeer


class AddedNodes:
    """Names, HOST:PORT, each with its address once resolved."""

    def __init__(self, names: Iterable[str]) -> None:
        self._addresses: dict[str, Address | None] = dict.fromkeys(names)

    def add(self, name: str, address: Address) -> None:
        """Add a name, or set the address of an existing one."""
        self._addresses[name] = address

    def remove(self, name: str) -> Address | None:
        """Remove a name; return its address if no other name has it."""
        address = self._addresses.pop(name, None)
        return None if address in self._addresses.values() else address

    def shown(self, links: Iterable[PeerInfo]) -> list[AddedPeer]:
        """Return all nodes, with the current links to them."""
        linked = {link.listens_at: link for link in links}
        return [
            AddedPeer(
                name=name,
                linked_to=str(address),
                is_inbound=linked[address].connection_type is None,
            )
            if address is not None and address in linked
            else AddedPeer(name=name)
            for name, address in self._addresses.items()
        ]

    def __contains__(self, name: str) -> bool:
        return name in self._addresses
