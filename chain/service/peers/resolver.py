"""Names: those of peers and seeds that the user or the network's file gave, and no others.

This is the one place where the peer side calls getaddrinfo.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from chain.gossip.actions import ResolveSeed
from chain.gossip.events import SeedResolved
from chain.gossip.wire.address import Address, parse_address
from chain.service.peers.inbox import Inbox

RESOLVE_S_MAX: Final = 15.0  # a system's resolver may try several servers, 5 s each
RESOLVES_MAX: Final = 4  # at a time
Lookup = Callable[..., Iterable[tuple[Any, ...]]]  # socket.getaddrinfo, or one like it

_log = logging.getLogger(__name__)


class Resolver:
    """Resolves names on threads of its own, which delay neither the API nor the node's end."""

    def __init__(self, lookup: Lookup = socket.getaddrinfo, limit_s: float = RESOLVE_S_MAX) -> None:
        self._lookup = lookup
        self._limit_s = limit_s
        self._slots = asyncio.Semaphore(RESOLVES_MAX)  # freed when the thread has ended

    async def resolve(self, host: str, port: int) -> tuple[Address, ...]:
        """Return the addresses of a name, each once, or of an IP. Raises OSError: none, or late."""
        try:
            return (parse_address(host, port),)
        except ValueError:  # a name
            pass
        try:
            async with asyncio.timeout(self._limit_s):
                await self._slots.acquire()
                return await self._start(host, port)
        except TimeoutError:
            raise OSError(f"no answer within {self._limit_s:g} s") from None

    def _start(self, host: str, port: int) -> asyncio.Future[tuple[Address, ...]]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[Address, ...]] = loop.create_future()

        def finish(found: tuple[Address, ...] | OSError) -> None:
            self._slots.release()
            if answer.done():  # nobody waits for it any more
                return
            if isinstance(found, OSError):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def run() -> None:
            found = self._looked_up(host, port)
            with suppress(RuntimeError):  # the loop has closed
                loop.call_soon_threadsafe(finish, found)

        try:
            threading.Thread(target=run, name=f"resolve {host}", daemon=True).start()
        except RuntimeError as error:  # the system allows no more threads
            self._slots.release()
            raise OSError(str(error)) from error
        return answer

    def _looked_up(self, host: str, port: int) -> tuple[Address, ...] | OSError:
        try:
            answers = self._lookup(host, port, type=socket.SOCK_STREAM)
            found = dict.fromkeys(parse_address(*answer[4][:2]) for answer in answers)
        except OSError as error:
            return error
        except ValueError as error:  # a label that IDNA refuses
            return OSError(str(error))
        return tuple(found) or OSError("it has no address")


class SeedResolver:
    """Resolves seeds for the core."""

    def __init__(self, resolver: Resolver, inbox: Inbox, tasks: asyncio.TaskGroup) -> None:
        """Deliver to `inbox`; run in `tasks`."""
        self._resolver = resolver
        self._inbox = inbox
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()

    def resolve(self, action: ResolveSeed) -> None:
        """Start resolving; the result is `SeedResolved`."""
        task = self._tasks.create_task(self._resolve(action), name=f"resolve {action.seed}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def stop(self) -> None:
        """Wait for no answer any more."""
        for task in self._running:
            task.cancel()

    async def _resolve(self, action: ResolveSeed) -> None:
        seed = action.seed
        found: tuple[Address, ...] = ()
        try:
            found = await self._resolver.resolve(seed.name, seed.port)
        except OSError as error:
            _log.warning("cannot resolve the seed %s: %s", seed, error.strerror or error)
        self._inbox.post(SeedResolved(seed, found))
