"""The reply to a request during which the ledger fails."""

from chain.ledger.errors import DamagedError, DatabaseFailedError, LedgerError
from chain.service.api.context import ApiContext


def on_ledger_failure(api: ApiContext, error: LedgerError) -> str:
    """Stop the node, and return the sentence for the client.

    The sentence names no file and no server, since anyone may be the client; the log does.
    """
    api.host.ledger_failed(error)
    if isinstance(error, DamagedError):
        return "the node's ledger is damaged, so the node is stopping: it needs `groat check`"
    verb = error.verb if isinstance(error, DatabaseFailedError) else "used"
    return f"the node's ledger cannot be {verb}, so the node is stopping; its log says why"
