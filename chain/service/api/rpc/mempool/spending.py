"""JSON-RPC: which transaction spends an output, in the mempool or in the chain."""

from typing import Final, TypedDict

from chain.primitives.numbers import id_text, outpoint
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import hash_argument
from chain.service.api.snapshot import NodeSnapshot

OUTPUTS_PER_CALL_MAX: Final = 1_000
SPENDING_BYTES_MAX: Final = 16_000_000  # of all transactions in one reply


class _Output(TypedDict):
    txid: str
    vout: int


class _Options(TypedDict, total=False):
    mempool_only: bool
    return_spending_tx: bool


def gettxspendingprevout(
    snapshot: NodeSnapshot, outputs: list[_Output], options: _Options | None = None
) -> Json:
    """Return for each output {txid, vout} the transaction that spends it.

    Options: `mempool_only` ignores the chain, `return_spending_tx` adds the spender's hex.
    """
    if not outputs:
        raise RpcError(Code.INVALID_PARAMETER, "Invalid parameter, outputs are missing")
    if len(outputs) > OUTPUTS_PER_CALL_MAX:
        problem = f"Invalid parameter, at most {OUTPUTS_PER_CALL_MAX} outputs"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    chosen = options or _Options()
    found, left = [], SPENDING_BYTES_MAX
    for output in outputs:
        shape = _spending(snapshot, output, is_chain_too=not chosen.get("mempool_only", False))
        if chosen.get("return_spending_tx", False) and "spendingtxid" in shape:
            shape["spendingtx"] = raw = _hex(snapshot, shape["spendingtxid"])
            left -= len(raw) // 2
        if left < 0:
            problem = f"over {SPENDING_BYTES_MAX} bytes of transactions: request fewer outputs"
            raise RpcError(Code.INVALID_PARAMETER, problem)
        found.append(shape)
    return found


def _spending(snapshot: NodeSnapshot, output: _Output, *, is_chain_too: bool) -> dict[str, Json]:
    txid, vout = output["txid"], output["vout"]
    if vout < 0:
        raise RpcError(Code.INVALID_PARAMETER, "Invalid parameter, vout cannot be negative")
    point = outpoint(hash_argument(txid, "txid"), vout)
    shape: dict[str, Json] = {"txid": txid, "vout": vout}
    pool_spender = snapshot.view.pool.spender(point)
    if pool_spender is not None:
        return {**shape, "spendingtxid": id_text(pool_spender.txid)}
    spender = snapshot.ledger.spender(point) if is_chain_too else None
    if spender is None:
        return shape
    found = {"spendingtxid": id_text(spender.txid), "blockhash": id_text(spender.block_id)}
    return {**shape, **found}


def _hex(snapshot: NodeSnapshot, txid: str) -> str:
    found = snapshot.find(hash_argument(txid))
    assert found is not None, "the same snapshot has the spender"
    return found.tx.raw.hex()


METHODS: Final = (Method(gettxspendingprevout, "Blockchain"),)
