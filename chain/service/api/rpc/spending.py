"""JSON-RPC: which transaction spends an output, in the mempool or in the chain."""

from typing import Final

from chain.primitives.numbers import id_text, outpoint
from chain.service.api.moment import Moment
from chain.service.api.rpc.errors import Code, RpcError
from chain.service.api.rpc.values import Json, hash_argument

OUTPUTS_ASKED_MAX: Final = 1_000
SPENDING_BYTES_MAX: Final = 16_000_000  # of transactions in one reply
_INT_LIMIT: Final = 1 << 31  # Core reads an int
_TYPE_NAMES: Final = {  # by the first that fits: true is no number in JSON
    bool: "bool",
    str: "string",
    list: "array",
    dict: "object",
    object: "number",
}
_OPTIONS: Final = ("mempool_only", "return_spending_tx")


def gettxspendingprevout(
    moment: Moment,
    outputs: list[Json],
    options: dict[str, Json] | None = None,
) -> Json:
    """Tell for each output, given as {txid, vout}, which transaction spends it.

    Of the options, `mempool_only` looks at no chain, and `return_spending_tx` adds its hex.
    """
    if not outputs:
        raise RpcError(Code.INVALID_PARAMETER, "Invalid parameter, outputs are missing")
    if len(outputs) > OUTPUTS_ASKED_MAX:
        problem = f"Invalid parameter, at most {OUTPUTS_ASKED_MAX} outputs"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    chosen = dict.fromkeys(_OPTIONS, False) | _checked(options or {})
    shapes, left = [], SPENDING_BYTES_MAX
    for output in outputs:
        shape = _spending(moment, output, is_chain_too=not chosen["mempool_only"])
        if chosen["return_spending_tx"] and "spendingtxid" in shape:
            shape["spendingtx"] = raw = _hex(moment, shape["spendingtxid"])
            left -= len(raw) // 2
        if left < 0:
            problem = f"over {SPENDING_BYTES_MAX} bytes of transactions: ask for fewer outputs"
            raise RpcError(Code.INVALID_PARAMETER, problem)
        shapes.append(shape)
    return shapes


def _checked(options: dict[str, Json]) -> dict[str, bool]:
    """Return the options that are set. Raises RpcError TYPE: unknown, or not true or false."""
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name not in _OPTIONS:
            raise RpcError(Code.TYPE, f"Unexpected key {name[:64]}")
        if type(value) is not bool:
            raise _wrong_type(name, value, "bool")
    return given


def _spending(moment: Moment, output: Json, *, is_chain_too: bool) -> dict[str, Json]:
    txid, vout = _members(output)
    if not -_INT_LIMIT <= vout < _INT_LIMIT:
        raise RpcError(Code.MISC, "JSON integer out of range")
    if vout < 0:
        raise RpcError(Code.INVALID_PARAMETER, "Invalid parameter, vout cannot be negative")
    point = outpoint(hash_argument(txid, "txid"), vout)
    shape: dict[str, Json] = {"txid": txid, "vout": vout}
    waiting = moment.view.pool.spender(point)
    if waiting is not None:
        return {**shape, "spendingtxid": id_text(waiting.txid)}
    spender = moment.snapshot.spender(point) if is_chain_too else None
    if spender is None:
        return shape
    found = {"spendingtxid": id_text(spender.txid), "blockhash": id_text(spender.block_id)}
    return {**shape, **found}


def _members(output: Json) -> tuple[str, int]:
    """Return what an output's object says. Raises RpcError TYPE (Bitcoin: RPCTypeCheckObj)."""
    if not isinstance(output, dict):
        raise RpcError(Code.TYPE, "JSON value is not of expected type object")
    for name in ("txid", "vout"):
        if output.get(name) is None:
            raise RpcError(Code.TYPE, f"Missing {name}")
    for name in output:
        if name not in {"txid", "vout"}:
            raise RpcError(Code.TYPE, f"Unexpected key {name[:64]}")
    txid, vout = output["txid"], output["vout"]
    if not isinstance(txid, str):
        raise _wrong_type("txid", txid, "string")
    if type(vout) is not int:
        raise _wrong_type("vout", vout, "number")
    return txid, vout


def _wrong_type(name: str, value: Json, expected: str) -> RpcError:
    given = next(word for kind, word in _TYPE_NAMES.items() if isinstance(value, kind))
    problem = f"JSON value of type {given} for field {name} is not of expected type {expected}"
    return RpcError(Code.TYPE, problem)


def _hex(moment: Moment, txid: str) -> str:
    found = moment.find(hash_argument(txid))
    assert found is not None, "the same moment knows that it spends"
    return found.tx.raw.hex()
