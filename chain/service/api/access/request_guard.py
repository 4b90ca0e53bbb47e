"""The checks of every request before any handler sees it.

A browser on this machine can reach the API, and so can a website in it: by DNS rebinding, which the
Host header shows, or by cross-site requests, which the Origin header shows. The size of a body is
limited while it is read, not afterwards.
"""

import ipaddress
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES_MAX: Final = 64 * 1024
TX_BODY_BYTES_MAX: Final = 1_000_000  # hex of the largest transaction that relays (400,000 weight)
RPC_BODY_BYTES_MAX: Final = 2 * 4_000_000 + 64 * 1024  # hex of the largest block, in an envelope
TX_PATHS: Final = frozenset({"/api/tx", "/api/txs/package"})
_NO_SUCH_HOST: Final = (
    "this node does not answer to that host: connect by an address of this machine, or start the "
    "node with --api-host NAME"
)
_ENDLESS: Final = "/api/v1/events"  # endless, so HEAD cannot be answered
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SLASHES: Final = re.compile("/{2,}")
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"content-security-policy", _CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_OPENED_HEADERS: Final = (  # of what a page of any website may read
    *_HEADERS,
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"groat-version"),
)
_PREFLIGHT_HEADERS: Final = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"content-type, groat-version, last-event-id"),
    (b"access-control-max-age", b"600"),
)


class Refusal(HTTPException):
    """A request that is refused before any handler sees it."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(int(status), detail)


class ApiRequestGuard:
    """ASGI middleware: checks host, origin, encoding and size; adds fixed headers; answers HEAD."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        """Wrap `app`; `hosts` are further accepted Host headers, each `name` or `name:port`."""
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on with a limit on its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = _SLASHES.sub("/", scope["path"])
        scope = {**scope, "path": path, "raw_path": _SLASHES.sub("/", path).encode()}
        opened = _is_open(scope["method"], path)
        send = _with_headers(send, _OPENED_HEADERS if opened else _HEADERS)
        try:
            self._check(scope)
            receive = _bounded(receive, scope)
        except Refusal as refusal:
            reply: Response = PlainTextResponse(refusal.detail, refusal.status_code)
            await reply(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and opened:
            reply = Response(status_code=HTTPStatus.NO_CONTENT)
            await reply(scope, receive, _with_headers(send, _PREFLIGHT_HEADERS))
            return
        if scope["method"] == "HEAD" and path != _ENDLESS:
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        host = _only_header(scope, b"host")
        if host is None or not self._is_ours(host.lower(), scope.get("server")):
            raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, _NO_SUCH_HOST)
        if scope["method"] not in _READING and scope["path"] not in TX_PATHS:
            _check_origin(scope, host)
        encoding = _only_header(scope, b"content-encoding")
        if encoding not in {None, "identity"}:
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body without encoding")

    def _is_ours(self, host: str, server: tuple[str, int | None] | None) -> bool:
        name, port = _split_host(host)
        if name is None:
            return False
        if host in self._hosts or name in self._hosts:
            return True
        if server is None:  # a Unix socket: there is no port to compare
            return name in _LOOPBACK_NAMES
        own, own_port = server
        is_port = port in {
            None,
            own_port or 80,
        }  # some clients omit it
        return is_port and (name in _LOOPBACK_NAMES or _same_address(name, own))


def _is_open(method: str, path: str) -> bool:
    """Return whether other websites may use this: public chain data, and submission."""
    if path in TX_PATHS:
        return method in {"POST", "OPTIONS"}
    return path.startswith("/api/") and method in _READING


def _split_host(host: str) -> tuple[str | None, int | None]:
    """Return the name (without brackets; None if invalid) and the port, if given."""
    match = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::([0-9]{1,5}))?", host)
    if match is None:
        return None, None
    return match[1] or match[2], int(match[3]) if match[3] else None


def _same_address(name: str, own: str) -> bool:
    try:
        ip, own_ip = ipaddress.ip_address(name), ipaddress.ip_address(own)
    except ValueError:  # a name, or a form of an address that only browsers accept
        return False
    # A socket on [::] sees IPv4 inside IPv6.
    mapped = own_ip.ipv4_mapped if isinstance(own_ip, ipaddress.IPv6Address) else None
    return ip in {own_ip, mapped}


def _check_origin(scope: Scope, host: str) -> None:
    origin = _only_header(scope, b"origin")
    foreign = origin is not None and origin not in {f"http://{host}", f"https://{host}"}
    site = _only_header(scope, b"sec-fetch-site")
    if foreign or site not in {None, "same-origin", "none"}:
        raise Refusal(HTTPStatus.FORBIDDEN, "not from another site")


def _only_header(scope: Scope, name: bytes) -> str | None:
    """Return the header's value, or None; a repeated header is an error."""
    values = [value for key, value in scope["headers"] if key == name]
    if len(values) > 1:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"more than one {name.decode()} header")
    return values[0].decode("latin-1") if values else None


def _body_max(path: str) -> int:
    if path in {"/", "/rpc"} or path.startswith("/wallet/"):
        return RPC_BODY_BYTES_MAX
    return TX_BODY_BYTES_MAX if path in TX_PATHS else BODY_BYTES_MAX


def _bounded(receive: Receive, scope: Scope) -> Receive:
    """Return a `receive` that raises a Refusal as soon as the body is over its limit."""
    left = _body_max(scope["path"])
    declared = _only_header(scope, b"content-length")
    if declared is not None and (not declared.isdecimal() or int(declared[:20]) > left):
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {left} bytes")

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long")
        return message

    return bounded


def _without_body(send: Send) -> Send:
    """Return a `send` for the reply to HEAD: GET's reply without its body (RFC 9110)."""

    async def sending(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return sending


def _with_headers(send: Send, headers: Iterable[tuple[bytes, bytes]]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *headers]}
        await send(message)

    return sending
