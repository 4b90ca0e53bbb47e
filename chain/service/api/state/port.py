"""The port to chain and mempool: of a node in this process, or of a follower.

A node publishes views of what it holds in memory; a follower reads the database that a node in
another process writes. The API does not know which of the two it has.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from chain.consensus.entry import BlockTreeEntry
from chain.ledger.db.node_state import Version
from chain.ledger.reader import LedgerSnapshot
from chain.node.policy import Policy
from chain.node.pool import Pool
from chain.primitives.numbers import Hash32

WAIT_S_MAX: Final = 2.0  # for a snapshot of chain and mempool at one instant


class SnapshotUnavailableError(Exception):
    """The chain changed faster than it could be read, or too many read; the client should retry."""


class NotReadYetError(SnapshotUnavailableError):
    """The tip or the mempool of the database's version must be read first, which is under way."""

    def __init__(self, version: Version) -> None:
        super().__init__("the chain changes just now")
        self.version = version


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """How long and how much may be read in one snapshot."""

    waits: bool  # for a commit that is about to be published
    read_s: float | None = None  # None: as long as the ledger's reader allows
    bytes_max: int | None = None  # of data for the reply, and of data read for it; None: any number


ON_THREAD: Final = ReadLimits(waits=True)


class HasHeight(Protocol):
    """A header, as far as it is known."""

    @property
    def height(self) -> int:
        """Its height."""


class ChainView(Protocol):
    """Tip and mempool at one instant, for any thread."""

    @property
    def tip(self) -> BlockTreeEntry:
        """The best chain's last block."""

    @property
    def best_header(self) -> HasHeight:
        """The header with the most work."""

    @property
    def pool(self) -> Pool:
        """The mempool on top of the tip."""

    @property
    def sequence(self) -> int:
        """A number that increases with each view of one process."""

    @property
    def block_feerates(self) -> tuple[int, ...]:
        """block_feerate_min of the last blocks, newest first."""


class HeaderLookup(Protocol):
    """The headers of all branches."""

    def get(self, block_id: Hash32, /) -> BlockTreeEntry | None:
        """Return a header, valid or not, or None if it is unknown."""


@dataclass(frozen=True, slots=True)
class Instant:
    """Chain and mempool as of one commit."""

    view: ChainView
    ledger: LedgerSnapshot
    headers: HeaderLookup
    version: Version | None = None  # None: the view may be ahead of what is committed


class CurrentView(NamedTuple):
    """Tip and mempool at present, without the ledger."""

    view: ChainView
    version: Version | None  # None: the view may be ahead of what is committed


@dataclass(frozen=True, slots=True)
class StaleTip:
    """A header of a branch that is not the best chain's, and what is known of its block."""

    entry: BlockTreeEntry
    status: str  # as in getchaintips


class StatePort(Protocol):
    """Chain and mempool. Any thread may call it."""

    @property
    def view(self) -> ChainView:
        """The latest view; in a follower at most some 0.1 s old."""

    @property
    def version(self) -> Version | None:
        """The version of the latest view; None if views have none."""

    def snapshot(self, limits: ReadLimits = ON_THREAD, /) -> AbstractContextManager[Instant]:
        """Open a snapshot, on a worker thread if the limits are those of one.

        Raises SnapshotUnavailableError, and what Reader.snapshot raises.
        """

    def current_view(self, limits: ReadLimits, /) -> CurrentView:
        """Return the present view; on the event loop only. Raises what `snapshot` raises."""

    def feerate_min(self, view: ChainView, now: int, /) -> int:
        """Return the lowest feerate that the mempool accepts now, in grains per 1000 vB."""

    def policy(self, view: ChainView, /) -> Policy:
        """Return the limits of the node."""

    def deltas(self, view: ChainView, /) -> Mapping[Hash32, int]:
        """Return the fee deltas by txid."""

    async def stale_tips(self, searched: int, /) -> Sequence[StaleTip]:
        """Return the tips beside the best chain among the newest headers, the newest first."""
