"""Reads on the event loop, which save the way to a worker thread and back.

Every handler whose rows are few reads here. What turns out to be more than that (a script in a
bucket of a million rows, a transaction of a megabyte, or one that spent as much) is begun again on
a worker thread, so that one request never holds up the others for long. After a commit all wait
until tip and mempool have been read once, rather than each on a thread for Python's lock.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from chain.ledger.db.node_state import Version
from chain.ledger.errors import ReadTooLargeError, SnapshotExpiredError, UnavailableError
from chain.service.api.access.budget import TooLargeHereError
from chain.service.api.context import ApiContext
from chain.service.api.snapshot import ON_LOOP, NodeSnapshot, open_snapshot
from chain.service.api.state.port import (
    WAIT_S_MAX,
    ChainView,
    NotReadYetError,
    SnapshotUnavailableError,
)
from chain.service.api.state.version_header import note_version
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
        return _read_here(api, read)
    except NotReadYetError as error:
        if await _is_read(api, error.version):
            with suppress(*_BEGUN_AGAIN):
                return _read_here(api, read)
    except _BEGUN_AGAIN:
        pass
    return await read_on_thread(api, read)


async def read_view(api: ApiContext, read: Callable[[ChainView], _Result]) -> _Result:
    """Return what `read` returns of the present tip and mempool, which needs no ledger."""
    try:
        current = api.state.current_view(ON_LOOP)
    except _BEGUN_AGAIN:
        return await read_bounded(api, lambda snapshot: read(snapshot.view))
    if current.version is not None:
        note_version(current.version)
    return read(current.view)


def _read_here(api: ApiContext, read: Callable[[NodeSnapshot], _Result]) -> _Result:
    with open_snapshot(api, ON_LOOP) as snapshot:
        return read(snapshot)


async def _is_read(api: ApiContext, version: Version) -> bool:
    """Wait until tip and mempool of a version are read, once for all requests."""
    return api.wait_for_version is not None and await api.wait_for_version(version, WAIT_S_MAX)


async def read_on_thread(api: ApiContext, read: Callable[[NodeSnapshot], _Result]) -> _Result:
    """Return what `read` returns on a worker thread: for whole blocks and the like."""

    def reading() -> _Result:
        with open_snapshot(api) as snapshot:
            return read(snapshot)

    return await on_thread(reading)
