"""What refuses a node's start, checked before the node makes a folder, a ledger or a log line."""

from contextlib import ExitStack

from chain.ledger.db.lock import FileLock
from chain.ledger.db.url import check_take_over, database_file, is_in_memory
from chain.ledger.errors import DatabaseURLError
from chain.service.api_process import PEERS, listening, logins_of
from chain.service.http.listener import bind
from chain.settings import Settings


async def check_start(settings: Settings) -> None:
    """Check logins, database and addresses; what else may fail is only known later.

    Raises UsageError; DatabaseURLError; LedgerError: another process uses the ledger; ProcessError:
    an address is taken.
    """
    logins_of(settings, None)
    check_take_over(settings.database, take_over=settings.take_over)
    if is_in_memory(settings.database):
        raise DatabaseURLError("a node needs a database in a file: sqlite:////PATH")
    file = database_file(settings.database)
    if file is not None and file.exists():
        FileLock(file).release()
    with ExitStack() as stack:  # both at once: they may be the same address
        for who, endpoint in ((PEERS, settings.p2p), ("the API", settings.api)):
            with listening(who, endpoint):
                stack.enter_context(await bind(endpoint.host, endpoint.port))
