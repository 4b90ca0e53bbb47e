"""Groat-Version: which version of the database a reply shows, and which one a request waits for.

An API without versions is the one to which other processes hand on what is about the node.
"""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chain.ledger.db.node_state import Version, parse_version
from chain.service.api.access.budget import RETRY_S

VERSION_HEADER: Final = "Groat-Version"
WAIT_S_MAX: Final = 2.0
_NAME: Final = VERSION_HEADER.lower().encode()
_MALFORMED: Final = f"{VERSION_HEADER} must be a value of that header in an earlier reply"

WaitForVersion = Callable[[Version, float], Awaitable[bool]]


class Versioned(Protocol):
    """What the middleware needs of the application's context."""

    @property
    def version_now(self) -> Version | None:
        """The latest version; None if the state has no versions."""

    @property
    def wait_for_version(self) -> WaitForVersion | None:
        """Waits for a version, so many seconds at most; returns whether it is there."""


@dataclass(slots=True)
class _Shown:
    """The version that a reply shows, or an earlier one."""

    version: Version | None


_shown: Final[ContextVar[_Shown | None]] = ContextVar("shown", default=None)


def note_version(version: Version) -> None:
    """Note that the reply to the present request is made from a snapshot of this version."""
    shown = _shown.get()
    if shown is not None:
        shown.version = version


class VersionHeader:
    """ASGI middleware: waits for the version that a request names, and adds that of the reply."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        context: Versioned | None = scope["app"].state.context if scope["type"] == "http" else None
        if context is None or context.wait_for_version is None:
            await self._app(scope, receive, send)
            return
        requested = [value for name, value in scope["headers"] if name == _NAME]
        if requested:
            refusal = await _waited(context.wait_for_version, requested[0])
            if refusal is not None:
                await refusal(scope, receive, _adding(_Shown(context.version_now), send))
                return
        shown = _Shown(context.version_now)  # what is shown is not earlier than this
        _shown.set(shown)
        await self._app(scope, receive, _adding(shown, send))


async def _waited(wait: WaitForVersion, requested: bytes) -> PlainTextResponse | None:
    """Return None once the version is there, or else the reply."""
    version = parse_version(requested.decode("latin-1"))
    if version is None:
        return PlainTextResponse(_MALFORMED, HTTPStatus.BAD_REQUEST)
    if await wait(version, WAIT_S_MAX):
        return None
    problem = (
        f"this version was not there within {WAIT_S_MAX:.0f} s: "
        "this process is behind, or the node has not made it yet"
    )
    headers = {"Retry-After": str(RETRY_S)}
    return PlainTextResponse(problem, HTTPStatus.SERVICE_UNAVAILABLE, headers)


def _adding(shown: _Shown, send: Send) -> Send:
    async def sending(message: Message) -> None:
        is_start = message["type"] == "http.response.start"
        if is_start and not any(name == _NAME for name, _ in message["headers"]):
            more = [(b"vary", VERSION_HEADER.encode())]
            if shown.version is not None:
                more.append((_NAME, str(shown.version).encode()))
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return sending
