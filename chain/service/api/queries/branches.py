"""Stale branches: the tree of headers beside the best chain."""

from dataclasses import dataclass
from typing import Final

from anyio import to_thread

from chain.consensus.entry import BlockTreeEntry, fork_point
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
    best = api.state.view.tip
    tips = (await api.state.stale_tips(HEADERS_SEARCHED))[:BRANCHES_MAX]
    return await to_thread.run_sync(
        lambda: [Branch(t.entry, _length(t.entry, best), t.status) for t in tips]
    )


def _length(tip: BlockTreeEntry, best: BlockTreeEntry) -> int:
    return tip.height - fork_point(tip, best).height
