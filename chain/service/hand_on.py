"""The way from a process that reads to the node: HTTP over a Unix socket in the data directory.

Each start of the node makes a secret, in a file that only the same user can read; it proves that
a request comes from a reader, which has checked it as the node itself would.
"""

import asyncio
import hmac
import logging
import os
import secrets
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chain.durable_file import removing, replace_file
from chain.ledger.db.node_state import Version
from chain.ledger.errors import LedgerError
from chain.regular_file import NotRegularError, TooLongError, read_regular_file
from chain.service.api.hand_on import (
    HandedOn,
    HandOnCutError,
    HandOnFullError,
    HandOnTimeoutError,
    NodeAwayError,
    NodeReply,
)
from chain.service.api.state.version_header import VERSION_HEADER
from chain.service.http.census import origin_of
from chain.service.http.listener import Server, ending_quietly
from chain.service.ledger_thread import LedgerBusyError

log = logging.getLogger(__name__)

SOCKET_NAME: Final = "node.sock"
SECRET_NAME: Final = ".node-secret"  # noqa: S105 - a file's name
HANDED_ON_MAX: Final = 512  # requests at once, of all clients
PER_CLIENT_MAX: Final = 64  # of one IPv4 address or IPv6 /64; loopback is exempt
REPLY_S_MAX: Final = 120.0  # of calls that neither wait nor work for minutes
LONG_REPLY_S_MAX: Final = 900.0  # the longest wait of any method is ten minutes
CONNECT_S_MAX: Final = 2.0
NODE_BACK_S_MAX: Final = 10.0  # before a request that was cut is sent again
_RETRY_PAUSE_S: Final = 0.1
_SECRET_BYTES: Final = 64
_PATH_BYTES_MAX: Final = 100  # Linux takes 107, other systems fewer
_SECRET_HEADER: Final = "groat-secret"  # noqa: S105 - a header's name
_CLIENT_HEADER: Final = "groat-client"
_VERSION: Final = VERSION_HEADER.lower().encode()
_LOOPBACK: Final = ("127.0.0.1", "::1")

Commit = Callable[[], Awaitable[Version]]


class SocketPath:
    """The path of the node's socket; of a long one a short form, while this is open."""

    def __init__(self, folder: Path) -> None:
        """Take the path in `folder`. Raises OSError: there is no such folder."""
        self._folder: int | None = None
        self._bound: tuple[int, int] | None = None
        self.path = str(folder / SOCKET_NAME)
        if len(os.fsencode(self.path)) > _PATH_BYTES_MAX:
            self._folder = os.open(folder, os.O_RDONLY)
            self.path = f"/proc/self/fd/{self._folder}/{SOCKET_NAME}"

    def bind(self, bound: socket.socket) -> None:
        """Bind a socket there, in the place of one that a node left. Raises OSError."""
        with suppress(FileNotFoundError):
            Path(self.path).unlink()
        bound.bind(self.path)
        self._bound = self._present()

    def remove(self) -> None:
        """Remove the socket, unless another node has put its own there since."""
        with removing(Path(self.path)):
            if self._bound is not None and self._bound == self._present():
                Path(self.path).unlink()

    def _present(self) -> tuple[int, int]:
        found = Path(self.path).lstat()
        return found.st_dev, found.st_ino

    def close(self) -> None:
        """Give the short form up."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None


class NodeWay:
    """The way to the node of a data directory: a HandOnPort."""

    def __init__(self, folder: Path) -> None:
        """Go to the node of `folder`. Raises OSError: there is no such folder."""
        self._secret = folder / SECRET_NAME
        self._socket = SocketPath(folder)
        limits = httpx.Limits(max_connections=HANDED_ON_MAX, max_keepalive_connections=8)
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=self._socket.path, limits=limits, verify=False),
            trust_env=False,
        )

    async def send(self, request: HandedOn, /, *, is_repeatable: bool) -> NodeReply:
        try:
            return await self._send(request, was_repeated=False)
        except HandOnCutError as error:
            if not is_repeatable or isinstance(error, HandOnTimeoutError):
                raise
        deadline = asyncio.get_running_loop().time() + NODE_BACK_S_MAX
        while True:
            try:
                return await self._send(request, was_repeated=True)
            except HandOnTimeoutError:
                raise
            except (NodeAwayError, HandOnCutError) as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise HandOnCutError from error
            await asyncio.sleep(_RETRY_PAUSE_S)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        self._socket.close()

    async def _send(self, request: HandedOn, *, was_repeated: bool) -> NodeReply:
        headers = {
            **request.headers,
            "host": "localhost",
            "connection": "close",  # a kept one may end at any time, and that looks like a cut
            _SECRET_HEADER: await asyncio.to_thread(self._read_secret),
            _CLIENT_HEADER: request.client,
        }
        raw = [
            (name.encode(), text.strip(" \t").encode("latin-1")) for name, text in headers.items()
        ]
        url = f"http://localhost{request.path}"
        timeout = httpx.Timeout(
            REPLY_S_MAX,
            read=LONG_REPLY_S_MAX if request.is_long else REPLY_S_MAX,
            connect=CONNECT_S_MAX,
            pool=CONNECT_S_MAX,
        )
        try:
            reply = await self._client.request(
                request.method, url, content=request.body, headers=raw, timeout=timeout
            )
        except httpx.PoolTimeout as error:
            raise HandOnFullError from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NodeAwayError from error
        except httpx.TimeoutException as error:
            raise HandOnTimeoutError from error
        except httpx.HTTPError as error:
            raise HandOnCutError from error
        if reply.status_code == HTTPStatus.FORBIDDEN and _SECRET_HEADER in reply.headers:
            raise NodeAwayError  # another start of the node, whose secret is not written yet
        return NodeReply(reply.status_code, dict(reply.headers), reply.content, was_repeated)

    def _read_secret(self) -> str:
        try:
            return read_regular_file(self._secret, _SECRET_BYTES).decode("ascii")
        except (OSError, UnicodeDecodeError) as error:  # missing, no file, or not ours to read
            raise NodeAwayError from error


@asynccontextmanager
async def taking_hand_ons(app: ASGIApp, folder: Path, commit: Commit) -> AsyncIterator[None]:
    """Serve `app` to readers inside the block; `commit` returns the version that has all so far.

    Raises OSError: the socket cannot be made.
    """
    secret = secrets.token_hex(_SECRET_BYTES // 2)
    where = SocketPath(folder)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        where.bind(bound)  # the ledger's lock is ours
        gate = _Gate(app, secret, commit)
        config = uvicorn.Config(
            ending_quietly(gate),
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=3,
        )
        server = Server(config)
        serving = asyncio.create_task(server.serve(sockets=[bound]), name="hand-ons")
        up = asyncio.create_task(server.up.wait())
        await asyncio.wait({serving, up}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        await asyncio.to_thread(replace_file, folder / SECRET_NAME, secret.encode())
        try:
            yield
        finally:
            _remove_secret(folder / SECRET_NAME, secret)
            server.end()
            await serving
    finally:
        bound.close()
        where.remove()
        where.close()


def _remove_secret(path: Path, secret: str) -> None:
    """Remove the secret, unless another node has replaced it since."""
    with removing(path), suppress(NotRegularError, TooLongError):
        if read_regular_file(path, _SECRET_BYTES) == secret.encode():
            path.unlink()


class _Gate:
    """ASGI middleware: takes requests of readers only, and counts their clients."""

    def __init__(self, app: ASGIApp, secret: str, commit: Commit) -> None:
        self._app = app
        self._secret = secret.encode()
        self._commit = commit
        self._clients: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        given = headers.get(_SECRET_HEADER.encode(), b"")
        if not hmac.compare_digest(given, self._secret):
            refusal = PlainTextResponse("", HTTPStatus.FORBIDDEN, {_SECRET_HEADER: "wrong"})
            await refusal(scope, receive, send)
            return
        client = headers.get(_CLIENT_HEADER.encode(), b"").decode("ascii", "replace")
        inner = {_SECRET_HEADER.encode(), _CLIENT_HEADER.encode()}
        kept = [(name, value) for name, value in scope["headers"] if name not in inner]
        scope = {**scope, "headers": kept, "client": (client, 0)}
        origin = _origin(client)
        if self._is_full(origin):
            busy = PlainTextResponse("too many requests at once", HTTPStatus.SERVICE_UNAVAILABLE)
            await busy(scope, receive, send)
            return
        self._clients[origin] += 1
        try:
            await self._app(scope, receive, self._adding_version(scope, send))
        finally:
            self._clients[origin] -= 1
            if not self._clients[origin]:
                del self._clients[origin]

    def _is_full(self, origin: str) -> bool:
        if self._clients.total() >= HANDED_ON_MAX:
            return True
        return origin not in _LOOPBACK and self._clients[origin] >= PER_CLIENT_MAX

    def _adding_version(self, scope: Scope, send: Send) -> Send:
        """Return what commits before the reply to a change, and adds the version that has it."""
        if scope["method"] != "POST":
            return send

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                with suppress(LedgerError, LedgerBusyError):  # then the reply is as good without
                    version = str(await self._commit()).encode()
                    others = [each for each in message["headers"] if each[0] != _VERSION]
                    message = {**message, "headers": [*others, (_VERSION, version)]}
            await send(message)

        return sending


def _origin(client: str) -> str:
    try:
        return origin_of(client)
    except ValueError:
        return ""
