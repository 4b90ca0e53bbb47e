"""Protocols for what the API needs of the process, and null objects for a process without it.

A method about peers, the miner or the process is added to its Protocol, to the null object below
it, and to the class that the process passes: `PeerService`, `Mining`, `NodeHost`. None of them
inherits from its Protocol, and the peer side does not import the API; mypy compares them where
the process makes the ApiContext.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chain.gossip.bans import Bans
from chain.gossip.wire.address import Address
from chain.ledger.errors import LedgerError
from chain.primitives.block import Block
from chain.primitives.transaction import Transaction
from chain.service.peers.peer_status import (
    AddedPeer,
    ConnectionCounts,
    KnownAddress,
    NetTotals,
    PeerStatus,
    counted,
)


class PeersPort(Protocol):
    """The node's peers. For the event loop; `connected` and `counts` for any thread."""

    @property
    def bans(self) -> Bans:
        """The user's bans; call `bans_changed` after a change."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Counts of the gossip core's traces since the start, by kind."""

    @property
    def is_network_active(self) -> bool:
        """Whether links are allowed."""

    def connected(self) -> Sequence[PeerStatus]:
        """Return the connected peers, oldest link first."""

    def connection_counts(self) -> ConnectionCounts:
        """Return how many peers are connected."""

    def totals(self) -> NetTotals:
        """Return the traffic of all links since the start."""

    def added_peers(self) -> Sequence[AddedPeer]:
        """Return the nodes that the user added, with their links."""

    def known_addresses(self, count: int, ip_bytes: Container[int], /) -> Sequence[KnownAddress]:
        """Return up to `count` random addresses of nodes, with IPs of `ip_bytes` bytes only."""

    def local_addresses(self) -> Sequence[Address]:
        """Return the addresses at which others reach this node, if known."""

    def add_peer(self, address: Address) -> None:
        """Keep a link to this address from now on."""

    def remove_peer(self, name: str) -> None:
        """Stop keeping a link to the node of this name among `added_peers`."""

    def try_peer(self, address: Address) -> None:
        """Dial this address once."""

    def disconnect(self, link: int, /) -> bool:
        """Close the link with this id; return whether there was one."""

    def ping_peers(self) -> None:
        """Ping each peer now."""

    def set_network_active(self, is_active: bool, /) -> None:  # noqa: FBT001 - the value itself
        """Close all links and open none, or open links again."""

    def bans_changed(self) -> None:
        """Close the links of banned peers, and save the bans."""

    def broadcast_tx(self, transaction: Transaction) -> None:
        """Announce a transaction that the mempool accepted."""

    def broadcast_block(self, block: Block) -> None:
        """Announce a block that the best chain took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningInfo:
    """The state of the node's own miner; `hashes_per_second` is 0 if it has none."""

    hashes_per_second: float = 0.0
    threads: int = 0
    kernel: str = ""
    waits_for: str = ""  # why it does not mine now


class MinerPort(Protocol):
    """The node's own miner."""

    def info(self) -> MiningInfo:
        """Return its state; callable from any thread."""


class HostPort(Protocol):
    """The process of the node: its clock, its files, and its shutdown."""

    def is_syncing(self) -> bool:
        """Return whether blocks of the best header are missing."""

    def disk_bytes(self) -> int:
        """Return the ledger's size on disk."""

    def log_bytes(self) -> int:
        """Return the size of the ledger's write-ahead log."""

    def node_age_s(self) -> float:
        """Return the seconds since the node was last heard of, or since this process began."""

    def node_started_at(self) -> int:
        """Return when the node started, in unix seconds; 0: not known."""

    def set_clock(self, unix_s: int) -> None:
        """Set the clock to this time and stop it; 0: follow the system's clock again."""

    async def save_pool(self) -> Path:
        """Save the mempool now, and return the file's path. Raises OSError."""

    def ledger_failed(self, error: LedgerError) -> None:
        """Stop the process because of `error`. For the event loop."""

    def stop(self) -> None:
        """Ask the process to stop, and return at once."""


class NoPeers:
    """The peers of a node without a peer side: none."""

    def __init__(self) -> None:
        self.bans = Bans()

    @property
    def counts(self) -> Mapping[str, int]:
        """No traces."""
        return {}

    @property
    def is_network_active(self) -> bool:
        """Allowed, as at the start of a node."""
        return True

    def connected(self) -> Sequence[PeerStatus]:
        """Return no peers."""
        return ()

    def connection_counts(self) -> ConnectionCounts:
        return counted(self.connected())

    def totals(self) -> NetTotals:
        """Return no traffic."""
        return NetTotals()

    def added_peers(self) -> Sequence[AddedPeer]:
        """Return no nodes."""
        return ()

    def known_addresses(self, _count: int, _ip_bytes: Container[int], /) -> Sequence[KnownAddress]:
        """Return no addresses."""
        return ()

    def local_addresses(self) -> Sequence[Address]:
        """Return no addresses."""
        return ()

    def add_peer(self, address: Address) -> None:
        """Do nothing."""

    def remove_peer(self, name: str) -> None:
        """Do nothing."""

    def try_peer(self, address: Address) -> None:
        """Do nothing."""

    def disconnect(self, _link: int, /) -> bool:
        """Return that there is no such link."""
        return False

    def ping_peers(self) -> None:
        """Do nothing."""

    def set_network_active(self, _is_active: bool, /) -> None:  # noqa: FBT001 - the value itself
        """Do nothing."""

    def bans_changed(self) -> None:
        """Do nothing."""

    def broadcast_tx(self, transaction: Transaction) -> None:
        """Do nothing."""

    def broadcast_block(self, block: Block) -> None:
        """Do nothing."""


class NoMiner:
    """The miner of a node that does not mine."""

    def info(self) -> MiningInfo:
        """Return a hash rate of 0."""
        return MiningInfo()


class NoHost:
    """A node without its process: no files, no clock to set, nothing to stop."""

    def is_syncing(self) -> bool:
        """Return that nothing is missing."""
        return False

    def disk_bytes(self) -> int:
        """Return that nothing is on disk."""
        return 0

    def log_bytes(self) -> int:
        """Return that nothing is on disk."""
        return 0

    def node_age_s(self) -> float:
        """Return 0: it is here."""
        return 0.0

    def node_started_at(self) -> int:
        """Return 0."""
        return 0

    def set_clock(self, unix_s: int) -> None:
        """Do nothing."""

    async def save_pool(self) -> Path:
        """Raise FileNotFoundError."""
        raise FileNotFoundError("this node keeps no mempool file")

    def ledger_failed(self, error: LedgerError) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""
