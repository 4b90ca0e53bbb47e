"""Follows the database of a node in another process: looks at it some ten times a second."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from chain.ledger.db.node_state import Version
from chain.ledger.errors import SnapshotExpiredError, UnavailableError
from chain.service.api.state.port import SnapshotUnavailableError
from chain.service.readers.follower import Follower

POLL_S: Final = 0.075
WAITERS_MAX: Final = 512
Look = Callable[[], None]
PASSING: Final = (SnapshotUnavailableError, SnapshotExpiredError, UnavailableError)


class Following:
    """Keeps a follower up to date; for the event loop."""

    def __init__(self, follower: Follower, poll_s: float = POLL_S) -> None:
        """Look every `poll_s`, and when somebody waits for a version."""
        self._follower = follower
        self._poll_s = poll_s
        self._waiters: dict[asyncio.Future[bool], Version] = {}
        self._requested = asyncio.Event()
        self.listeners: list[Look] = []  # called on a thread, after each look

    async def run(self) -> None:
        """Follow until cancelled. Raises LedgerError: it cannot be followed any longer.

        A version that somebody waits for is in the database already, unless it is made up: the look
        that the waiting asks for finds it, and none of those after it need come sooner. In Python
        3.11 asyncio.wait_for loses a cancellation that comes together with the event.
        """
        while True:
            self._requested.clear()  # before the look, which may miss what is asked for meanwhile
            with suppress(*PASSING):
                await asyncio.to_thread(self._follower.listen)
            self._wake()
            with suppress(*PASSING):
                await asyncio.to_thread(self._announce)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._requested.wait()

    async def wait_for(self, version: Version, timeout_s: float) -> bool:
        """Return whether the follower has a version, after so many seconds at most."""
        if self._has(version):
            return True
        if len(self._waiters) >= WAITERS_MAX:
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = version
        self._requested.set()
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter
        except TimeoutError:
            return False
        finally:
            del self._waiters[waiter]

    def look_soon(self) -> None:
        """Look now rather than at the next poll."""
        self._requested.set()

    def _announce(self) -> None:
        for listener in self.listeners:
            listener()

    def _has(self, version: Version) -> bool:
        now = self._follower.version
        return now is not None and now.includes(version)

    def _wake(self) -> None:
        for waiter, version in self._waiters.items():
            if not waiter.done() and self._has(version):
                waiter.set_result(True)
