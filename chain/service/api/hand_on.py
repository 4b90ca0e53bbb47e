"""What an API that only reads hands on to the node: the port, and which requests those are.

The methods of JSON-RPC have a table of their own (chain/service/api/rpc/hand_on.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chain.ledger.db.node_state import parse_version
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import id_text
from chain.primitives.transaction import decode_transaction
from chain.service.api.access.budget import RETRY_S
from chain.service.api.state.version_header import VERSION_HEADER, WAIT_S_MAX, WaitForVersion

NO_NODE: Final = "the node is not running, so this cannot be done now; reads go on"
FULL: Final = "too many requests wait for the node: try again later"
CUT: Final = "the node ended before it replied: whether this was done is not known"
SILENT: Final = "the node does not reply: whether this was done is not known"
AT_NODE: Final = frozenset(
    {
        ("POST", "/api/tx"),
        ("POST", "/api/txs/package"),
        ("GET", "/api/v1/peers"),
        ("GET", "/peers"),
    }
)
_SEND: Final = ("POST", "/api/tx")
_KNOWN: Final = '"code":-27'  # Code.ALREADY_IN_CHAIN, as Esplora quotes it
_HEADERS: Final = ("authorization", "content-type", "user-agent", "accept")
_RETURNED: Final = ("cache-control", "content-type", "retry-after", "www-authenticate")


class NodeAwayError(Exception):
    """There is no node that takes requests; nothing was done."""


class HandOnFullError(NodeAwayError):
    """As many replies as may be are waited for already; nothing was sent."""


class HandOnCutError(Exception):
    """The node ended before it replied; whether it did what was requested is not known."""


class HandOnTimeoutError(HandOnCutError):
    """The node is there, but did not reply in time; another attempt would only wait again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOn:
    """A request for the node. `headers` may hold a password: they are never logged."""

    method: str
    path: str  # with the query
    client: str  # IP of the client
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    is_long: bool = False  # whether the node waits for something, or works for minutes


@dataclass(frozen=True, slots=True)
class NodeReply:
    """The node's reply; `was_repeated`: a first attempt was cut."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    was_repeated: bool = False


class HandOnPort(Protocol):
    """The way to the node."""

    async def send(self, request: HandedOn, /, *, is_repeatable: bool) -> NodeReply:
        """Return the node's reply; a request that was cut is sent again if it `is_repeatable`.

        Raises NodeAwayError; HandOnCutError, of which HandOnTimeoutError is never sent again.
        """


class HandingOn(Protocol):
    """What the middleware needs of the application's context."""

    @property
    def hand_on(self) -> HandOnPort | None:
        """The way to the node; None: it is in this process."""

    @property
    def wait_for_version(self) -> WaitForVersion | None:
        """Waits for a version, so many seconds at most."""


class HandOnPaths:
    """ASGI middleware: hands on the requests in AT_NODE, and waits until their effect is here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        context: HandingOn | None = scope["app"].state.context if scope["type"] == "http" else None
        way = None if context is None else context.hand_on
        where = (scope.get("method"), scope.get("path"))
        if context is None or way is None or where not in AT_NODE:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        body = await request.body()
        handed = handed_on(request, body)
        try:
            reply = await way.send(handed, is_repeatable=where == _SEND)
        except (NodeAwayError, HandOnCutError) as error:
            await unavailable(error)(scope, receive, send)
            return
        await shown(known_transaction(handed, reply), await effect(context, reply))(
            scope, receive, send
        )


def handed_on(request: Request, body: bytes) -> HandedOn:
    """Return a request as it is handed on."""
    query = request.url.query
    found = {name: request.headers[name] for name in _HEADERS if name in request.headers}
    return HandedOn(
        method=request.method,
        path=f"{request.url.path}?{query}" if query else request.url.path,
        client=request.client.host if request.client is not None else "",
        headers=found,
        body=body,
    )


async def effect(context: HandingOn, reply: NodeReply) -> str | None:
    """Wait until this process has the version with a reply's effect; return that version.

    After WAIT_S_MAX the reply is given all the same: the client can see that it is not here yet.
    """
    text = reply.headers.get(VERSION_HEADER.lower(), "")
    version = parse_version(text)
    if version is None:
        return None
    if context.wait_for_version is not None:
        await context.wait_for_version(version, WAIT_S_MAX)
    return text


def shown(reply: NodeReply, version: str | None) -> Response:
    """Return the node's reply as this process's own."""
    headers = {name: reply.headers[name] for name in _RETURNED if name in reply.headers}
    if version is not None:
        headers |= {VERSION_HEADER: version}
    return Response(reply.body, reply.status, headers)


def reason_of(error: NodeAwayError | HandOnCutError) -> str:
    """Return why there is no reply of the node, in one line."""
    if isinstance(error, NodeAwayError):
        return FULL if isinstance(error, HandOnFullError) else NO_NODE
    return SILENT if isinstance(error, HandOnTimeoutError) else CUT


def unavailable(error: NodeAwayError | HandOnCutError) -> Response:
    """Return the reply to a client whose request got none from the node."""
    headers = {"Retry-After": str(RETRY_S)}
    return PlainTextResponse(reason_of(error), HTTPStatus.SERVICE_UNAVAILABLE, headers)


def known_transaction(request: HandedOn, reply: NodeReply) -> NodeReply:
    """Return success for a transaction that the cut attempt had put into the chain."""
    if not reply.was_repeated or reply.status < HTTPStatus.BAD_REQUEST:
        return reply
    if _KNOWN not in reply.body.decode("utf-8", "replace"):
        return reply
    try:
        txid = decode_transaction(bytes.fromhex(request.body.decode("ascii").strip())).txid
    except (ValueError, DecodeError):
        return reply
    headers = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
    version = reply.headers.get(VERSION_HEADER.lower())
    if version is not None:
        headers[VERSION_HEADER.lower()] = version
    return NodeReply(HTTPStatus.OK, headers, id_text(txid).encode())
