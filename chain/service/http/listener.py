"""A listening socket that serves an app: uvicorn with the guard, on the node's event loop."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from typing import Final

import uvicorn
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chain.service.http.guard import GuardLimits, guarded
from chain.service.http.guard_check import check_guard
from chain.service.supervisor import EndedError

_BACKLOG: Final = 512  # connections that wait in the system to be accepted
# A connection takes a descriptor before it can be refused. asyncio accepts this many in one turn of
# its loop, and closes a refused one within ACCEPT_TURNS turns.
ACCEPTED_AT_ONCE: Final = 8
ACCEPT_TURNS: Final = 4
_TICK_S: Final = 1.0
_GRACE_S: Final = 3  # for answers under way when the listener stops


class Server(uvicorn.Server):
    """uvicorn's server, without its signal handlers and with an event once it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self._ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and set `up`."""
        await super().startup(sockets)
        self.up.set()

    async def main_loop(self) -> None:
        """Renew the date header once a second; uvicorn's own loop wakes up ten times a second."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), _TICK_S)

    def end(self) -> None:
        """Make `serve` return."""
        self.should_exit = True
        self._ending.set()


class Listener:
    """Serves one ASGI app on one address, guarded."""

    def __init__(
        self,
        app: ASGIApp,
        limits: GuardLimits,
        is_banned: Callable[[str], bool] = lambda _address: False,
    ) -> None:
        """Serve `app`, except to IPs (as text) for which `is_banned` returns true."""
        self._app = app
        self._limits = limits
        self._is_banned = is_banned
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.host = ""
        self.port = 0

    async def start(self, host: str, port: int, *, is_shared: bool = False) -> None:
        """Listen as `bind` says, and serve. Raises what `bind` and `serve` raise."""
        await self.serve(await bind(host, port, is_shared=is_shared))

    async def serve(self, bound: socket.socket) -> None:
        """Serve on a bound socket at `host` and `port`, and take ownership of it.

        Raises GuardError.
        """
        self.host, self.port = bound.getsockname()[:2]
        await check_guard()
        config = uvicorn.Config(
            ending_quietly(self._app),
            http=guarded(self._limits, self._is_banned),
            ws="none",
            lifespan="off",
            log_config=None,
            backlog=ACCEPTED_AT_ONCE,
            log_level="error",  # it logs every bad request, so a stranger could fill the disk
            access_log=False,
            server_header=False,
            proxy_headers=False,  # X-Forwarded-For would let clients choose their address
            timeout_graceful_shutdown=_GRACE_S,
        )
        self._server = Server(config)
        self._serving = asyncio.create_task(
            self._server.serve(sockets=[bound]), name=f"listen {self.host}:{self.port}"
        )
        up = asyncio.create_task(self._server.up.wait())
        await asyncio.wait({self._serving, up}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._serving.done():
            self._serving.result()
        bound.listen(_BACKLOG)  # asyncio has just called it with ACCEPTED_AT_ONCE

    async def wait(self) -> None:
        """Return once `stop` ends it. Raises EndedError, or what else ended it before."""
        server, serving = self._server, self._serving
        if server is None or serving is None:
            return
        await asyncio.wait({serving})
        if not serving.cancelled():
            serving.result()
        if not server.should_exit:
            raise EndedError(f"the listener on {self.host}:{self.port} ended")

    async def stop(self) -> None:
        """Stop accepting, wait briefly for pending answers, and close everything."""
        if self._server is not None and self._serving is not None:
            self._server.end()
            await self._serving
        self._server = self._serving = None


def ending_quietly(app: ASGIApp) -> ASGIApp:
    """Return an app that does not fail when a client hangs up or `stop` is called.

    A client may hang up in the middle of its body, and `stop` cuts answers short. The rest of a
    body that arrives after the answer has begun is read and dropped: it is too late to refuse it.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        is_begun = False

        async def sending(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        async def receiving() -> Message:
            message = await receive()
            while is_begun and message["type"] == "http.request":
                message = await receive()
            return message

        try:
            await app(scope, receiving, sending)
        except ClientDisconnect:
            return  # there is no client left to answer
        except asyncio.CancelledError:
            if not is_begun:
                await PlainTextResponse("the node stops", 503)(scope, receive, send)

    return answer


async def bind(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """Return a socket that listens on `host`, an address or a name of this machine.

    Port 0 means any; one that `is_shared` may have several listeners of this user. Raises OSError:
    taken, or not ours.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
        bound.settimeout(0)
    except OSError:
        bound.close()
        raise
    return bound
