"""The debug lines of category `http`: one for each request, after the response."""

import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chain.printable import printable
from chain.service.debug_log import debug_logger, is_on

_log: Final = debug_logger("http")


class AccessLog:
    """ASGI middleware: logs method, path (never the query), status and milliseconds."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection; only requests are logged, and only while the category is on."""
        if scope["type"] != "http" or not is_on(_log):
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started_s = time.perf_counter()
        try:
            await self._app(scope, receive, send_noting)
        finally:
            took_ms = (time.perf_counter() - started_s) * 1000
            answer = status or "no answer"
            request = printable(f"{scope['method']} {scope['path']}")
            _log.debug("%s: %s, %.1f ms", request, answer, took_ms)
