"""JSON-RPC: verification of the newest blocks."""

import logging
from typing import Final

from anyio import to_thread

from chain.ledger.errors import DamagedError, DatabaseFailedError, SnapshotExpiredError
from chain.ledger.verify_chain import LEVEL_MAX, Extent, VerificationEndedError, verify_blocks
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method

_log = logging.getLogger(__name__)


async def verifychain(api: ApiContext, checklevel: int = 3, nblocks: int = 6) -> bool:
    """Return whether the newest blocks (0: all) are valid; errors are logged.

    Level 0 reads them, 1 checks each by itself, 2 its undo data, 3 the coins that it created and
    spent, 4 all rules again, signatures included. `groat check` verifies everything else too.
    """
    level = min(max(checklevel, 0), LEVEL_MAX)
    height = api.node.view.tip.height
    extent = Extent(level, nblocks if 0 < nblocks <= height else height)
    if not api.limits.verifying.acquire(blocking=False):
        raise RpcError(Code.MISC, "another verification is running: try again later")
    try:
        return await to_thread.run_sync(_verify, api, extent)
    finally:
        api.limits.verifying.release()


def _verify(api: ApiContext, extent: Extent) -> bool:
    try:
        verify_blocks(api.reader, api.tree, api.params, extent, lambda: api.events.is_closed)
    except (VerificationEndedError, SnapshotExpiredError) as error:
        raise RpcError(Code.MISC, f"not verified: {error}") from error
    except (DamagedError, DatabaseFailedError) as error:
        _log.error("verifychain: %s", error)
        return False
    return True


METHODS: Final = (Method(verifychain, "Blockchain"),)
