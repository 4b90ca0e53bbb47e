"""JSON-RPC: calls that return once the chain has changed, or at a timeout."""

import asyncio
from collections.abc import Callable
from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.primitives.numbers import id_text
from chain.service.api.access.limits import BLOCK_WAITERS_MAX
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.events import TooManySubscribersError
from chain.service.api.exact_json import Json
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import hash_argument

WAIT_MS_MAX: Final = 600_000  # also without a client's limit: it may have disconnected
_MS_PER_S: Final = 1000


async def waitfornewblock(
    api: ApiContext,
    timeout: int = 0,  # noqa: ASYNC109 - Core's name
    current_tip: str | None = None,
) -> Json:
    """Wait until the tip is not the present one, or not `current_tip`, and return it.

    After `timeout` milliseconds, or ten minutes, return the current tip.
    """
    known = api.node.view.tip.id
    if current_tip is not None:
        known = hash_argument(current_tip, "current_tip")
    return await _wait(api, timeout, lambda tip: tip.id != known)


async def waitforblock(
    api: ApiContext,
    blockhash: str,
    timeout: int = 0,  # noqa: ASYNC109 - Core's name
) -> Json:
    """Wait until a block is in the best chain, and return the tip."""
    wanted = hash_argument(blockhash)

    def has_it(tip: BlockTreeEntry) -> bool:
        entry = api.tree.get(wanted)
        return entry is not None and entry.is_ancestor_of(tip)

    return await _wait(api, timeout, has_it)


async def waitforblockheight(
    api: ApiContext,
    height: int,
    timeout: int = 0,  # noqa: ASYNC109 - Core's name
) -> Json:
    """Wait until the best chain has at least this height, and return the tip."""
    return await _wait(api, timeout, lambda tip: tip.height >= height)


async def _wait(api: ApiContext, timeout_ms: int, holds: Callable[[BlockTreeEntry], bool]) -> Json:
    """Return the tip when it fulfils the condition, at the timeout, or when the node stops."""
    if timeout_ms < 0:
        raise RpcError(Code.MISC, "Negative timeout")
    clock = asyncio.get_running_loop().time
    deadline = clock() + min(timeout_ms or WAIT_MS_MAX, WAIT_MS_MAX) / _MS_PER_S
    if not api.limits.waiters.acquire(blocking=False):
        raise RpcError(
            Code.MISC, f"{BLOCK_WAITERS_MAX} calls are waiting for blocks: try again later"
        )
    try:
        while not holds(api.node.view.tip) and not api.node_events.is_closed and clock() < deadline:
            await _next_changes(api, deadline, holds)
    except TooManySubscribersError:
        raise RpcError(Code.MISC, "too many waiting calls: try again later") from None
    finally:
        api.limits.waiters.release()
    tip = api.node.view.tip
    return {"hash": id_text(tip.id), "height": tip.height}


async def _next_changes(
    api: ApiContext, deadline: float, holds: Callable[[BlockTreeEntry], bool]
) -> None:
    """Listen until the tip fulfils the condition, the timeout, or the end of the subscription.

    A slow subscriber is dropped and may subscribe again: only the tip matters here.
    """
    clock = asyncio.get_running_loop().time
    with api.node_events.subscribe() as listener:
        while not holds(api.node.view.tip):
            try:
                if await listener.next(max(deadline - clock(), 0.0)) is None:
                    return
            except TimeoutError:
                return


METHODS: Final = (
    Method(waitfornewblock, "Blockchain", waits=True),
    Method(waitforblock, "Blockchain", waits=True),
    Method(waitforblockheight, "Blockchain", waits=True),
)
