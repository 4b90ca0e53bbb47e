"""The node's fee estimates."""

from chain.node.fees import FEE_TARGETS, estimate_fees
from chain.service.api.context import ApiContext
from chain.service.api.state.port import ChainView


def suggested_rates(api: ApiContext, view: ChainView) -> dict[int, int]:
    """Return grains per 1000 vB by confirmation target in blocks, for each of FEE_TARGETS."""
    floor = api.state.feerate_min(view, api.clock())
    return estimate_fees(view.pool, view.block_feerates, floor)


def rate_for(api: ApiContext, view: ChainView, blocks: int) -> int:
    """Return grains per 1000 vB for a confirmation target in blocks (1 or more)."""
    rates = suggested_rates(api, view)
    return rates[max(target for target in FEE_TARGETS if target <= blocks)]
