"""JSON-RPC: a transaction submitted together with its parents."""

from typing import Final

from chain.service.api.context import ApiContext
from chain.service.api.exact_json import Json
from chain.service.api.package import submit_package
from chain.service.api.rpc.arguments import CoinAmount, FeeRate
from chain.service.api.rpc.errors import rpc_error
from chain.service.api.rpc.method import Method
from chain.service.api.submit import FEE_RATE_MAX, SubmitError


async def submitpackage(
    api: ApiContext,
    package: list[str],
    maxfeerate: FeeRate = FEE_RATE_MAX,
    maxburnamount: CoinAmount = 0,
) -> Json:
    """Submit a transaction, the last in the list, with its parents; return each one's result.

    Unlike in Core, no child pays for a parent below the minimum fee rate.
    """
    try:
        return await submit_package(api, package, maxfeerate, maxburnamount)
    except SubmitError as error:
        raise rpc_error(error) from error


METHODS: Final = (Method(submitpackage, "Rawtransactions"),)
