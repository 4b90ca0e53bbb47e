"""JSON-RPC: fee deltas, by which the user changes the order in which transactions are mined."""

from decimal import Decimal
from typing import Final

from chain.node.deltas import DELTA_MAX, DELTA_MIN, DeltasFullError
from chain.primitives.numbers import id_text
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.rpc.arguments import Int64
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import hash_argument
from chain.service.api.snapshot import NodeSnapshot


async def prioritisetransaction(
    api: ApiContext, txid: str, dummy: int | Decimal = 0, *, fee_delta: Int64
) -> bool:
    """Let a transaction, in the mempool or not, count as if its fee were so many grains higher.

    Nobody pays the difference, which may be negative. Deltas of one transaction add up; `dummy` is
    0 or null. A package with a negative modified fee is not mined.
    """
    wanted = hash_argument(txid, "txid")
    if not DELTA_MIN <= fee_delta <= DELTA_MAX:
        raise RpcError(Code.MISC, "JSON integer out of range")
    if dummy != 0:
        problem = (
            "Priority is no longer supported, dummy argument to prioritisetransaction must be 0."
        )
        raise RpcError(Code.INVALID_PARAMETER, problem)
    try:
        await api.call(lambda: api.node.prioritise(wanted, fee_delta))
    except DeltasFullError as error:
        raise RpcError(Code.MISC, str(error)) from error
    return True


def getprioritisedtransactions(snapshot: NodeSnapshot) -> Json:
    """List the fee deltas of prioritisetransaction, and modified fees of the mempool."""
    shown: dict[str, Json] = {}
    for txid, grains in snapshot.api.state.deltas(snapshot.view).items():
        entry = snapshot.view.pool.get(txid)
        shown[id_text(txid)] = shape = {"fee_delta": grains, "in_mempool": entry is not None}
        if entry is not None:
            shape["modified_fee"] = entry.modified_fee
    return shown


METHODS: Final = (
    Method(prioritisetransaction, "Mining"),
    Method(getprioritisedtransactions, "Mining"),
)
