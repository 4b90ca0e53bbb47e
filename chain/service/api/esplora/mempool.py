"""Esplora: the mempool as a whole, and fee estimates."""

from typing import Final

from fastapi.responses import Response

from chain.node.policy import RATE_VBYTES
from chain.primitives.numbers import id_text
from chain.service.api.dependencies import Api
from chain.service.api.esplora.replies import CACHE_RECENT, esplora_router, json_reply
from chain.service.api.esplora_json import MempoolSummary, RecentTx, mempool_summary, recent_model
from chain.service.api.queries.fees import suggested_rates

RECENT_TXS: Final = 10

router = esplora_router("mempool")


@router.get("/mempool", response_model=MempoolSummary)
def mempool(api: Api) -> Response:
    """Return the mempool's totals and fee histogram."""
    return json_reply(mempool_summary(api.state.view.pool))


@router.get("/mempool/txids", response_model=list[str])
def mempool_txids(api: Api) -> Response:
    """List the ids of all mempool transactions."""
    return json_reply([id_text(entry.txid) for entry in api.state.view.pool.entries()])


@router.get("/mempool/recent", response_model=list[RecentTx])
def mempool_recent(api: Api) -> Response:
    """List the most recent mempool transactions, newest first."""
    newest = api.state.view.pool.entries()[: -RECENT_TXS - 1 : -1]
    return json_reply([recent_model(entry) for entry in newest], CACHE_RECENT)


@router.get("/fee-estimates", response_model=dict[str, float])
def fee_estimates(api: Api) -> Response:
    """Return fee rates in grains per vbyte, by confirmation target in blocks."""
    rates = suggested_rates(api, api.state.view)
    return json_reply({str(blocks): rate / RATE_VBYTES for blocks, rate in rates.items()})
