"""Chain and mempool of a node in this process, as it is: a StatePort.

Only what changes the node looks at it so; reads are of what is committed (chain/service/readers).

The ledger thread commits a block and then publishes tip and mempool together. A reader takes the
published view and opens a snapshot of the database; both describe one instant only if they have
the same tip; then no transaction is in both places or in neither.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from anyio import to_thread

from chain.consensus.entry import BlockTreeEntry
from chain.ledger.db.node_state import Version
from chain.ledger.reader import Reader
from chain.ledger.tree import HeaderTree
from chain.node.node import Node, View
from chain.node.policy import Policy
from chain.primitives.numbers import Hash32
from chain.service.api.events import EventsPort
from chain.service.api.state.port import (
    ON_THREAD,
    WAIT_S_MAX,
    ChainView,
    CurrentView,
    Instant,
    ReadLimits,
    SnapshotUnavailableError,
    StaleTip,
)
from chain.service.ledger_thread import Caller

_PAUSE_S: Final = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveNode:
    """The node in this process, and what belongs to it."""

    node: Node
    events: EventsPort  # its changes before they are committed, for calls that wait
    tree: HeaderTree
    reader: Reader
    call: Caller  # LedgerThread.call
    call_when_idle: Caller  # LedgerThread.call_when_idle


class LiveState:
    """The state of a node in this process."""

    def __init__(self, live: LiveNode) -> None:
        self._live = live

    @property
    def view(self) -> View:
        """The view that was published last."""
        return self._live.node.view

    @property
    def version(self) -> Version | None:
        """None: a view may be ahead of what is committed."""
        return None

    @contextmanager
    def snapshot(self, limits: ReadLimits = ON_THREAD, /) -> Iterator[Instant]:
        """Open a snapshot with the view of the same tip. Raises SnapshotUnavailableError."""
        live = self._live
        if live.reader.is_on_server and not limits.waits:
            raise SnapshotUnavailableError("reading from a server takes a worker thread")
        deadline = time.monotonic() + (WAIT_S_MAX if limits.waits else 0)
        while True:
            view = live.node.view
            with live.reader.snapshot(
                limits.read_s, limits.bytes_max, waits=limits.waits
            ) as snapshot:
                if snapshot.tip_id == view.tip.id:
                    yield Instant(view, snapshot, live.tree)
                    return
            if time.monotonic() >= deadline:
                raise SnapshotUnavailableError("the chain is changing too fast to be read")
            time.sleep(_PAUSE_S)  # a commit is about to be published

    def current_view(self, _limits: ReadLimits, /) -> CurrentView:
        return CurrentView(self.view, None)

    def feerate_min(self, _view: ChainView, now: int, /) -> int:
        return self._live.node.feerate_min(now)

    def policy(self, _view: ChainView, /) -> Policy:
        """Return the owner's limits."""
        return self._live.node.policy

    def deltas(self, _view: ChainView, /) -> Mapping[Hash32, int]:
        return self._live.node.deltas()

    async def stale_tips(self, searched: int, /) -> Sequence[StaleTip]:
        tree = self._live.tree
        latest = await self._live.call(lambda: tree.latest(searched))
        return await to_thread.run_sync(_stale, tree, latest, self.view.tip)


def _stale(
    tree: HeaderTree, latest: Sequence[BlockTreeEntry], best: BlockTreeEntry
) -> list[StaleTip]:
    stale = [entry for entry in latest if not entry.is_ancestor_of(best)]
    inner = {entry.parent for entry in stale}
    return [StaleTip(entry, _status(tree, entry)) for entry in stale if entry not in inner]


def _status(tree: HeaderTree, tip: BlockTreeEntry) -> str:
    if tree.is_invalid(tip.id):
        return "invalid"
    return "valid-fork" if tree.is_stored(tip.id) else "headers-only"
