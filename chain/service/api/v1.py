"""The node's own JSON: its state, peers and mempool, and a stream of changes."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from chain.consensus.params import network_identity
from chain.ledger.db.node_state import Version, parse_version
from chain.ledger.errors import LedgerError
from chain.node.policy import RATE_VBYTES
from chain.primitives.compact import difficulty
from chain.primitives.numbers import id_text
from chain.service.api.context import ApiContext
from chain.service.api.dependencies import Api
from chain.service.api.esplora_json import MempoolSummary, mempool_summary
from chain.service.api.events import EventSubscriber, TooManySubscribersError, Update
from chain.service.api.queries.branches import find_branches
from chain.service.api.queries.fees import suggested_rates
from chain.service.api.state.port import SnapshotUnavailableError
from chain.service.sync_words import mining_words

HEARTBEAT_S: Final = 15.0  # without a change; proxies close a connection that is silent for long
TRANSACTIONS_PER_EVENT_MAX: Final = 100  # of each event, per change
_ENDS_STREAM: Final = (TooManySubscribersError, SnapshotUnavailableError, LedgerError)

Count = Annotated[int, Field(ge=0)]


class NodeStatus(BaseModel):
    """The state of the node."""

    network: str
    identity: str = Field(description="digest of the network's rules")
    version: str
    height: Count = Field(description="of the best chain")
    tip: str = Field(description="id of the best chain's tip")
    tip_time: Count = Field(description="unix seconds")
    difficulty: float
    headers: Count = Field(description="height of the best known header")
    is_syncing: bool
    sync_progress: float = Field(ge=0, le=1)
    peers: Count
    mempool_count: Count
    mempool_vsize: Count = Field(description="virtual bytes")
    mempool_bytes: Count = Field(description="estimated memory")
    hashes_per_second: float = Field(ge=0, description="of this node's miner; 0 if it has none")
    mining: str = Field(description="of this node's miner: off, on, or why it waits")
    uptime_s: Count


class Peer(BaseModel):
    """One peer."""

    id: int
    address: str
    inbound: bool
    agent: str = Field(description="the user agent that it claims")
    connected_at: Count = Field(description="unix seconds")
    height: int | None = Field(description="of the best block that it announced")
    latency_s: float | None
    bytes_sent: Count
    bytes_received: Count


class StaleBranch(BaseModel):
    """A branch outside the best chain."""

    height: Count = Field(description="of its last block")
    id: str = Field(description="of its last block")
    time: Count = Field(description="in its last block's header, unix seconds")
    length: Count = Field(description="blocks since the fork")
    status: str = Field(description="valid-fork, headers-only or invalid, as getchaintips says")


class RecommendedFees(BaseModel):
    """Fee rates in grains per vbyte; the names are those of mempool.space."""

    fastestFee: float = Field(description="for the next block")  # noqa: N815 - the name is API
    halfHourFee: float = Field(description="for three blocks")  # noqa: N815
    hourFee: float = Field(description="for six blocks")  # noqa: N815
    economyFee: float = Field(description="for a day")  # noqa: N815
    minimumFee: float = Field(description="the lowest that the mempool accepts")  # noqa: N815


router = APIRouter(prefix="/api/v1", tags=["node"])


@router.get("/status")
def status(api: Api) -> NodeStatus:
    """Return the state of the node."""
    view = api.state.view
    tip = view.tip
    miner = api.miner.info()
    headers = max(view.best_header.height, tip.height)
    return NodeStatus(
        network=api.params.name,
        identity=network_identity(api.params).hex(),
        version=api.version,
        height=tip.height,
        tip=id_text(tip.id),
        tip_time=tip.header.time,
        difficulty=difficulty(tip.header.bits),
        headers=headers,
        is_syncing=api.host.is_syncing(),
        sync_progress=tip.height / headers if headers else 1.0,
        peers=api.peers.connection_counts().total,
        mempool_count=view.pool.count,
        mempool_vsize=view.pool.vsize,
        mempool_bytes=view.pool.usage_bytes,
        hashes_per_second=miner.hashes_per_second,
        mining=mining_words(miner.threads, miner.waits_for),
        uptime_s=max(api.clock() - api.started_at, 0),
    )


@router.get("/peers")
def peers(api: Api) -> list[Peer]:
    """List the peers."""
    return [
        Peer(
            id=peer.id,
            address=peer.address,
            inbound=peer.is_inbound,
            agent=peer.agent,
            connected_at=peer.connected_at,
            height=peer.height,
            latency_s=peer.latency_s,
            bytes_sent=peer.bytes_sent,
            bytes_received=peer.bytes_received,
        )
        for peer in api.peers.connected()
    ]


@router.get("/branches")
async def branches(api: Api) -> list[StaleBranch]:
    """List the stale branches among the newest headers, newest first."""
    return [
        StaleBranch(
            height=branch.tip.height,
            id=id_text(branch.tip.id),
            time=branch.tip.header.time,
            length=branch.length,
            status=branch.status,
        )
        for branch in await find_branches(api)
    ]


@router.get("/mempool")
def mempool(api: Api) -> MempoolSummary:
    """Return the mempool's totals."""
    return mempool_summary(api.state.view.pool)


@router.get("/fees/recommended")
def recommended_fees(api: Api) -> RecommendedFees:
    """Return recommended fee rates."""
    view = api.state.view
    rates = suggested_rates(api, view)
    return RecommendedFees(
        fastestFee=rates[1] / RATE_VBYTES,
        halfHourFee=rates[3] / RATE_VBYTES,
        hourFee=rates[6] / RATE_VBYTES,
        economyFee=rates[144] / RATE_VBYTES,
        minimumFee=api.state.feerate_min(view, api.clock()) / RATE_VBYTES,
    )


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "An endless stream"},
        503: {"description": "Too many subscribers"},
    },
)
async def events(api: Api, request: Request) -> StreamingResponse:
    """Stream blocks, transactions and reorganisations as they happen (Server-Sent Events).

    Each event's data is a JSON object. `tip` (`height`, `id`) comes first. `block` (`height`, `id`,
    `time` in unix seconds, `tx_count`): joined the best chain. `reorganisation` (`disconnected`,
    `connected`: ids of blocks); those connected follow as `block`. `transaction` (`txid`, `fee` and
    `value` in grains, `vsize` in virtual bytes): joined the mempool. `removed` (`txid`, `reason`,
    `by`): left it without a block. A client that was away resumes after its Last-Event-ID; `reset`
    (no fields): it must read everything again.
    """
    if api.events.is_full:
        raise HTTPException(503, "too many subscribers")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = _stream(api, request.headers.get("last-event-id"))
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _stream(api: ApiContext, last_id: str | None) -> AsyncIterator[str]:
    try:
        with api.events.subscribe() as listener:
            start = {"height": listener.tip.height, "id": id_text(listener.tip.id)}
            yield "retry: 2000\n" + _event("tip", start)
            known: Version | None = None  # what the client has: the listener may be behind
            if last_id is not None:
                known = parse_version(last_id)
                async for update in api.events.since(last_id):
                    known = update.id
                    yield "".join(encode_events(update))
            async for change in _changes(listener):
                if change is None:
                    yield ": nothing new\n\n"
                    continue
                is_old = change.id is not None and known is not None and known.includes(change.id)
                text = "" if is_old else "".join(encode_events(change))
                if text:
                    yield text
    except _ENDS_STREAM:  # the client reconnects, and resumes; a failed ledger ends the process
        return


async def _changes(listener: EventSubscriber) -> AsyncIterator[Update | None]:
    """Yield the changes, and None whenever there was none for HEARTBEAT_S."""
    while True:
        try:
            change = await listener.next(HEARTBEAT_S)
        except TimeoutError:
            yield None
            continue
        if change is None:  # the client was too slow, or the server stops: it reconnects
            return
        yield change


def encode_events(update: Update) -> Iterator[str]:
    """Yield the Server-Sent Events of an update; the last one has its id."""
    shown = list(_events(update))
    if shown and update.id is not None:
        shown[-1] = f"id: {update.id}\n{shown[-1]}"
    yield from shown


def _events(update: Update) -> Iterator[str]:
    if update.is_reset:
        yield _event("reset", {})
    if update.disconnected:
        new = [id_text(block.id) for block in update.connected]
        old = list(map(id_text, update.disconnected))
        yield _event("reorganisation", {"disconnected": old, "connected": new})
    for block in update.connected:
        shown = {
            "height": block.height,
            "id": id_text(block.id),
            "time": block.time,
            "tx_count": block.tx_count,
        }
        yield _event("block", shown)
    for tx in update.added[:TRANSACTIONS_PER_EVENT_MAX]:
        shape = {"txid": id_text(tx.txid), "fee": tx.fee, "vsize": tx.vsize, "value": tx.value}
        yield _event("transaction", shape)
    for removed in update.removed[:TRANSACTIONS_PER_EVENT_MAX]:
        by = None if removed.by is None else id_text(removed.by)
        yield _event("removed", {"txid": id_text(removed.txid), "reason": removed.reason, "by": by})


def _event(name: str, value: object) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"
