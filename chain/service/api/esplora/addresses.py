"""Esplora: one script's history and coins, by address or by the script's SHA-256."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from chain.primitives.address import AddressError, address_script
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Hash32, id_text, outpoint, outpoint_index, outpoint_txid
from chain.service.api.context import ApiContext
from chain.service.api.dependencies import context_of
from chain.service.api.esplora.replies import EsploraError, esplora_router, hash_of, json_reply
from chain.service.api.esplora_json import (
    UNCONFIRMED,
    ScriptSummary,
    Tx,
    Unspent,
    status_of,
    tx_json,
)
from chain.service.api.script_history import (
    confirmed_history,
    mempool_history,
    outputs_to,
    script_summary,
)
from chain.service.api.snapshot import FoundTx, NodeSnapshot, open_snapshot

UNSPENT_MAX: Final = 10_000
_SCRIPT_HASH: Final = re.compile("[0-9a-f]{64}")
_OTHER_NETWORK: Final = "another network"


@dataclass(frozen=True, slots=True)
class Subject:
    """The requested script, and the form of the request."""

    api: ApiContext
    script_hash: Hash32  # plain SHA-256, in its own byte order
    given: dict[str, str]  # {"address": ...} or {"scripthash": ...}


async def by_address(address: str, request: Request) -> Subject:
    """Return the script an address pays to. Raises EsploraError 400."""
    api = context_of(request)
    try:
        script = address_script(address, api.params.address_prefixes)
    except AddressError as error:
        is_foreign = _OTHER_NETWORK in str(error)
        sentence = "Address on invalid network" if is_foreign else "Invalid Bitcoin address"
        raise EsploraError(400, sentence) from error
    return Subject(api, sha256(script), {"address": address})


async def by_script_hash(scripthash: str, request: Request) -> Subject:
    """Return the script with this hash, which is not reversed. Raises EsploraError 400."""
    if _SCRIPT_HASH.fullmatch(scripthash.lower()) is None:
        raise EsploraError(400, "Invalid scripthash")
    script_hash = Hash32(bytes.fromhex(scripthash))
    return Subject(context_of(request), script_hash, {"scripthash": scripthash})


def summary(snapshot: NodeSnapshot, subject: Subject) -> ScriptSummary:
    """Return counts and sums of a script's confirmed and mempool transactions."""
    return script_summary(snapshot, subject.script_hash, subject.given)


def newest_txs(snapshot: NodeSnapshot, subject: Subject) -> list[dict[str, Any]]:
    """List the transactions of a script: those in the mempool, then the newest confirmed ones."""
    return [*mempool_txs(snapshot, subject), *confirmed_txs(snapshot, subject)]


def mempool_txs(snapshot: NodeSnapshot, subject: Subject) -> list[dict[str, Any]]:
    """List the mempool transactions of a script, newest first."""
    return _txs(snapshot, mempool_history(snapshot, subject.script_hash))


def confirmed_txs(
    snapshot: NodeSnapshot, subject: Subject, last_seen: Hash32 | None = None
) -> list[dict[str, Any]]:
    """List the confirmed transactions of a script, newest first, after `last_seen`.

    The list is empty if `last_seen` is unconfirmed, which some wallets request.
    """
    return _txs(snapshot, confirmed_history(snapshot, subject.script_hash, last_seen))


def unspent(snapshot: NodeSnapshot, subject: Subject) -> list[Unspent]:
    """List the unspent outputs of a script, in the chain and in the mempool."""
    pool = snapshot.view.pool
    coins = snapshot.ledger.script_coins(subject.script_hash, limit=UNSPENT_MAX + 1)
    if len(coins) > UNSPENT_MAX:
        raise EsploraError(400, f"Too many unspent transaction outputs (>{UNSPENT_MAX})")
    confirmed = [
        Unspent(
            txid=id_text(outpoint_txid(point)),
            vout=outpoint_index(point),
            value=coin.value,
            status=status_of(snapshot.tip.ancestor(coin.height)),
        )
        for point, coin in coins
        if pool.spender(point) is None
    ]
    unconfirmed = [
        Unspent(txid=id_text(entry.txid), vout=index, value=value, status=UNCONFIRMED)
        for entry in pool.by_script_hash(subject.script_hash)
        for index, value in outputs_to(entry, subject.script_hash)
        if pool.spender(outpoint(entry.txid, index)) is None
    ]
    return [*confirmed, *unconfirmed]


def _txs(snapshot: NodeSnapshot, found: list[FoundTx]) -> list[dict[str, Any]]:
    return [tx_json(one.tx, one.coins, one.block, snapshot.prefixes) for one in found]


def _endpoint(
    answer: Callable[[NodeSnapshot, Subject], Any], subject: Callable[..., Awaitable[Subject]]
) -> Callable[..., Response]:
    """Return a handler that returns `answer` for the path's `subject`.

    It has the one dependency: FastAPI takes 0.1 ms for another one.
    """

    def endpoint(of: Annotated[Subject, Depends(subject)]) -> Response:
        with open_snapshot(of.api) as snapshot:
            return json_reply(answer(snapshot, of), reserved=snapshot.reserved)

    endpoint.__name__, endpoint.__doc__ = answer.__name__, answer.__doc__
    return endpoint


def _paged_endpoint(subject: Callable[..., Awaitable[Subject]]) -> Callable[..., Response]:
    def confirmed_txs_after(last_seen: str, of: Annotated[Subject, Depends(subject)]) -> Response:
        """List the confirmed transactions of a script after one of them, newest first."""
        with open_snapshot(of.api) as snapshot:
            txs = confirmed_txs(snapshot, of, hash_of(last_seen))
            return json_reply(txs, reserved=snapshot.reserved)

    return confirmed_txs_after


def _make_router() -> APIRouter:
    router = esplora_router("addresses")
    for name, subject in (("address", by_address), ("scripthash", by_script_hash)):
        path = f"/{name}/{{{name}}}"
        add = router.add_api_route
        add(path, _endpoint(summary, subject), response_model=ScriptSummary)
        add(f"{path}/txs", _endpoint(newest_txs, subject), response_model=list[Tx])
        add(f"{path}/txs/mempool", _endpoint(mempool_txs, subject), response_model=list[Tx])
        add(f"{path}/txs/chain", _endpoint(confirmed_txs, subject), response_model=list[Tx])
        add(f"{path}/txs/chain/{{last_seen}}", _paged_endpoint(subject), response_model=list[Tx])
        add(f"{path}/utxo", _endpoint(unspent, subject), response_model=list[Unspent])
    return router


router: Final = _make_router()
