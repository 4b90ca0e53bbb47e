"""JSON-RPC: the mempool and its fee estimates."""

from collections.abc import Iterable
from typing import Final

from chain.node.entry import PoolEntry
from chain.node.packages import ancestors, descendants
from chain.node.pool import Pool
from chain.primitives.numbers import id_text
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import CoinValue, Json
from chain.service.api.queries.fees import rate_for
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import hash_argument
from chain.service.api.snapshot import NodeSnapshot

_TARGET_MAX: Final = 1008
_MODES: Final = ("unset", "economical", "conservative")


def getmempoolinfo(snapshot: NodeSnapshot) -> Json:
    """Return the mempool's totals and limits."""
    pool, policy = snapshot.view.pool, snapshot.api.state.policy(snapshot.view)
    return {
        "loaded": True,
        "size": pool.count,
        "bytes": pool.vsize,
        "usage": pool.usage_bytes,
        "total_fee": CoinValue(pool.fees),
        "maxmempool": policy.pool_bytes_max,
        "mempoolminfee": CoinValue(snapshot.feerate_min),
        "minrelaytxfee": CoinValue(policy.relay_feerate_min),
        "incrementalrelayfee": CoinValue(policy.incremental_feerate),
        "unbroadcastcount": 0,
        "fullrbf": True,
    }


def getrawmempool(
    snapshot: NodeSnapshot, *, verbose: bool = False, mempool_sequence: bool = False
) -> Json:
    """List the ids of the mempool's transactions; if verbose, also their details."""
    pool = snapshot.view.pool
    if verbose and mempool_sequence:
        problem = "Verbose results cannot contain mempool sequence values."
        raise RpcError(Code.INVALID_PARAMETER, problem)
    if verbose:
        return {id_text(entry.txid): entry_json(entry, pool) for entry in pool.entries()}
    ids = [id_text(entry.txid) for entry in pool.entries()]
    return {"txids": ids, "mempool_sequence": snapshot.view.sequence} if mempool_sequence else ids


def getmempoolentry(snapshot: NodeSnapshot, txid: str) -> Json:
    """Return the details of a mempool transaction."""
    return entry_json(_pool_entry(snapshot, txid), snapshot.view.pool)


def getmempoolancestors(snapshot: NodeSnapshot, txid: str, *, verbose: bool = False) -> Json:
    """List the ancestors of a mempool transaction; if verbose, also their details."""
    pool = snapshot.view.pool
    found = ancestors(pool, _pool_entry(snapshot, txid).transaction)
    return _listed(found.values(), pool, verbose=verbose)


def getmempooldescendants(snapshot: NodeSnapshot, txid: str, *, verbose: bool = False) -> Json:
    """List the descendants of a mempool transaction; if verbose, also their details."""
    pool, entry = snapshot.view.pool, _pool_entry(snapshot, txid)
    found = descendants(pool, [entry])
    return _listed([one for one in found.values() if one is not entry], pool, verbose=verbose)


async def savemempool(api: ApiContext) -> Json:
    """Write the mempool to disk, as after each change anyway; return the file's path."""
    try:
        path = await api.host.save_pool()
    except OSError as error:
        problem = f"Unable to dump mempool to disk: {error.strerror or error}"
        raise RpcError(Code.MISC, problem) from error
    return {"filename": str(path)}


def estimatesmartfee(
    snapshot: NodeSnapshot, conf_target: int, estimate_mode: str = "economical"
) -> Json:
    """Estimate the fee rate, in coins per kvB, for confirmation within `conf_target` blocks.

    Mode "conservative" uses half of that target; "unset" is the same as "economical".
    """
    if estimate_mode.lower() not in _MODES:
        modes = ", ".join(f'"{mode}"' for mode in _MODES)
        problem = f"Invalid estimate_mode parameter, must be one of: {modes}"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    if not 1 <= conf_target <= _TARGET_MAX:
        problem = f"Invalid conf_target, must be between 1 and {_TARGET_MAX}"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    target = max(conf_target // 2, 1) if estimate_mode.lower() == _MODES[-1] else conf_target
    return {
        "feerate": CoinValue(rate_for(snapshot.api, snapshot.view, target)),
        "blocks": conf_target,
    }


def entry_json(entry: PoolEntry, pool: Pool) -> Json:
    """Return Core's object for a transaction in the mempool."""
    ancestors, descendants = entry.ancestors, entry.descendants
    return {
        "vsize": entry.vsize,
        "weight": entry.weight,
        "time": entry.time,
        "height": entry.height,
        "descendantcount": descendants.count,
        "descendantsize": descendants.vsize,
        "ancestorcount": ancestors.count,
        "ancestorsize": ancestors.vsize,
        "wtxid": id_text(entry.wtxid),
        "fees": {
            "base": CoinValue(entry.fee),
            "modified": CoinValue(entry.modified_fee),
            "ancestor": CoinValue(ancestors.modified_fees),
            "descendant": CoinValue(descendants.modified_fees),
        },
        "depends": [id_text(parent.txid) for parent in pool.parents(entry.transaction)],
        "spentby": [id_text(child.txid) for child in pool.children(entry.transaction)],
        "bip125-replaceable": True,
        "unbroadcast": False,
    }


def _pool_entry(snapshot: NodeSnapshot, txid: str) -> PoolEntry:
    entry = snapshot.view.pool.get(hash_argument(txid, "txid"))
    if entry is None:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Transaction not in mempool")
    return entry


def _listed(entries: Iterable[PoolEntry], pool: Pool, *, verbose: bool) -> Json:
    if verbose:
        return {id_text(entry.txid): entry_json(entry, pool) for entry in entries}
    return [id_text(entry.txid) for entry in entries]


METHODS: Final = (
    Method(getmempoolinfo, "Blockchain", is_bounded=True),
    Method(getrawmempool, "Blockchain"),
    Method(getmempoolentry, "Blockchain"),
    Method(getmempoolancestors, "Blockchain"),
    Method(getmempooldescendants, "Blockchain"),
    Method(savemempool, "Blockchain"),
    Method(estimatesmartfee, "Util"),
)
