"""What is said of a node's synchronization and mining: 100 % of nothing is not in sync."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncState:
    """What the words depend on."""

    network: str
    height: int
    peers: int
    is_syncing: bool
    is_mining: bool  # with blocks of its own, whoever has no peers waits for nobody

    @property
    def is_alone(self) -> bool:
        """Whether nobody is there who could know of better blocks; on regtest that is usual."""
        return not self.peers and (not self.height or self.network != "regtest")

    @property
    def words(self) -> str:
        """The state in a few words."""
        if self.is_alone:
            is_first = self.is_mining and self.height
            return "mining without peers" if is_first else "waiting for peers"
        return "synchronising" if self.is_syncing else "in sync"


def mining_words(threads: int, waits_for: str) -> str:
    """Return the state of a node's own miner: off, on, or why it waits."""
    if not threads:
        return "off"
    return f"waiting: {waits_for}" if waits_for else "on"
