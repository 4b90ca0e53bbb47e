"""The node's fee estimates."""

from chain.node.fees import FEE_TARGETS, estimate_fees
from chain.service.api.context import ApiContext


def suggested_rates(api: ApiContext) -> dict[int, int]:
    """Return grains per 1000 vB by confirmation target in blocks, for each of FEE_TARGETS."""
    view = api.node.view
    return estimate_fees(view.pool, view.block_feerates, api.node.feerate_min(api.clock()))


def rate_for(api: ApiContext, blocks: int) -> int:
    """Return grains per 1000 vB for a confirmation target in blocks (1 or more)."""
    rates = suggested_rates(api)
    return rates[max(target for target in FEE_TARGETS if target <= blocks)]
