"""The processes that answer a node's API: fresh interpreters that read its database.

Each gets its orders on standard input, which stays open: when it ends, so has the node.
"""

import asyncio
import json
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Final

from chain.endpoint import Endpoint
from chain.service.api_process import ProcessError
from chain.service.supervisor import Supervisor
from chain.settings import LEDGER_NAME, Settings

log = logging.getLogger(__name__)

READY_S_MAX: Final = 60.0
STOP_S_MAX: Final = 10.0
CHILD_MODULE: Final = "chain.service.readers.api_child"
READY_WORD: Final = b"groat: serving"


class ApiChildren:
    """The processes of one node; for its event loop."""

    def __init__(self, settings: Settings, where: Endpoint) -> None:
        self.host, self.port = where.host, where.port
        self._order = json.dumps(_order(settings, where)).encode() + b"\n"
        self._count = settings.api_processes
        self._ready: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def running(self, supervisor: Supervisor) -> AsyncIterator[None]:
        """Run them inside the block, and start each again that ends.

        Raises ProcessError: one does not start.
        """
        loop = asyncio.get_running_loop()
        self._ready = [loop.create_future() for _ in range(self._count)]
        async with AsyncExitStack() as stack:
            for number in range(self._count):
                name = f"API process {number + 1}"
                job = supervisor.restarting(name, partial(self._run, number))
                await stack.enter_async_context(job)
            try:
                await asyncio.wait_for(asyncio.gather(*self._ready), READY_S_MAX)
            except TimeoutError:
                why = f"the API's processes were not ready within {READY_S_MAX:.0f} s"
                raise ProcessError(why) from None
            yield

    async def _run(self, number: int) -> None:
        """Run one process until it ends."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", CHILD_MODULE),
            stdin=PIPE,
            stdout=PIPE,
            # A terminal's Ctrl-C is for the node, which ends them. Not a session of its own: Linux
            # gives each an equal part of the processors, and to the verification threads' low
            # priority, which counts within a session only, these processes would be others.
            process_group=0,
        )
        try:
            await self._follow(child, self._ready[number])
        finally:
            await _ended(child)
        why = f"ended with code {child.returncode}"
        if not self._ready[number].done():
            self._ready[number].set_exception(
                ProcessError(f"a process of the API {why} before it was ready")
            )
        raise ProcessError(why)

    async def _follow(self, child: Process, ready: "asyncio.Future[None]") -> None:
        assert child.stdin is not None, "it is a pipe"
        assert child.stdout is not None, "it is a pipe"
        with suppress(ConnectionError):  # it ended at once; its code says why
            child.stdin.write(self._order)
            await child.stdin.drain()
        while line := await child.stdout.readline():
            if line.startswith(READY_WORD) and not ready.done():
                ready.set_result(None)
        await child.wait()


def _order(settings: Settings, where: Endpoint) -> dict[str, object]:
    """Return what a process is to do: the flags of its settings, and how many share the port."""
    is_default = settings.database == settings.folder / LEDGER_NAME
    flags = {
        "network": settings.network,
        "datadir": str(settings.folder.parent),
        "database": None if is_default else str(settings.database),
        "api": str(where),
        "rpc_auth": list(settings.rpc_auth) or None,
        "api_host": list(settings.api_hosts) or None,
        "debug": sorted(settings.debug) or None,
    }
    return {"flags": flags, "processes": settings.api_processes}


async def _ended(child: Process) -> None:
    """End a process, if it has not ended by itself."""
    if child.returncode is not None:
        return
    with suppress(ProcessLookupError):
        child.terminate()
    try:
        await asyncio.wait_for(child.wait(), STOP_S_MAX)
    except TimeoutError:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
