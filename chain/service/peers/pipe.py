"""A persistent connection for the POSTs of a link, at a fifth of the cost of a general client.

Announcements and answers are sent in many small batches, which were most of a busy node's work. The
limits are PeerClient's: one address, no redirect, a bounded head, no body, and a deadline.
"""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
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

HEAD_BYTES_MAX: Final = 16 * 1024
IDLE_S_MAX: Final = 60.0  # shorter than the server's: else it closes as we write
SUCCESS: Final = 204


class Pipe:
    """Sends one request after another to one address; connects when necessary."""

    def __init__(self, address: Address, headers: Mapping[str, str], connect_s: float) -> None:
        """Send `headers` with every request."""
        usual = {"host": str(address), "content-type": CONTENT_TYPE, **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in usual.items())
        self._address = address
        self._connect_s = connect_s
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
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {target} HTTP/1.1\r\n{self._headers}{more}content-length: {len(body)}\r\n\r\n"
        with ExitStack() as failed:
            failed.callback(self.close)  # a late answer must not answer the next request
            try:
                async with asyncio.timeout(timeout_s):
                    await connection.exchange(head.encode() + body)
            except TimeoutError:
                raise ServerError("too slow") from None
            failed.pop_all()
        self._used_s = asyncio.get_running_loop().time()

    def close(self) -> None:
        """Close the connection, if any; the next request opens a new one."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

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
            async with asyncio.timeout(self._connect_s):
                _, made = await loop.create_connection(
                    lambda: _Connection(loop), self._address.host, self._address.port
                )
        except TimeoutError:
            raise ServerError("too slow") from None
        except OSError as error:
            raise ServerError(connection_problem(error)) from error
        self._connection = made
        made.check_peer(self._address)
        return made


class _Connection(asyncio.Protocol):
    """One connection and its pending answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None  # while an answer is pending
        self._answered: asyncio.Future[None] | None = None
        self._head_bytes = 0
        self._retry_after = ""
        self._is_compressed = False
        self.is_open = True

    async def exchange(self, request: bytes) -> None:
        """Send a request and wait for its 204. Raises ServerError."""
        assert self._transport is not None, "connected before it is used"
        self._parser = httptools.HttpResponseParser(self)
        self._answered = self._loop.create_future()
        self._head_bytes, self._retry_after, self._is_compressed = 0, "", False
        self._transport.write(request)
        try:
            await self._answered
        finally:
            self._parser = self._answered = None

    def check_peer(self, address: Address) -> None:
        """Raise ServerError unless the connection is to this address."""
        assert self._transport is not None, "connected before it is used"
        peer = self._transport.get_extra_info("peername")
        if peer is None or parse_address(*peer[:2]) != address:
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
        """Read the answer; one that is too long is the server's fault."""
        self._head_bytes += len(data)
        if self._parser is None:
            self.abort()  # an answer without a request
        elif self._head_bytes > HEAD_BYTES_MAX:
            self._fail(ServerError(f"over {HEAD_BYTES_MAX} bytes", is_fault=True))
        else:
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
                self._fail(ServerError(f"{type(error).__name__} {error}", is_fault=True))

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
        """Check the answer's status; its body, if any, is not read."""
        if self._parser is None or self._answered is None or self._answered.done():
            self.abort()  # a second answer
        elif self._parser.get_status_code() != SUCCESS:
            status = self._parser.get_status_code()
            self._fail(StatusError(status, retry_after(self._retry_after)))
        elif self._is_compressed:
            self._fail(ServerError("a compressed answer", is_fault=True))

    def on_message_complete(self) -> None:
        """End the wait."""
        if self._parser is not None and not self._parser.should_keep_alive():
            self.abort()
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)

    def _fail(self, error: ServerError) -> None:
        self.abort()
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)
