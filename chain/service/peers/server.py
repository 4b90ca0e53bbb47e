"""The peer port's app: its routes, each with its body limit."""

from typing import Any, Final

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import Route

from chain.gossip.wire.hello import HELLO_BYTES_MAX
from chain.service.peers.acceptor import Acceptor
from chain.service.peers.request_guard import PeerRequestGuard
from chain.service.peers.traffic import Traffic
from chain.service.peers.wire import (
    BLOCKS_REQUEST_BYTES_MAX,
    HEADERS_REQUEST_BYTES_MAX,
    LANE_BYTES_MAX,
    PREFIX,
)

_NO_TELEMETRY: Final[Any] = {
    "auto_configure": False,
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
}


def peer_app(
    acceptor: Acceptor, traffic: Traffic, magic: bytes, names: frozenset[str] = frozenset()
) -> FastAPI:
    """Return the app for the network of `magic`, under IP literals and these host names.

    The routes are Starlette's own: they carry bytes, and FastAPI's cost a third of the speed.
    """
    link = PREFIX + "/links/{link}"
    lanes = [
        Route(f"{link}/up/{lane}", traffic.up(lane), methods=["POST"], max_body_size=size)
        for lane, size in enumerate(LANE_BYTES_MAX)
    ]
    return FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        middleware=[Middleware(PeerRequestGuard, magic=magic, names=names)],
        routes=[
            *lanes,
            Route(f"{link}/down", traffic.down, methods=["GET"], max_body_size=0),
            _post("/headers", traffic.request("headers"), HEADERS_REQUEST_BYTES_MAX),
            _post("/blocks", traffic.request("blocks"), BLOCKS_REQUEST_BYTES_MAX),
            Route(link, acceptor.delete_link, methods=["DELETE"], max_body_size=0),
            _post("/links", acceptor.post_link, HELLO_BYTES_MAX),
            Route(f"{PREFIX}/hello", acceptor.get_hello, methods=["GET"], max_body_size=0),
        ],
    )


def _post(path: str, endpoint: Any, body_bytes_max: int) -> Route:  # noqa: ANN401 - as in Route
    return Route(PREFIX + path, endpoint, methods=["POST"], max_body_size=body_bytes_max)
