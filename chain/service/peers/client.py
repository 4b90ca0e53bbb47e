"""The dialling side's HTTP: one client a link, and a limit on everything a server may answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ssl import SSLContext
from typing import Final, TypeVar

import httpx

from chain.gossip.wire.address import Address, parse_address
from chain.gossip.wire.frames import CONTENT_TYPE
from chain.service.http.census import CONNECTIONS_MAX
from chain.service.http.http_error import (
    ServerError,
    StatusError,
    connection_problem,
    retry_after,
)
from chain.service.peers.patience import ClientLimits, Patience
from chain.service.peers.pipe import Pipe
from chain.service.peers.wire import NETWORK_HEADER, PREFIX

T = TypeVar("T")

# httpx documents HTTPError; the others are bugs of libraries with a stranger's bytes, which must
# not stop the node.
_FAILURES: Final = (
    httpx.HTTPError,
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    AttributeError,
    TypeError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What to send besides the path, and which answer is acceptable."""

    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    success: int = 200
    body_bytes_max: int | None = 0


SIMPLE: Final = Exchange()


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer."""

    headers: httpx.Headers
    body: bytes


class StreamedResponse:
    """A response with checked headers."""

    def __init__(
        self, response: httpx.Response, patience: Patience, body_bytes_max: int | None
    ) -> None:
        self.headers = response.headers
        self.local = _local_address(response)
        self._response = response
        self._patience = patience
        self._bytes_max = body_bytes_max

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises ServerError: too slow, or longer than allowed."""
        count = 0
        raw = self._response.aiter_raw()
        while (chunk := await self._spend(anext(raw, None))) is not None:
            count += len(chunk)
            if self._bytes_max is not None and count > self._bytes_max:
                raise ServerError(f"over {self._bytes_max} bytes", is_fault=True)
            self._patience.progressed(len(chunk))
            yield chunk

    async def _spend(self, awaited: Awaitable[bytes | None]) -> bytes | None:
        with _server_errors():
            return await self._patience.spend(awaited)

    async def body(self) -> bytes:
        """Return the whole body."""
        return b"".join([chunk async for chunk in self.chunks()])


class PeerClient:
    """HTTP to a single address: no proxy, redirect, cookie or compression."""

    def __init__(
        self, address: Address, magic: bytes, context: SSLContext, limits: ClientLimits
    ) -> None:
        """Make a client; `context` is a parameter to be shared, as making one takes 20 ms."""
        self.address = address
        self.limits = limits
        self._headers = {
            NETWORK_HEADER: magic.hex(),
            "accept-encoding": "identity",
            "user-agent": "groat",
        }
        self._pipes: list[Pipe] = []
        self._http = httpx.AsyncClient(
            base_url=f"http://{address}{PREFIX}",
            headers=self._headers,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            verify=context,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(limits.idle_s, connect=limits.connect_s),
            limits=httpx.Limits(
                max_connections=CONNECTIONS_MAX,
                max_keepalive_connections=CONNECTIONS_MAX,
                keepalive_expiry=60.0,  # shorter than the server's: no race with its close
            ),
        )

    async def close(self) -> None:
        """Close all connections, even if cancelled on the way."""
        for pipe in self._pipes:
            pipe.close()
        closing = asyncio.ensure_future(self._close_http())  # it stops at the first if cancelled
        try:
            await asyncio.shield(closing)
        finally:
            await asyncio.wait([closing])

    async def _close_http(self) -> None:
        with suppress(ServerError), _server_errors():
            await self._http.aclose()

    async def exchange(self, method: str, path: str, how: Exchange = SIMPLE) -> Response:
        """Send a request and return its answer's headers and body. Raises ServerError.

        Its subclass StatusError: the status is not the one in `how`.
        """
        async with self._opened(method, path, how, self.limits.drip_s) as answer:
            return Response(answer.headers, await answer.body())

    def pipe(self) -> Pipe:
        """Return a separate connection for POSTs, closed with the client."""
        self._pipes.append(Pipe(self.address, self._headers, self.limits))
        return self._pipes[-1]

    def stream(self, path: str) -> AbstractAsyncContextManager[StreamedResponse]:
        """Open an endless answer, which only silence ends. Raises ServerError."""
        return self._opened("GET", path, Exchange(body_bytes_max=None), None)

    @asynccontextmanager
    async def _opened(
        self, method: str, path: str, how: Exchange, patience_s: float | None
    ) -> AsyncIterator[StreamedResponse]:
        headers = dict(how.headers)
        if how.content:
            headers["content-type"] = CONTENT_TYPE
        content = how.content or None
        request = self._http.build_request(method, path, content=content, headers=headers)
        head = Patience(self.limits.head_within_s(how.content), self.limits.bytes_per_s)
        with _server_errors():
            response = await head.spend(self._http.send(request, stream=True))
        try:
            self._check(response, how.success)
            yield StreamedResponse(
                response, Patience(patience_s, self.limits.bytes_per_s), how.body_bytes_max
            )
        finally:
            with _server_errors():
                await response.aclose()

    def _check(self, response: httpx.Response, success: int) -> None:
        connected_to = response.extensions["network_stream"].get_extra_info("server_addr")
        if connected_to is None:
            raise ServerError("reset behind its answer")
        if parse_address(*connected_to[:2]) != self.address:
            raise ServerError(f"connected to {connected_to}", is_fault=True)
        if response.status_code != success:
            raise StatusError(
                response.status_code, retry_after(response.headers.get("retry-after", ""))
            )
        if "content-encoding" in response.headers:
            raise ServerError("a compressed answer", is_fault=True)


def _local_address(response: httpx.Response) -> Address | None:
    """Return the local address of an answer's connection, if it is still open."""
    found = response.extensions["network_stream"].get_extra_info("client_addr")
    return None if found is None else parse_address(*found[:2])


@contextmanager
def _server_errors() -> Iterator[None]:
    """Convert errors of a server, or of the network to it, to ServerError."""
    try:
        yield
    except TimeoutError:
        raise ServerError("too slow") from None
    except _FAILURES as error:
        raise ServerError(connection_problem(error)) from error
