"""Esplora: one script's history and coins, by address or by the script's SHA-256."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from chain.node.entry import PoolEntry
from chain.primitives.address import AddressError, address_script
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Hash32, id_text, outpoint, outpoint_index, outpoint_txid
from chain.service.api.esplora.replies import (
    Api,
    EsploraError,
    esplora_router,
    hash_of,
    shaped,
)
from chain.service.api.esplora.shapes import (
    UNCONFIRMED,
    ScriptSummary,
    Stats,
    Tx,
    Unspent,
    status_of,
    tx_json,
)
from chain.service.api.snapshot import FoundTx, NodeSnapshot, open_snapshot

CONFIRMED_PER_PAGE: Final = 25
MEMPOOL_TXS_MAX: Final = 50
UNSPENT_MAX: Final = 10_000
_SCRIPT_HASH: Final = re.compile("[0-9a-f]{64}")
_OTHER_NETWORK: Final = "another network"


@dataclass(frozen=True, slots=True)
class Subject:
    """The requested script, and the form of the request."""

    script_hash: Hash32  # plain SHA-256, in its own byte order
    given: dict[str, str]  # {"address": ...} or {"scripthash": ...}


async def by_address(address: str, api: Api) -> Subject:
    """Return the script an address pays to. Raises EsploraError 400."""
    try:
        script = address_script(address, api.params.bech32_prefix)
    except AddressError as error:
        is_foreign = _OTHER_NETWORK in str(error)
        sentence = "Address on invalid network" if is_foreign else "Invalid Bitcoin address"
        raise EsploraError(400, sentence) from error
    return Subject(sha256(script), {"address": address})


async def by_script_hash(scripthash: str) -> Subject:
    """Return the script with this hash, which is not reversed. Raises EsploraError 400."""
    if _SCRIPT_HASH.fullmatch(scripthash.lower()) is None:
        raise EsploraError(400, "Invalid scripthash")
    return Subject(Hash32(bytes.fromhex(scripthash)), {"scripthash": scripthash})


def summary(snapshot: NodeSnapshot, subject: Subject) -> ScriptSummary:
    """Count and sum what happened to a script."""
    stats = snapshot.ledger.script_stats(subject.script_hash)
    return ScriptSummary(
        **subject.given,
        chain_stats=Stats(
            tx_count=stats.tx_count,
            funded_txo_count=stats.funded_txo_count,
            funded_txo_sum=stats.funded_txo_sum,
            spent_txo_count=stats.spent_txo_count,
            spent_txo_sum=stats.spent_txo_sum,
        ),
        mempool_stats=mempool_stats_of(snapshot, subject.script_hash),
    )


def newest_txs(snapshot: NodeSnapshot, subject: Subject) -> list[dict[str, Any]]:
    """List the transactions of a script: those that wait, then the newest confirmed ones."""
    return [*mempool_txs(snapshot, subject), *confirmed_txs(snapshot, subject)]


def mempool_txs(snapshot: NodeSnapshot, subject: Subject) -> list[dict[str, Any]]:
    """List the transactions of a script that wait, newest first."""
    entries = snapshot.view.pool.by_script_hash(subject.script_hash)
    newest = entries[: -MEMPOOL_TXS_MAX - 1 : -1]
    snapshot.reserved.take(sum(len(entry.transaction.raw) for entry in newest))
    return [_shape(snapshot, snapshot.in_pool(entry)) for entry in newest]


def confirmed_txs(
    snapshot: NodeSnapshot, subject: Subject, last_seen: Hash32 | None = None
) -> list[dict[str, Any]]:
    """List the confirmed transactions of a script, newest first, behind `last_seen`.

    What is not confirmed has nothing behind it: wallets ask so, and need an empty list.
    """
    before = None
    if last_seen is not None:
        located = snapshot.ledger.find(last_seen)
        if located is None:
            return []
        before = (located.height, located.position)
    found = snapshot.history(subject.script_hash, before, CONFIRMED_PER_PAGE)
    return [_shape(snapshot, one) for one in found]


def unspent(snapshot: NodeSnapshot, subject: Subject) -> list[Unspent]:
    """List the outputs of a script that nothing spends, in the chain and in the mempool."""
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
        for index, value in _paid(entry, subject.script_hash)
        if pool.spender(outpoint(entry.txid, index)) is None
    ]
    return [*confirmed, *unconfirmed]


def mempool_stats_of(snapshot: NodeSnapshot, script_hash: Hash32) -> Stats:
    """Return counts and sums of a script's mempool transactions."""
    entries = snapshot.view.pool.by_script_hash(script_hash)
    funded = [value for entry in entries for _, value in _paid(entry, script_hash)]
    spent = [
        coin.value
        for entry in entries
        for coin in entry.coins
        if sha256(coin.script) == script_hash
    ]
    return Stats(
        tx_count=len(entries),
        funded_txo_count=len(funded),
        funded_txo_sum=sum(funded),
        spent_txo_count=len(spent),
        spent_txo_sum=sum(spent),
    )


def _paid(entry: PoolEntry, script_hash: Hash32) -> list[tuple[int, int]]:
    """Return (index, value) of each output of a mempool transaction to a script."""
    outputs = enumerate(entry.transaction.outputs)
    return [(index, out.value) for index, out in outputs if sha256(out.script) == script_hash]


def _shape(snapshot: NodeSnapshot, found: FoundTx) -> dict[str, Any]:
    return tx_json(found.tx, found.coins, found.block, snapshot.prefix)


def _endpoint(
    answer: Callable[[NodeSnapshot, Subject], Any], subject: Callable[..., Awaitable[Subject]]
) -> Callable[..., Response]:
    """Return a handler that returns `answer` for the path's `subject`."""

    def endpoint(api: Api, of: Annotated[Subject, Depends(subject)]) -> Response:
        with open_snapshot(api) as snapshot:
            return shaped(answer(snapshot, of), reserved=snapshot.reserved)

    endpoint.__name__, endpoint.__doc__ = answer.__name__, answer.__doc__
    return endpoint


def _paged_endpoint(subject: Callable[..., Awaitable[Subject]]) -> Callable[..., Response]:
    def confirmed_txs_behind(
        last_seen: str, api: Api, of: Annotated[Subject, Depends(subject)]
    ) -> Response:
        """List the confirmed transactions of a script behind one of them, newest first."""
        with open_snapshot(api) as snapshot:
            txs = confirmed_txs(snapshot, of, hash_of(last_seen))
            return shaped(txs, reserved=snapshot.reserved)

    return confirmed_txs_behind


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
