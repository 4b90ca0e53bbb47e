"""Reads on the event loop, which save the way to a worker thread and back.

Every handler whose rows are few reads here. What turns out to be more than that (a script in a
bucket of a million rows, a transaction of a megabyte, or one that spent as much, a commit that is
not published yet) is begun again on a worker thread, so that one request never holds up the others
for long.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from chain.ledger.errors import ReadTooLargeError, SnapshotExpiredError, UnavailableError
from chain.service.api.access.budget import TooLargeHereError
from chain.service.api.context import ApiContext
from chain.service.api.snapshot import ON_LOOP, NodeSnapshot, open_snapshot
from chain.service.api.state.port import SnapshotUnavailableError
from chain.service.api.threads import on_thread

_Result = TypeVar("_Result")

_BEGUN_AGAIN: Final = (
    SnapshotExpiredError,
    SnapshotUnavailableError,
    UnavailableError,  # reads pause, or SQLite is busy
    ReadTooLargeError,
    TooLargeHereError,
)


async def read_bounded(api: ApiContext, read: Callable[[NodeSnapshot], _Result]) -> _Result:
    """Return what `read` returns; it may be called twice, and must change nothing.

    Raises what `read` and a snapshot on a worker thread raise.
    """
    try:
        with open_snapshot(api, ON_LOOP) as snapshot:
            return read(snapshot)
    except _BEGUN_AGAIN:
        return await read_on_thread(api, read)


async def read_on_thread(api: ApiContext, read: Callable[[NodeSnapshot], _Result]) -> _Result:
    """Return what `read` returns on a worker thread: for whole blocks and the like."""

    def reading() -> _Result:
        with open_snapshot(api) as snapshot:
            return read(snapshot)

    return await on_thread(reading)
