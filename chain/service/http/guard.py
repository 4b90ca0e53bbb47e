"""uvicorn's HTTP protocol with limits on what a stranger's connection may cost."""

import asyncio
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, ClassVar, Final

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from chain.service.http.census import Census, Connection, Exempt, Rank, exempt_nobody
from chain.service.http.joined_writes import JoinedWrites
from chain.service.http.line_ends import LineEnds

_PIPELINED_MAX: Final = 8  # requests queued after the one being answered
_PIPELINED_BYTES_MAX: Final = 16 * 1024  # read of them while it is answered
_HEADER_OVERHEAD: Final = 4  # ": " and the line end
_VOUCHER: Final = "groat.vouch"  # key in a scope's state


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardLimits:
    """Limits on the connections of one listener."""

    head_bytes_max: int = 16 * 1024  # request line and headers; trailers too
    head_s: float = 10.0  # from connecting, or from a request's first byte, to the last header
    body_s: float = 10.0  # grace for a body ...
    body_bytes_per_s: int = 16_000  # ... beyond which it must have come at least this fast
    linger_s: float = 2.0  # a refused body may continue: the client reads late
    idle_s: float = 75.0  # between two requests
    write_stall_s: float = 15.0  # without a byte of the answer being taken
    connections_max: int = 1200  # at the limit, an idle connection of the largest network is shed
    connections_per_ip_max: int = 12  # of one IPv4 address or IPv6 /64
    exempt: Exempt = exempt_nobody  # IPs without that limit
    takes_bare_lf: bool = False  # at the ends of a head's lines, unless the body is chunked


class _RefusedError(Exception):
    """Stops the parser inside a callback; the connection is answered and closed."""


class _Phase(Enum):
    IDLE = auto()  # no byte of a request has arrived
    HEAD = auto()
    BODY = auto()


class GuardProtocol(HttpToolsProtocol):
    """One connection. Plain uvicorn waits forever for half a request and buffers any header."""

    limits: ClassVar[GuardLimits]
    census: ClassVar[Census]

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own signature
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = self.limits.idle_s  # type: ignore[assignment]
        self._connection: Connection | None = None  # while it counts
        self._phase = _Phase.IDLE
        self._refusal = HTTPStatus.BAD_REQUEST
        self._head_bytes = 0  # of headers that are complete
        self._undelivered_bytes = 0  # read since the parser last delivered body bytes
        self._body_bytes = 0
        self._body_since = 0.0
        self._lines = LineEnds()
        self._left_bytes: int | None = 0  # of the body; None: it is chunked
        self._is_opaque = False  # the current head began in the same read as chunks
        self._answering: RequestResponseCycle | None = None  # `cycle` is that of the last request
        self._pipelined_bytes = 0  # read since requests were queued
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, or drop it if the listener or the address is at its limit."""
        self._joined = JoinedWrites(transport, self.loop)
        super().connection_made(self._joined)
        if self.client is not None:  # None: it is closed already
            self._connection = self.census.admit(self.client[0], self._on_shed)
        if self._connection is None:
            transport.abort()
            return
        self._set_deadline(self.limits.head_s, self._on_deadline)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request being answered, not only the last one that was read, and forget it."""
        super().connection_lost(exc)
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        self._cancel_deadline()
        self._cancel_stall()
        if self._connection is not None:
            self.census.leave(self._connection)
            self._connection = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; close after too many bytes that are neither headers nor body."""
        if self._phase is _Phase.IDLE:
            self._phase = _Phase.HEAD
            self._set_deadline(self.limits.head_s, self._on_deadline)
        self._undelivered_bytes += len(data)
        self._pipelined_bytes += len(data) if self.pipeline else 0
        if self.limits.takes_bare_lf:
            self._feed(data)
        else:
            super().data_received(data)
        if self._undelivered_bytes > self.limits.head_bytes_max:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self.pipeline and not self.transport.is_closing():
            self._read_pipelined()

    def _read_pipelined(self) -> None:
        """Read on for a while: only so is it noticed that the client hangs up.

        uvicorn stops reading at the first queued request, until the one before is answered.
        """
        if self._pipelined_bytes <= _PIPELINED_BYTES_MAX:
            self.flow.resume_reading()
        else:
            self.flow.pause_reading()

    def _feed(self, data: bytes) -> None:
        """Feed the parser heads, their line ends rewritten, and bodies as they are.

        A head in the same read as a preceding chunked body is not rewritten either.
        """
        while data and not self.transport.is_closing():
            is_body = self._phase is _Phase.BODY
            if is_body or self._is_opaque:
                end = (is_body and self._left_bytes) or len(data)
                part, data = data[:end], data[end:]
            else:
                part, data = self._lines.take(data)
            is_unknown = self._is_opaque or (is_body and self._left_bytes is None)
            super().data_received(part)
            self._is_opaque = is_unknown and self._phase is _Phase.HEAD

    def on_message_begin(self) -> None:
        """Refuse a flood of tiny requests in one read: each would queue an answer."""
        if len(self.pipeline) >= _PIPELINED_MAX:
            raise self._stop_with(HTTPStatus.TOO_MANY_REQUESTS)
        super().on_message_begin()
        self.scope["state"][_VOUCHER] = self._vouch
        self._head_bytes = 0
        if self._phase is not _Phase.HEAD:  # a pipelined one, in the same read
            self._phase = _Phase.HEAD
            self._set_deadline(self.limits.head_s, self._on_deadline)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a complete header; a trailer of a chunked body is one too."""
        self._head_bytes += len(name) + len(value) + _HEADER_OVERHEAD
        if self._head_bytes + len(self.url) > self.limits.head_bytes_max:
            raise self._stop_with(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the clock of the body."""
        self._phase = _Phase.BODY
        self._body_bytes = 0
        self._body_since = self.loop.time()
        self._set_deadline(self.limits.body_s, self._check_body)
        self._left_bytes = _body_bytes(self.headers)
        if self._left_bytes is None and self._lines.has_bare_lf:
            raise self._stop_with(HTTPStatus.BAD_REQUEST)
        if self._connection is not None:
            self.census.disown(self._connection)
        super().on_headers_complete()
        if not self.pipeline:
            self._answering = self.cycle
        self._note_rank()

    def on_body(self, body: bytes) -> None:
        """Note progress."""
        self._undelivered_bytes = 0
        self._body_bytes += len(body)
        if self._left_bytes is not None:
            self._left_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the clocks of the request."""
        self._undelivered_bytes = 0
        self._phase = _Phase.IDLE
        self._cancel_deadline()
        if self.cycle.response_complete:  # refused early; uvicorn's own idle timer is off by now
            self._set_deadline(self.limits.idle_s, self.transport.abort)
        super().on_message_complete()
        self._note_rank()

    def on_response_complete(self) -> None:
        """Limit the time to read the answer, and the rest of a refused body."""
        if self.pipeline:
            self._answering = self.pipeline[-1][0]
        super().on_response_complete()
        self._joined.flush()
        if not self.pipeline:
            self._pipelined_bytes = 0
        if self._phase is _Phase.BODY:
            self._set_deadline(self.limits.linger_s, self.transport.abort)
        elif self._phase is _Phase.HEAD:
            self._unset_keepalive_if_required()  # the next request has begun
        if self.transport.get_write_buffer_size():
            self._watch_writing()
        self._note_rank()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Answer a request that the parser rejected with the fitting status."""
        self._refuse(self._refusal)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, even one that does not read its answer."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # close() would wait for a client that reads nothing
        super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        """Start the clock of the reader."""
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        """Stop the clock of the reader."""
        super().resume_writing()
        self._cancel_stall()

    def _note_rank(self) -> None:
        """Report the connection's rank to the census."""
        if self._connection is None:
            return
        rank = Rank.IDLE
        if self._phase is _Phase.BODY:
            rank = Rank.SENDING
        elif not getattr(self.cycle, "response_complete", True):  # there is no cycle at first
            rank = Rank.ANSWERED
        self.census.set_rank(self._connection, rank)

    def _vouch(self, owner: Hashable, host: str) -> None:
        if self._connection is not None:
            self.census.vouch(self._connection, owner, host)

    def _on_shed(self) -> None:
        """Close: the census has shed this connection for another."""
        self._connection = None
        self._cancel_deadline()
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # close() would wait for a reader
        else:
            self.transport.close()

    def _stop_with(self, status: HTTPStatus) -> _RefusedError:
        self._refusal = status
        return _RefusedError(status.phrase)

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer with a bare status, unless another answer comes first, and close."""
        if self.transport.is_closing():
            return
        self._cancel_deadline()
        earlier = self._answering
        if (
            earlier is None
            or earlier.response_complete
            or (earlier is self.cycle and not earlier.response_started)
        ):
            end = b"content-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + end)
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._watch_writing()

    def _on_deadline(self) -> None:
        if self._undelivered_bytes:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def _check_body(self) -> None:
        """Extend the deadline of a body that arrives fast enough."""
        limits = self.limits
        if self.flow.read_paused:  # reading is paused on our side
            self._set_deadline(limits.body_s, self._check_body)
            return
        granted_s = limits.body_s + self._body_bytes / limits.body_bytes_per_s
        left_s = self._body_since + granted_s - self.loop.time()
        if left_s > 0:
            self._set_deadline(left_s, self._check_body)
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _watch_writing(self) -> None:
        self._cancel_stall()
        size = self.transport.get_write_buffer_size()
        self._stall = self.loop.call_later(self.limits.write_stall_s, self._check_writing, size)

    def _check_writing(self, size_before: int) -> None:
        size = self.transport.get_write_buffer_size()
        if size >= size_before:
            self.transport.abort()
        elif size:
            self._watch_writing()

    def _set_deadline(self, delay_s: float, act: Callable[[], None]) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_later(delay_s, act)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cancel_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None


def _body_bytes(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Return the body's length of a request that the parser accepted; None: it is chunked."""
    found = dict(headers)
    return None if b"transfer-encoding" in found else int(found.get(b"content-length", b"0"))


def guarded(
    limits: GuardLimits, is_banned: Callable[[str], bool] = lambda _address: False
) -> type[GuardProtocol]:
    """Return the protocol class of one listener, for uvicorn's `http=`.

    Connections from a banned IP (as text) are dropped before a byte is read.
    """

    class Guarded(GuardProtocol):
        pass

    Guarded.limits = limits
    Guarded.census = Census(
        limits.connections_max,
        limits.connections_per_ip_max,
        exempt=limits.exempt,
        is_banned=is_banned,
    )
    return Guarded


def vouch(scope: Scope, owner: Hashable, host: str) -> None:
    """Protect a request's connection from shedding until its next request.

    `owner` identifies the link that the request belongs to, `host` is its peer's IP.
    """
    voucher = scope.get("state", {}).get(_VOUCHER)
    if voucher is not None:  # None: the app runs behind a server without the guard
        voucher(owner, host)
