"""Seeds: where a node that knows few addresses gets some (Bitcoin: DNS seeds and -seednode)."""

from dataclasses import dataclass
from typing import Final

from chain.gossip.wire.address import Address
from chain.primitives.hashes import sha256d

SEEDS_AT_ONCE: Final = 3  # of each kind (Bitcoin: DNSSEEDS_TO_QUERY_AT_ONCE)
SEED_ADDRESSES_MAX: Final = 256  # taken from one seed at a time
_GROUP_PREFIX: Final = b"seed"
_GROUP_HASH_BYTES: Final = 10  # as in Bitcoin's CNetAddr::SetInternal


@dataclass(frozen=True, slots=True)
class DnsSeed:
    """A DNS name whose addresses are those of nodes, all on one port; the driver resolves it."""

    name: str
    port: int

    @property
    def group(self) -> bytes:
        """The source group of its addresses; no IP's group is as long."""
        return _GROUP_PREFIX + sha256d(self.name.lower().encode())[:_GROUP_HASH_BYTES]

    def __str__(self) -> str:
        return self.name


Seed = DnsSeed | Address  # an address is that of a node, which is asked once for others
