"""The API's application: routers, error handlers and middleware."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from chain.ledger.errors import LedgerError, SnapshotExpiredError, UnavailableError
from chain.service.api import metrics, v1
from chain.service.api.access.budget import RETRY_S, TooMuchInFlightError
from chain.service.api.access.request_guard import ApiRequestGuard
from chain.service.api.context import ApiContext
from chain.service.api.direct_routes import DirectRoutes, Handler
from chain.service.api.esplora import addresses, blocks, mempool, transactions
from chain.service.api.esplora.replies import EsploraError
from chain.service.api.hand_on import HandOnPaths
from chain.service.api.ledger_failure import on_ledger_failure
from chain.service.api.pages import routes
from chain.service.api.rpc.methods import METHODS, by_group
from chain.service.api.rpc.server import RpcServer
from chain.service.api.state.port import SnapshotUnavailableError
from chain.service.api.state.version_header import VersionHeader
from chain.service.ledger_thread import LedgerBusyError

READERS_MAX: Final = 6  # reader threads; more of them would only wait for each other
_STATIC: Final = Path(__file__).with_name("static")
_NO_TELEMETRY: Final[TelemetryConfig] = {
    "auto_configure": False,
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
}


def create_api(context: ApiContext) -> FastAPI:
    """Return the application that serves one node's API."""
    app = FastAPI(
        title="groat",
        version=context.version,
        description="A node of the groat network: Esplora under /api, its own JSON under /api/v1. "
        "The header `Groat-Version` of a reply names the commit that it shows; a request with that "
        "header waits until this commit is there.",
        docs_url=None,  # FastAPI's page loads scripts from elsewhere; ours is in pages
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        telemetry=_NO_TELEMETRY,
    )
    bind_context(app, context)
    for part in (transactions, addresses, blocks, mempool, v1, metrics, routes):
        # Added to the app itself: FastAPI matches an included router twice, on every level.
        app.router.routes += part.router.routes
    posts = _add_rpc(app)
    app.mount("/static", StaticFiles(directory=_STATIC))
    _add_error_handlers(app)
    app.add_middleware(
        DirectRoutes, routes=app.router.routes, posts=posts, handlers=app.exception_handlers
    )
    app.add_middleware(HandOnPaths)
    app.add_middleware(VersionHeader)
    app.add_middleware(ApiRequestGuard, hosts=context.allowed_hosts)
    return app


def bind_context(app: FastAPI, context: ApiContext) -> None:
    """Serve the node of `context` from now on; `version` and `allowed_hosts` keep their values."""
    app.state.context = context
    app.state.rpc = RpcServer(context, METHODS)
    app.state.rpc_methods = {
        group: [{"usage": method.usage, "text": method.summary} for method in methods]
        for group, methods in by_group().items()
    }


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = READERS_MAX
    yield


def _add_rpc(app: FastAPI) -> dict[str, Handler]:
    """Add JSON-RPC; return its handler by path, where that has no parameter."""

    async def json_rpc(request: Request) -> Response:
        server: RpcServer = request.app.state.rpc
        return await server.answer(request)

    for path in ("/", "/rpc", "/wallet/{name}"):
        app.add_route(path, json_rpc, methods=["POST"], include_in_schema=False)
    return {"/": json_rpc, "/rpc": json_rpc}


def _add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(EsploraError, _esplora_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(LedgerError, _ledger_failed)
    for busy in (
        SnapshotUnavailableError,
        SnapshotExpiredError,
        UnavailableError,
        LedgerBusyError,
        TooMuchInFlightError,
    ):
        app.add_exception_handler(busy, _busy)


async def _esplora_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, EsploraError), "registered for it"
    return PlainTextResponse(error.text, error.status)


async def _busy(_request: Request, error: Exception) -> Response:
    headers = {"Retry-After": str(RETRY_S)}
    return PlainTextResponse(str(error), HTTPStatus.SERVICE_UNAVAILABLE, headers)


async def _ledger_failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, LedgerError), "registered for it"
    sentence = on_ledger_failure(request.app.state.context, error)
    return await _http_error(request, HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, sentence))


async def _http_error(request: Request, error: Exception) -> Response:
    """Return the error in the form of the requested part: a page, JSON, or Esplora's text."""
    assert isinstance(error, HTTPException), "registered for it"
    path, status = request.url.path, error.status_code
    if path.startswith("/api/v1/"):
        return JSONResponse({"detail": error.detail}, status, error.headers)
    if path.startswith("/api/") and status == HTTPStatus.NOT_FOUND:
        return PlainTextResponse(f'endpoint does not exist "{path.removeprefix("/api")}"', status)
    if status == HTTPStatus.NOT_FOUND and request.method == "GET":
        return routes.not_found(request, "There is no such page.")
    return PlainTextResponse(str(error.detail), status, error.headers)
