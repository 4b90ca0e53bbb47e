"""JSON-RPC: transactions."""

from contextlib import suppress
from typing import Final

from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import id_text
from chain.primitives.transaction import (
    Transaction,
    decode_base_transaction,
    decode_transaction,
)
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import CoinValue, Json
from chain.service.api.package import decode_package
from chain.service.api.rpc.arguments import CoinAmount, FeeRate
from chain.service.api.rpc.core_json import tx_json
from chain.service.api.rpc.errors import RpcError, rpc_error
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import hash_argument, hex_argument
from chain.service.api.snapshot import FoundTx, NodeSnapshot
from chain.service.api.submit import (
    FEE_RATE_MAX,
    SubmitError,
    check_burnt,
    check_rate,
    decode_hex,
    send_transaction,
    try_transaction,
)


def getrawtransaction(
    snapshot: NodeSnapshot, txid: str, *, verbosity: int | bool = 0, blockhash: str | None = None
) -> Json:
    """Return a transaction: 0 or less in hex, 1 as an object, 2 with what it spends too."""
    found = _find(snapshot, txid, blockhash)
    if verbosity <= 0:
        return found.tx.raw.hex()
    coins = found.coins if verbosity > 1 else ()
    shape = tx_json(found.tx, snapshot.api.params, coins)
    shape["hex"] = found.tx.raw.hex()
    block = found.block
    if block is None:
        return shape
    is_best = snapshot.is_best(block)
    if blockhash is not None:
        shape["in_active_chain"] = is_best
    shape["blockhash"] = id_text(block.id)
    shape["confirmations"] = snapshot.depth(block) + 1 if is_best else 0
    shape["time"] = block.header.time
    shape["blocktime"] = block.header.time
    return shape


def decoderawtransaction(
    snapshot: NodeSnapshot, hexstring: str, *, iswitness: bool | None = None
) -> Json:
    """Return a transaction in hex as an object.

    A transaction without inputs looks like one with witnesses: `iswitness` says which one it is.
    Without it, both are tried.
    """
    return tx_json(_decode_either(hexstring, iswitness=iswitness), snapshot.api.params)


async def sendrawtransaction(
    api: ApiContext,
    hexstring: str,
    maxfeerate: FeeRate = FEE_RATE_MAX,
    maxburnamount: CoinAmount = 0,
) -> str:
    """Submit a transaction and return its id; `maxfeerate` in coins per kvB, 0: no limit."""
    try:
        tx = decode_hex(hexstring)
        check_burnt(tx, maxburnamount)
        await send_transaction(api, tx.raw, maxfeerate)
    except SubmitError as error:
        raise rpc_error(error) from error
    return id_text(tx.txid)


async def testmempoolaccept(
    api: ApiContext,
    rawtxs: list[str],
    maxfeerate: FeeRate = FEE_RATE_MAX,  # noqa: PT028 - not a test
) -> Json:
    """Return whether the mempool would accept each transaction by itself; nothing is changed."""
    try:
        transactions = decode_package(rawtxs)
    except SubmitError as error:
        raise rpc_error(error) from error
    return [await _judge(api, tx, maxfeerate) for tx in transactions]


async def _judge(api: ApiContext, tx: Transaction, fee_rate_max: int) -> Json:
    shape: dict[str, Json] = {"txid": id_text(tx.txid), "wtxid": id_text(tx.wtxid)}
    try:
        entry = await try_transaction(api, tx)
        check_rate(entry.fee, entry.vsize, fee_rate_max)
    except SubmitError as error:
        return {**shape, "allowed": False, "reject-reason": error.reason}
    fees: Json = {"base": CoinValue(entry.fee)}
    fees["effective-feerate"] = CoinValue(entry.alone.modified_feerate)
    fees["effective-includes"] = [shape["wtxid"]]
    return {**shape, "allowed": True, "vsize": entry.vsize, "fees": fees}


def _find(snapshot: NodeSnapshot, txid: str, blockhash: str | None) -> FoundTx:
    wanted = hash_argument(txid, "parameter 1")
    if blockhash is None:
        found = snapshot.find(wanted)
        where = "mempool or blockchain transaction"
    else:
        entry = snapshot.stored(hash_argument(blockhash, "parameter 3"))
        if entry is None:
            raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Block hash not found")
        found = snapshot.find_in(entry, wanted)
        where = "transaction found in the provided block"
    if found is None:
        hint = "Use gettransaction for wallet transactions."
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, f"No such {where}. {hint}")
    return found


def _decode_either(hexstring: str, *, iswitness: bool | None) -> Transaction:
    """Return a transaction read with witness or, if that fails, without (Bitcoin: DecodeTx).

    Bytes that can be read both ways (a chance of one in millions) are read with witness.
    """
    raw = hex_argument(hexstring, "TX decode failed")
    if iswitness is not False:
        with suppress(DecodeError):
            return decode_transaction(raw)
    if iswitness is not True:
        with suppress(DecodeError):
            return decode_base_transaction(raw)
    raise RpcError(Code.DESERIALIZATION, "TX decode failed")


METHODS: Final = (
    Method(getrawtransaction, "Rawtransactions", is_bounded=True),
    Method(decoderawtransaction, "Rawtransactions"),
    Method(sendrawtransaction, "Rawtransactions"),
    Method(testmempoolaccept, "Rawtransactions"),
)
