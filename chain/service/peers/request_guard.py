"""Requests that the peer port refuses: those of browsers, for foreign hosts, or compressed."""

import ipaddress
from http import HTTPStatus
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chain.service.peers.wire import NETWORK_HEADER

_BROWSER: Final = (b"origin", b"cookie")
_BROWSER_PREFIX: Final = b"sec-fetch-"


class PeerRequestGuard:
    """ASGI middleware: refuses requests by their headers, before any route or body.

    A web page must not reach a peer port, neither by a form (it sends Origin or Sec-Fetch-*)
    nor by a name that an attacker's DNS points at our address (Host is not a literal).
    """

    def __init__(self, app: ASGIApp, magic: bytes, names: frozenset[str]) -> None:
        """Accept the network of `magic`, IP literals and these lower-case host names."""
        self._app = app
        self._magic = magic.hex().encode()
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a bare status."""
        status = self._refusal(scope["headers"]) if scope["type"] == "http" else None
        if status is None:
            await self._app(scope, receive, send)
        else:
            await Response(status_code=status)(scope, receive, send)

    def _refusal(self, headers: list[tuple[bytes, bytes]]) -> HTTPStatus | None:
        if any(name in _BROWSER or name.startswith(_BROWSER_PREFIX) for name, _ in headers):
            return HTTPStatus.FORBIDDEN
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._is_ours(hosts[0].decode("latin-1")):
            return HTTPStatus.FORBIDDEN
        if any(name == b"content-encoding" for name, _ in headers):
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        networks = [value for name, value in headers if name == NETWORK_HEADER.encode()]
        if len(networks) != 1:
            return HTTPStatus.BAD_REQUEST
        return None if networks[0] == self._magic else HTTPStatus.MISDIRECTED_REQUEST

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name.lower() in self._names:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True
