"""What a client hears when the ledger fails while its request is answered."""

from chain.ledger.errors import DatabaseFailedError, LedgerError
from chain.service.api.context import ApiContext


def on_ledger_failure(api: ApiContext, error: LedgerError) -> str:
    """Have the node stop, and return the sentence for the client.

    It names no file and no server: those are in the log, and the client may be a stranger.
    """
    api.ledger_failed(error)
    verb = error.verb if isinstance(error, DatabaseFailedError) else "used"
    return f"the node's ledger cannot be {verb}, so the node is stopping; its log says why"
