"""A persistent connection for POSTs to a peer, at a tenth of the cost of a general client.

Announcements are sent in many small batches, and blocks are requested by the hundred: a general
client was most of the work of both. The limits are PeerClient's: one address, no redirect, a
bounded head and body, and a deadline.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from typing import Final

import httptools

from chain.gossip.wire.address import Address, parse_address
from chain.gossip.wire.frames import CONTENT_TYPE
from chain.service.http.http_error import (
    ServerError,
    StatusError,
    connection_problem,
    retry_after,
)
from chain.service.peers.patience import ClientLimits, Patience

HEAD_BYTES_MAX: Final = 16 * 1024  # of an answer's head, or in a row of what is not its body
BUFFERED_BYTES_MAX: Final = 256 * 1024  # of a body, and one read of a socket; then none is read
IDLE_S_MAX: Final = 60.0  # shorter than the server's: else it closes as we write
_OK: Final = 200
_NO_CONTENT: Final = 204


class Pipe:
    """Sends one request after another to one address; connects when necessary."""

    def __init__(self, address: Address, headers: Mapping[str, str], limits: ClientLimits) -> None:
        """Send `headers` with every request."""
        usual = {"host": str(address), "content-type": CONTENT_TYPE, **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in usual.items())
        self._address = address
        self._limits = limits
        self._connection: _Connection | None = None
        self._used_s = 0.0

    async def post(
        self, target: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> None:
        """Send a request that 204 answers.

        Raises ServerError; its subclass StatusError: another status. The deadline covers
        everything except connecting, which has its own.
        """
        connection = await self._ready()
        with ExitStack() as failed:
            failed.callback(self.close)  # a late answer must not answer the next request
            await Patience(timeout_s, 1).spend(
                connection.exchange(self._request(target, body, headers), _NO_CONTENT)
            )
            failed.pop_all()
        self._used_s = asyncio.get_running_loop().time()

    @asynccontextmanager
    async def ask(
        self, target: str, body: bytes, headers: Mapping[str, str], bytes_max: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send a request that 200 answers, and give the answer's body as it arrives.

        Here and from the iterator, raises ServerError; its subclass StatusError: another status.
        """
        limits = self._limits
        head = Patience(limits.head_within_s(body), limits.bytes_per_s)
        connection = await self._ready()
        with ExitStack() as failed:
            failed.callback(self.close)
            await head.spend(connection.exchange(self._request(target, body, headers), _OK))
            yield _chunks(connection, Patience(limits.drip_s, limits.bytes_per_s), bytes_max)
            if connection.is_answered:
                failed.pop_all()
        self._used_s = asyncio.get_running_loop().time()

    def close(self) -> None:
        """Close the connection, if any; the next request opens a new one."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    def _request(self, target: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {target} HTTP/1.1\r\n{self._headers}{more}content-length: {len(body)}\r\n\r\n"
        return head.encode() + body

    async def _ready(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        connection = self._connection
        if (
            connection is not None
            and connection.is_open
            and loop.time() - self._used_s < IDLE_S_MAX
        ):
            return connection
        self.close()
        try:
            async with asyncio.timeout(self._limits.connect_s):
                _, made = await loop.create_connection(
                    lambda: _Connection(loop), self._address.host, self._address.port
                )
        except TimeoutError:
            raise ServerError("too slow") from None
        except OSError as error:
            raise ServerError(connection_problem(error)) from error
        made.check_peer(self._address)
        self._connection = made
        return made


async def _chunks(
    connection: "_Connection", patience: Patience, bytes_max: int
) -> AsyncIterator[bytes]:
    """Yield a body as it arrives."""
    count = 0
    while chunk := await patience.spend(connection.chunk()):
        count += len(chunk)
        if count > bytes_max:
            raise ServerError(f"over {bytes_max} bytes", is_fault=True)
        patience.progressed(len(chunk))
        yield chunk


class _Connection(asyncio.Protocol):
    """One connection and its pending answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None  # while an answer is pending
        self._success = 0  # the status that is expected
        self._is_in_head = False
        self._error: ServerError | None = None  # that ended the answer
        self._body: list[bytes] = []  # what nobody has taken yet
        self._body_bytes = 0
        self._news: asyncio.Future[None] | None = None  # of anything of the above
        self._head_bytes = 0  # of the head, and then since the last part of the body
        self._retry_after = ""
        self._is_compressed = False
        self.is_open = True

    @property
    def is_answered(self) -> bool:
        """Whether the whole answer came and was taken."""
        return self._parser is None and not self._body

    async def exchange(self, request: bytes, success: int) -> None:
        """Send a request and wait for the head of an answer with this status.

        Raises ServerError.
        """
        assert self._transport is not None, "connected before it is used"
        self._parser, self._success = httptools.HttpResponseParser(self), success
        self._is_in_head, self._head_bytes = True, 0
        self._retry_after, self._is_compressed = "", False
        self._transport.write(request)
        while self._is_in_head:
            await self._next_news()

    async def chunk(self) -> bytes:
        """Return the next bytes of the body; none: it is complete. Raises ServerError."""
        while not self._body:
            if self._parser is None:
                return b""
            await self._next_news()
        chunk = b"".join(self._body)
        self._body.clear()
        self._body_bytes = 0
        if self._transport is not None:
            self._transport.resume_reading()
        return chunk

    async def _next_news(self) -> None:
        """Wait for more of the answer. Raises ServerError."""
        if self._error is None:
            self._news = self._loop.create_future()
            await self._news
        if self._error is not None:
            raise self._error

    def check_peer(self, address: Address) -> None:
        """Raise ServerError, and close, unless the connection is to this address."""
        assert self._transport is not None, "connected before it is used"
        peer = self._transport.get_extra_info("peername")
        if peer is None:  # it was reset already
            self.abort()
            raise ServerError("connection lost")
        if parse_address(*peer[:2]) != address:
            self.abort()
            raise ServerError(f"connected to {peer}", is_fault=True)

    def abort(self) -> None:
        """Close at once."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    # called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read the answer; one with too long a head, or trailer, is the server's fault."""
        if self._is_in_head:
            room = HEAD_BYTES_MAX - self._head_bytes
            self._head_bytes += len(data)
            self._feed(data[:room])
            data = data[room:]
        if data and not self._is_in_head:
            self._head_bytes += len(data)
            self._feed(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            self._fail(ServerError(f"over {HEAD_BYTES_MAX} bytes", is_fault=True))
        if self._transport is not None and self._body_bytes >= BUFFERED_BYTES_MAX:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait."""
        self._fail(ServerError(f"connection lost {exc or ''}".rstrip()))

    # called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store the headers that are used."""
        if name.lower() == b"retry-after":
            self._retry_after = value.decode("latin-1")
        elif name.lower() == b"content-encoding":
            self._is_compressed = True

    def on_headers_complete(self) -> None:
        """Check the answer's status; the body of a wrong one is not read."""
        if self._parser is None or not self._is_in_head:
            self.abort()  # a second answer
        elif self._parser.get_status_code() != self._success:
            status = self._parser.get_status_code()
            self._fail(StatusError(status, retry_after(self._retry_after)))
        elif self._is_compressed:
            self._fail(ServerError("a compressed answer", is_fault=True))
        else:
            self._is_in_head, self._head_bytes = False, 0
            self._wake()

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body until it is taken."""
        if self._parser is not None and self._error is None:  # not of a second answer
            self._body.append(data)
            self._body_bytes += len(data)
            self._head_bytes = 0
            self._wake()

    def on_message_complete(self) -> None:
        """End the answer."""
        if self._parser is not None and not self._parser.should_keep_alive():
            self.abort()
        self._parser = None
        self._wake()

    def _feed(self, data: bytes) -> None:
        if self._parser is None:
            self.abort()  # an answer without a request
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ServerError(f"{type(error).__name__} {error}", is_fault=True))

    def _fail(self, error: ServerError) -> None:
        self.abort()
        self._error = self._error or error
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
