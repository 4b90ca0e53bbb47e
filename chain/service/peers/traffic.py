"""The accepting side's traffic: up and down streams, and requests for headers and blocks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from chain.gossip.events import BadFrame, RequestAbandoned, Requested, Token
from chain.gossip.wire.frames import CONTENT_TYPE, FrameDecoder, decode_frames
from chain.gossip.wire.messages import GetData, GetHeaders
from chain.primitives.encoding import DecodeError
from chain.service.http.guard import vouch
from chain.service.peers.acceptor import (
    WRITE_BYTES,
    AcceptedLink,
    Acceptor,
    ServerLimits,
    plain_response,
)
from chain.service.peers.inbox import Inbox, slices, split_frames
from chain.service.peers.wire import LINK_HEADER, SEQ_HEADER, request_kind

Endpoint = Callable[[Request], Awaitable[Response]]
_STREAM_HEADERS: Final = {"x-accel-buffering": "no", "cache-control": "no-store"}
_RETRY_S: Final = 1  # for requests that come too fast


class Traffic:
    """Moves frames between accepted links and the core."""

    def __init__(self, acceptor: Acceptor, inbox: Inbox, limits: ServerLimits) -> None:
        self._acceptor = acceptor
        self._inbox = inbox
        self._limits = limits
        self._tokens = 0

    async def down(self, request: Request) -> Response:
        """Stream what the core sends, until the link ends; the link ends with the stream."""
        link = self._link(request, request.path_params["link"])
        if link is None:
            return plain_response(HTTPStatus.GONE)
        if link.is_streaming or not link.decision.done():
            return plain_response(HTTPStatus.CONFLICT)
        link.is_streaming = True
        ended = partial(self._acceptor.end, link, "it closed the connection")
        return _Stream(_frames(link), ended)

    def up(self, lane: int) -> Endpoint:
        """Return the endpoint that accepts a lane's batches of frames, each number once."""

        async def endpoint(request: Request) -> Response:
            link = self._link(request, request.path_params["link"])
            if link is None:
                return plain_response(HTTPStatus.GONE)
            seq = request.headers.get(SEQ_HEADER, "")
            if not (seq.isascii() and seq.isdecimal() and len(seq) < 20):
                return plain_response(HTTPStatus.BAD_REQUEST)
            kind = f"up/{lane}"
            if not link.begin(kind):
                return plain_response(HTTPStatus.TOO_MANY_REQUESTS, retry_after_s=_RETRY_S)
            try:
                return await self._take_turn(link, lane, int(seq), request)
            finally:
                link.finish(kind)

        return endpoint

    async def _take_turn(
        self, link: AcceptedLink, lane: int, seq: int, request: Request
    ) -> Response:
        try:
            async with asyncio.timeout(self._limits.hold_s):
                await link.readable.wait()
        except TimeoutError:
            return plain_response(HTTPStatus.TOO_MANY_REQUESTS, retry_after_s=_RETRY_S)
        async with link.turns[lane].lock:
            return await self._take_batch(link, lane, seq, request)

    async def _take_batch(
        self, link: AcceptedLink, lane: int, seq: int, request: Request
    ) -> Response:
        turn = link.turns[lane]
        if seq not in (turn.done, turn.done + 1):
            return plain_response(HTTPStatus.CONFLICT)
        body = await _body(request)
        if body is None:
            return plain_response(HTTPStatus.BAD_REQUEST)
        if seq == turn.done:  # its answer was lost, its frames were not
            return plain_response(HTTPStatus.NO_CONTENT)
        turn.done = seq
        try:
            await self._take_frames(link, body)
        except DecodeError as error:
            return self._blame(link, str(error))
        return plain_response(HTTPStatus.GONE if link.is_closed else HTTPStatus.NO_CONTENT)

    async def _take_frames(self, link: AcceptedLink, body: bytes) -> None:
        """Pass the frames of a batch to the core, slice by slice, at the core's pace.

        A debt stops it between two slices. Raises DecodeError.
        """
        decoder = FrameDecoder(link.backlog.by_type.received)
        unpaid = 0  # bytes of incomplete frames
        for piece in slices(body):
            messages = decoder.feed(piece)
            unpaid += len(piece)
            for frames in split_frames(link.id, messages, unpaid):
                await self._inbox.deliver(link.id, frames, frames.size)
            unpaid = 0 if messages else unpaid
            await asyncio.sleep(0)  # meanwhile the core may have paused or closed the link
            await link.readable.wait()
            if link.is_closed:
                return
        decoder.finish()

    def request(self, kind: str) -> Endpoint:
        """Return the endpoint that answers one kind of request: headers or blocks."""

        async def endpoint(request: Request) -> Response:
            link = self._link(request, request.headers.get(LINK_HEADER, ""))
            if link is None:
                return plain_response(HTTPStatus.GONE)
            if not link.readable.is_set() or not link.begin(kind):
                return plain_response(HTTPStatus.TOO_MANY_REQUESTS, retry_after_s=_RETRY_S)
            with ExitStack() as stack:
                stack.callback(link.finish, kind)
                return await self._take_request(link, kind, request, stack)

        return endpoint

    async def _take_request(
        self, link: AcceptedLink, kind: str, request: Request, stack: ExitStack
    ) -> Response:
        body = await _body(request)
        if body is None:
            return plain_response(HTTPStatus.BAD_REQUEST)
        try:
            messages = decode_frames(body, link.backlog.by_type.received)
        except DecodeError as error:
            return self._blame(link, str(error))
        message = messages[0] if len(messages) == 1 else None
        if not isinstance(message, GetHeaders | GetData) or request_kind(message) != kind:
            return self._blame(link, f"no request for {kind}")
        self._tokens += 1
        token = Token(self._tokens)
        link.expect(token)
        stack.callback(self._end_request, link, token)
        size = len(body)
        await self._inbox.deliver(link.id, Requested(link.id, token, message, size), size)
        try:
            first = await asyncio.wait_for(link.next_reply(token), self._limits.reply_s)
        except TimeoutError:
            return plain_response(HTTPStatus.SERVICE_UNAVAILABLE, retry_after_s=_RETRY_S)
        if not first:
            return plain_response(HTTPStatus.GONE)
        return _Stream(_answer(link, token, first), stack.pop_all().close)

    def _end_request(self, link: AcceptedLink, token: Token) -> None:
        if not link.forget(token):
            self._inbox.end(link.id, RequestAbandoned(link.id, token))

    def _link(self, request: Request, secret: str) -> AcceptedLink | None:
        """Return the link of a request, and count the request's connection as the link's."""
        link = self._acceptor.links.find(secret)
        if link is not None:
            vouch(request.scope, link.id, link.remote.host)
        return link

    def _blame(self, link: AcceptedLink, why: str) -> Response:
        self._inbox.end(link.id, BadFrame(link.id, why))
        return plain_response(HTTPStatus.BAD_REQUEST)


class _Stream(StreamingResponse):
    """A streamed response of frames; calls back when it is over, even if it never began."""

    def __init__(self, frames: AsyncIterator[bytes], ended: Callable[[], None]) -> None:
        super().__init__(frames, headers=_STREAM_HEADERS, media_type=CONTENT_TYPE)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


async def _frames(link: AcceptedLink) -> AsyncIterator[bytes]:
    while taken := await link.outbox.take(WRITE_BYTES):
        for at in range(0, len(taken), WRITE_BYTES):
            yield taken[at : at + WRITE_BYTES]


async def _answer(link: AcceptedLink, token: Token, first: bytes) -> AsyncIterator[bytes]:
    frame = first
    while frame:
        yield frame
        frame = await link.next_reply(token)


async def _body(request: Request) -> bytes | None:
    """Return the body, within the route's limit; None if the client went away."""
    try:
        return await request.body()
    except ClientDisconnect:
        return None
