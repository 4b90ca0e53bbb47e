"""Esplora: transactions, the spends of their outputs, and submission."""

import json
from typing import Final

from fastapi import Request
from fastapi.responses import PlainTextResponse, Response

from chain.primitives.merkle import merkle_branch
from chain.primitives.merkle_block import encode_merkle_block
from chain.primitives.numbers import id_text, outpoint
from chain.service.api.bounded_reads import read_bounded
from chain.service.api.dependencies import Api
from chain.service.api.esplora.replies import (
    CACHE_FINAL,
    CACHE_SHORT,
    FINAL_BLOCKS,
    BytesResponse,
    EsploraError,
    esplora_router,
    hash_of,
    json_reply,
    number_of,
    raw,
    rendered,
    text,
)
from chain.service.api.esplora_json import (
    UNCONFIRMED,
    MerkleProof,
    Outspend,
    Status,
    Tx,
    status_of,
)
from chain.service.api.exact_json import fixed_point, write_json
from chain.service.api.package import submit_package
from chain.service.api.snapshot import (
    LOOKUP_BYTES,
    FoundTx,
    NodeSnapshot,
    Spender,
    open_snapshot,
)
from chain.service.api.submit import SubmitError, send_transaction
from chain.service.api.tx_text import tx_text

_OUTPUT_MAX: Final = 0xFFFFFFFF
_RATE_DECIMALS: Final = 3  # grains per vB that are whole grains per kvB
_COIN_DECIMALS: Final = 8
_HEX_BODY: Final = {
    "description": "the transaction's bytes in hex, for any Content-Type",
    "required": True,
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
_HEX_LIST: Final = {
    "description": "transactions' bytes in hex, for any Content-Type",
    "required": True,
    "content": {"application/json": {"schema": {"type": "array", "items": {"type": "string"}}}},
}


class JsonResponse(Response):
    """A reply of JSON that is already encoded."""

    media_type = "application/json"


router = esplora_router("transactions")


@router.get("/tx/{txid}", response_model=Tx)
async def transaction(txid: str, api: Api) -> Response:
    """Return a transaction of the mempool or the best chain."""

    def read(snapshot: NodeSnapshot) -> Response:
        found = _find(snapshot, txid)
        shown = tx_text(found.tx, found.coins, found.block, snapshot.prefixes)
        return rendered(shown, _cache(snapshot, found), snapshot.reserved)

    return await read_bounded(api, read)


@router.get("/tx/{txid}/status", response_model=Status)
async def transaction_status(txid: str, api: Api) -> Response:
    """Return whether a transaction is confirmed; an unknown one is not."""
    wanted = hash_of(txid)

    def read(snapshot: NodeSnapshot) -> Response:
        located = snapshot.ledger.find(wanted)
        if located is None:
            return json_reply(UNCONFIRMED)
        return json_reply(status_of(snapshot.tip.ancestor(located.height)))

    return await read_bounded(api, read)


@router.get("/tx/{txid}/hex", response_class=PlainTextResponse)
async def transaction_hex(txid: str, api: Api) -> Response:
    """Return a transaction's bytes in hex."""

    def read(snapshot: NodeSnapshot) -> Response:
        found = _find(snapshot, txid)
        return text(found.tx.raw.hex(), _cache(snapshot, found), snapshot.reserved)

    return await read_bounded(api, read)


@router.get("/tx/{txid}/raw", response_class=BytesResponse)
async def transaction_raw(txid: str, api: Api) -> Response:
    """Return a transaction's bytes."""

    def read(snapshot: NodeSnapshot) -> Response:
        found = _find(snapshot, txid)
        return raw(found.tx.raw, _cache(snapshot, found), snapshot.reserved)

    return await read_bounded(api, read)


@router.get("/tx/{txid}/merkle-proof", response_model=MerkleProof)
def merkle_proof(txid: str, api: Api) -> Response:
    """Return the Merkle branch that proves a transaction to be in its block, lowest first."""
    wanted = hash_of(txid)
    with open_snapshot(api) as snapshot:
        located = snapshot.ledger.find(wanted)
        if located is None:
            raise EsploraError(404, "Transaction not found or is unconfirmed")
        block = snapshot.block(snapshot.tip.ancestor(located.height))
        ids = block.txids
        branch = merkle_branch(ids, located.position)
        proof = MerkleProof(
            block_height=located.height,
            merkle=[id_text(sibling) for sibling in branch],
            pos=located.position,
        )
        return json_reply(proof)


@router.get("/tx/{txid}/merkleblock-proof", response_class=PlainTextResponse)
def merkleblock_proof(txid: str, api: Api) -> Response:
    """Return the proof that a transaction is in its block, in hex (Bitcoin: CMerkleBlock)."""
    wanted = hash_of(txid)
    with open_snapshot(api) as snapshot:
        located = snapshot.ledger.find(wanted)
        if located is None:
            raise EsploraError(404, "Transaction not found or is unconfirmed")
        entry = snapshot.tip.ancestor(located.height)
        ids = snapshot.block(entry).txids
        return text(encode_merkle_block(entry.header, ids, {wanted}).hex())


@router.get("/tx/{txid}/outspend/{vout}", response_model=Outspend)
async def outspend(txid: str, vout: str, api: Api) -> Response:
    """Return the spend of an output; an unknown output counts as unspent."""
    wanted, index = hash_of(txid), number_of(vout)
    if index > _OUTPUT_MAX:
        raise EsploraError(400, "Invalid number")
    point = outpoint(wanted, index)
    return await read_bounded(api, lambda snapshot: json_reply(_outspend(snapshot.spent(point))))


@router.get("/tx/{txid}/outspends", response_model=list[Outspend])
async def outspends(txid: str, api: Api) -> Response:
    """Return the spend of each output of a transaction."""

    def read(snapshot: NodeSnapshot) -> Response:
        tx = _find(snapshot, txid).tx
        snapshot.reserved.check(len(tx.outputs) * LOOKUP_BYTES)
        points = (outpoint(tx.txid, index) for index in range(len(tx.outputs)))
        return json_reply([_outspend(snapshot.spent(point)) for point in points])

    return await read_bounded(api, read)


@router.post("/tx", response_class=PlainTextResponse, openapi_extra={"requestBody": _HEX_BODY})
async def send(request: Request, api: Api) -> Response:
    """Submit a transaction, in hex, to the network, and return its id as text."""
    body = await request.body()
    try:
        raw_tx = bytes.fromhex(body.decode("ascii").strip())
    except ValueError:
        raise EsploraError(400, "Invalid hex string") from None
    try:
        tx = await send_transaction(api, raw_tx)
        await api.wait_for_commit()
    except SubmitError as error:
        raise EsploraError(400, f"sendrawtransaction RPC error: {error.to_json()}") from error
    return text(id_text(tx.txid), "no-store")


@router.post("/txs/package", response_class=JsonResponse, openapi_extra={"requestBody": _HEX_LIST})
async def send_package(
    request: Request, api: Api, maxfeerate: str = "", maxburnamount: str = ""
) -> Response:
    """Submit a transaction with its parents, a JSON list of hex, and return the result of each.

    `maxfeerate` is in grains per vB, `maxburnamount` in coins. Returns what `submitpackage` does.
    """
    try:
        package = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise EsploraError(400, "Invalid JSON") from None
    if not (isinstance(package, list) and all(isinstance(item, str) for item in package)):
        raise EsploraError(400, "Invalid JSON: it must be a list of transactions in hex")
    bounds: dict[str, int] = {}
    if maxfeerate:
        bounds["fee_rate_max"] = _grains(maxfeerate, _RATE_DECIMALS)
    if maxburnamount:
        bounds["burnt_max"] = _grains(maxburnamount, _COIN_DECIMALS)
    try:
        result = await submit_package(api, package, **bounds)
        await api.wait_for_commit()
    except SubmitError as error:
        quoted = json.dumps({"code": error.code, "message": error.message})
        raise EsploraError(400, f"submitpackage RPC error: {quoted}") from error
    return JsonResponse(write_json(result), headers={"Cache-Control": "no-store"})


def _grains(text: str, decimals: int) -> int:
    grains = fixed_point(text, decimals)
    if grains is None or grains < 0:
        raise EsploraError(400, "Invalid number")
    return grains


def _find(snapshot: NodeSnapshot, txid: str) -> FoundTx:
    found = snapshot.find(hash_of(txid))
    if found is None:
        raise EsploraError(404, "Transaction not found")
    snapshot.reserved.take(len(found.tx.raw))
    return found


def _outspend(spent: Spender | None) -> Outspend:
    if spent is None:
        return Outspend(spent=False)
    status = status_of(spent.block)
    return Outspend(spent=True, txid=id_text(spent.txid), vin=spent.vin, status=status)


def _cache(snapshot: NodeSnapshot, found: FoundTx) -> str:
    is_final = found.block is not None and snapshot.depth(found.block) >= FINAL_BLOCKS
    return CACHE_FINAL if is_final else CACHE_SHORT
