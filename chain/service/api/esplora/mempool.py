"""Esplora: the mempool as a whole, and what fees it suggests."""

from typing import Final

from fastapi.responses import Response

from chain.node.entry import PoolEntry
from chain.node.fees import fee_histogram
from chain.node.policy import RATE_VBYTES
from chain.node.pool import Pool
from chain.primitives.numbers import id_text
from chain.service.api.esplora.replies import (
    CACHE_RECENT,
    Api,
    esplora_router,
    shaped,
)
from chain.service.api.esplora.shapes import MempoolSummary, RecentTx
from chain.service.api.fees import suggested_rates

RECENT_TXS: Final = 10

router = esplora_router("mempool")


@router.get("/mempool", response_model=MempoolSummary)
def mempool(api: Api) -> Response:
    """Count and sum what waits."""
    return shaped(mempool_summary(api.node.view.pool))


@router.get("/mempool/txids", response_model=list[str])
def mempool_txids(api: Api) -> Response:
    """List the ids of all that waits."""
    return shaped([id_text(entry.txid) for entry in api.node.view.pool.entries()])


@router.get("/mempool/recent", response_model=list[RecentTx])
def mempool_recent(api: Api) -> Response:
    """List what came last, newest first."""
    newest = api.node.view.pool.entries()[: -RECENT_TXS - 1 : -1]
    return shaped([recent_shape(entry) for entry in newest], CACHE_RECENT)


@router.get("/fee-estimates", response_model=dict[str, float])
def fee_estimates(api: Api) -> Response:
    """Suggest fee rates in grains per vbyte, by the number of blocks one is ready to wait."""
    rates = suggested_rates(api)
    return shaped({str(blocks): rate / RATE_VBYTES for blocks, rate in rates.items()})


def mempool_summary(pool: Pool) -> MempoolSummary:
    """Return totals and the histogram of fee rates."""
    bins = [(rate / RATE_VBYTES, vsize) for rate, vsize in fee_histogram(pool)]
    return MempoolSummary(
        count=pool.count, vsize=pool.vsize, total_fee=pool.fees, fee_histogram=bins
    )


def recent_shape(entry: PoolEntry) -> RecentTx:
    """Return Esplora's object for a recent mempool transaction."""
    return RecentTx(
        txid=id_text(entry.txid),
        fee=entry.fee,
        vsize=entry.vsize,
        value=entry.transaction.output_value,
    )
