"""Esplora: one script's history and coins, by address or by the script's SHA-256."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from fastapi import APIRouter
from fastapi.responses import Response

from chain.ledger.reader import ConfirmedBytes
from chain.primitives.address import (
    AddressError,
    AddressPrefixes,
    address_script,
    shown_address_script,
)
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Hash32, id_text, outpoint, outpoint_index, outpoint_txid
from chain.service.api.bounded_reads import read_bounded
from chain.service.api.context import ApiContext
from chain.service.api.dependencies import Api
from chain.service.api.esplora.replies import EsploraError, esplora_router, hash_of, rendered
from chain.service.api.esplora_json import (
    UNCONFIRMED,
    ScriptSummary,
    Tx,
    Unspent,
    status_of,
    to_json,
)
from chain.service.api.queries.script_history import (
    confirmed_history,
    mempool_history,
    outputs_to,
    script_summary,
)
from chain.service.api.raw_tx_text import raw_tx_text
from chain.service.api.snapshot import NodeSnapshot
from chain.service.api.tx_text import confirmed_text, tx_text

UNSPENT_MAX: Final = 10_000
UNSPENT_BYTES: Final = 100  # an output takes as long as decoding and rendering so many bytes
_SCRIPT_HASH: Final = re.compile("[0-9a-f]{64}")
_OTHER_NETWORK: Final = "another network"


@dataclass(frozen=True, slots=True)
class Subject:
    """The requested script, and the form of the request."""

    script_hash: Hash32  # plain SHA-256, in its own byte order
    given: dict[str, str]  # {"address": ...} or {"scripthash": ...}


Answer: TypeAlias = Callable[[NodeSnapshot, Subject], str]  # returns JSON
Endpoint: TypeAlias = Callable[..., Awaitable[Response]]


def by_address(api: ApiContext, address: str) -> Subject:
    """Return the script an address pays to. Raises EsploraError 400."""
    prefixes = api.params.address_prefixes
    try:
        script = shown_address_script(address, prefixes) or address_script(address, prefixes)
    except AddressError as error:
        is_foreign = _OTHER_NETWORK in str(error)
        sentence = "Address on invalid network" if is_foreign else "Invalid Bitcoin address"
        raise EsploraError(400, sentence) from error
    return Subject(sha256(script), {"address": address})


def by_script_hash(scripthash: str) -> Subject:
    """Return the script with this hash, which is not reversed. Raises EsploraError 400."""
    if _SCRIPT_HASH.fullmatch(scripthash.lower()) is None:
        raise EsploraError(400, "Invalid scripthash")
    return Subject(Hash32(bytes.fromhex(scripthash)), {"scripthash": scripthash})


def summary(snapshot: NodeSnapshot, subject: Subject) -> str:
    """Return counts and sums of a script's confirmed and mempool transactions."""
    return to_json(script_summary(snapshot, subject.script_hash, subject.given)).decode()


def newest_txs(snapshot: NodeSnapshot, subject: Subject) -> str:
    """List the transactions of a script: those in the mempool, then the newest confirmed ones."""
    return _list([*_unconfirmed(snapshot, subject), *_confirmed(snapshot, subject)])


def mempool_txs(snapshot: NodeSnapshot, subject: Subject) -> str:
    """List the mempool transactions of a script, newest first."""
    return _list(_unconfirmed(snapshot, subject))


def confirmed_txs(snapshot: NodeSnapshot, subject: Subject, last_seen: Hash32 | None = None) -> str:
    """List the confirmed transactions of a script, newest first, after `last_seen`.

    The list is empty if `last_seen` is unconfirmed, which some wallets request.
    """
    return _list(_confirmed(snapshot, subject, last_seen))


def unspent(snapshot: NodeSnapshot, subject: Subject) -> str:
    """List the unspent outputs of a script, in the chain and in the mempool."""
    found = snapshot.ledger.funded_count(subject.script_hash)
    snapshot.reserved.check(found * UNSPENT_BYTES)
    pool = snapshot.view.pool
    pending = pool.by_script_hash(subject.script_hash)
    snapshot.reserved.check(sum(len(entry.transaction.raw) for entry in pending))
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
        for entry in pending
        for index, value in outputs_to(entry, subject.script_hash)
        if pool.spender(outpoint(entry.txid, index)) is None
    ]
    return to_json([*confirmed, *unconfirmed]).decode()


def _unconfirmed(snapshot: NodeSnapshot, subject: Subject) -> list[str]:
    found = mempool_history(snapshot, subject.script_hash)
    return [tx_text(one.tx, one.coins, one.block, snapshot.prefixes) for one in found]


def _confirmed(
    snapshot: NodeSnapshot, subject: Subject, last_seen: Hash32 | None = None
) -> list[str]:
    located = confirmed_history(snapshot, subject.script_hash, last_seen)
    return [_text(one, snapshot.prefixes) for one in snapshot.ledger.read_bytes(located)]


def _text(one: ConfirmedBytes, prefixes: AddressPrefixes) -> str:
    at = one.location
    status = confirmed_text(at.height, at.block_id, at.time)
    return raw_tx_text(one.raw, at.txid, one.coins, status, prefixes)


def _list(items: list[str]) -> str:
    return f"[{','.join(items)}]"


async def _answer(api: ApiContext, of: Subject, answer: Answer) -> Response:
    return await read_bounded(
        api, lambda snapshot: rendered(answer(snapshot, of), reserved=snapshot.reserved)
    )


def _of_address(answer: Answer) -> Endpoint:
    """Return a handler that returns `answer` for the path's address."""

    async def endpoint(address: str, api: Api) -> Response:
        return await _answer(api, by_address(api, address), answer)

    return endpoint


def _of_script_hash(answer: Answer) -> Endpoint:
    async def endpoint(scripthash: str, api: Api) -> Response:
        return await _answer(api, by_script_hash(scripthash), answer)

    return endpoint


async def address_txs_after(address: str, last_seen: str, api: Api) -> Response:
    """List the confirmed transactions of a script after one of them, newest first."""
    of, after = by_address(api, address), hash_of(last_seen)
    return await _answer(api, of, lambda snapshot, of: confirmed_txs(snapshot, of, after))


async def script_hash_txs_after(scripthash: str, last_seen: str, api: Api) -> Response:
    """List the confirmed transactions of a script after one of them, newest first."""
    of, after = by_script_hash(scripthash), hash_of(last_seen)
    return await _answer(api, of, lambda snapshot, of: confirmed_txs(snapshot, of, after))


_ANSWERS: Final[tuple[tuple[str, Answer, Any], ...]] = (
    ("", summary, ScriptSummary),
    ("/txs", newest_txs, list[Tx]),
    ("/txs/mempool", mempool_txs, list[Tx]),
    ("/txs/chain", confirmed_txs, list[Tx]),
    ("/utxo", unspent, list[Unspent]),
)


def _make_router() -> APIRouter:
    router = esplora_router("addresses")
    kinds: tuple[tuple[str, Callable[[Answer], Endpoint], Endpoint], ...] = (
        ("address", _of_address, address_txs_after),
        ("scripthash", _of_script_hash, script_hash_txs_after),
    )
    for name, of_subject, txs_after in kinds:
        path = f"/{name}/{{{name}}}"
        for suffix, answer, shape in _ANSWERS:
            endpoint = of_subject(answer)
            endpoint.__name__, endpoint.__doc__ = answer.__name__, answer.__doc__
            router.add_api_route(path + suffix, endpoint, response_model=shape)
        path = f"{path}/txs/chain/{{last_seen}}"
        router.add_api_route(path, txs_after, response_model=list[Tx], name="confirmed_txs_after")
    return router


router: Final = _make_router()
