"""Worker threads for reads, with a limit on how long a request waits for one."""

from collections.abc import Callable
from typing import Final, TypeVar

from anyio import CapacityLimiter, WouldBlock, fail_after, to_thread

from chain.service.api.state.port import SnapshotUnavailableError

THREAD_WAIT_S_MAX: Final = 10.0  # two snapshots' time

_Result = TypeVar("_Result")


async def on_thread(call: Callable[[], _Result]) -> _Result:
    """Return what `call` returns on a worker thread.

    A database that answers nobody would hold all threads; then clients are told so soon, and do not
    queue up. Raises SnapshotUnavailableError: none came free within THREAD_WAIT_S_MAX.
    """
    threads = to_thread.current_default_thread_limiter()
    place = object()
    try:
        threads.acquire_on_behalf_of_nowait(place)
    except WouldBlock:
        try:
            with fail_after(THREAD_WAIT_S_MAX):
                await threads.acquire_on_behalf_of(place)
        except TimeoutError as error:
            raise SnapshotUnavailableError("too many reads are under way") from error
    try:  # with a limiter of its own: run_sync would wait for a place, however long
        return await to_thread.run_sync(call, limiter=CapacityLimiter(1))
    finally:
        threads.release_on_behalf_of(place)
