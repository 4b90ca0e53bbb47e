"""JSON-RPC: side branches, and blocks that the user invalidates."""

from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.ledger.db.exclusion import ExclusionError
from chain.primitives.numbers import id_text
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.queries.branches import find_branches
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import hash_argument


async def getchaintips(api: ApiContext) -> Json:
    """List the tips of the best chain and of the branches whose headers are the newest."""
    best = _tip_json(api.state.view.tip, 0, "active")
    others = await find_branches(api)
    return [best, *(_tip_json(other.tip, other.length, other.status) for other in others)]


async def invalidateblock(api: ApiContext, blockhash: str) -> None:
    """Treat a block and its descendants as invalid until reconsiderblock.

    Restarts do not change that. Transactions of disconnected blocks return to the mempool.
    """
    entry = _known(api, blockhash)
    try:
        await api.call(lambda: api.node.invalidate_block(entry, api.clock()))
    except ExclusionError as error:
        raise RpcError(Code.MISC, str(error)) from error


async def reconsiderblock(api: ApiContext, blockhash: str) -> None:
    """Undo invalidateblock for a block, its ancestors and its descendants.

    Blocks that break a rule stay invalid.
    """
    entry = _known(api, blockhash)
    await api.call(lambda: api.node.reconsider_block(entry, api.clock()))


async def preciousblock(api: ApiContext, blockhash: str) -> None:
    """Treat a block as if it were received before others with the same work, until a restart.

    A later call overrides an earlier one. It has no effect on a block with less work than the tip.
    """
    entry = _known(api, blockhash)
    await api.call(lambda: api.node.mark_precious(entry, api.clock()))


def _known(api: ApiContext, blockhash: str) -> BlockTreeEntry:
    entry = api.tree.get(hash_argument(blockhash))
    if entry is None:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Block not found")
    return entry


def _tip_json(tip: BlockTreeEntry, length: int, status: str) -> Json:
    shape = {"height": tip.height, "hash": id_text(tip.id), "branchlen": length}
    return {**shape, "status": status}


METHODS: Final = (
    Method(getchaintips, "Blockchain"),
    Method(invalidateblock, "Blockchain"),
    Method(reconsiderblock, "Blockchain"),
    Method(preciousblock, "Blockchain"),
)
