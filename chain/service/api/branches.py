"""Stale branches: the tree of headers beside the best chain."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from anyio import to_thread

from chain.consensus.entry import BlockTreeEntry, fork_point
from chain.ledger.tree import HeaderTree
from chain.service.api.context import ApiContext

HEADERS_SEARCHED: Final = 2_000  # the newest headers searched
BRANCHES_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch beside the best chain."""

    tip: BlockTreeEntry
    length: int  # blocks from the fork
    status: str  # as in getchaintips


async def find_branches(api: ApiContext) -> list[Branch]:
    """Return the branches among the newest headers, the newest first."""
    latest = await api.call(lambda: api.tree.latest(HEADERS_SEARCHED))
    return await to_thread.run_sync(_search, api.tree, latest, api.node.view.tip)


def _search(
    tree: HeaderTree, latest: Sequence[BlockTreeEntry], best: BlockTreeEntry
) -> list[Branch]:
    stale = [entry for entry in latest if not entry.is_ancestor_of(best)]
    inner = {entry.parent for entry in stale}
    tips = [entry for entry in stale if entry not in inner][:BRANCHES_MAX]
    return [
        Branch(tip, tip.height - fork_point(tip, best).height, _status(tree, tip)) for tip in tips
    ]


def _status(tree: HeaderTree, tip: BlockTreeEntry) -> str:
    if tree.is_invalid(tip.id):
        return "invalid"
    return "valid-fork" if tree.is_stored(tip.id) else "headers-only"
