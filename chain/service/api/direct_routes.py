"""A short way to the handlers whose only arguments are pieces of the path.

FastAPI takes half a millisecond to try one route after the other and to solve dependencies; these
handlers have none but the context, and JSON-RPC reads its request itself. They are still declared
there, for OpenAPI, and whatever this does not answer goes there.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias, TypeGuard

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from chain.service.api.etag import conditional
from chain.service.api.threads import on_thread

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
ErrorHandler: TypeAlias = Callable[[Request, Exception], Awaitable[Response]]

_PREFIX: Final = "/api/"
_CONTEXT: Final = "api"  # the parameter of a handler that gets the ApiContext
_NAMED_GROUP: Final = re.compile(r"\(\?P<[^>]+>")


@dataclass(frozen=True, slots=True)
class _Direct:
    """A handler, and which groups of the pattern of all paths are its arguments."""

    handler: Callable[..., Any]
    is_async: bool
    names: tuple[str, ...]
    groups: slice


class DirectRoutes:
    """ASGI middleware: calls such handlers of GET itself, with the app's handlers of exceptions."""

    def __init__(
        self,
        app: ASGIApp,
        routes: Iterable[BaseRoute],
        posts: Mapping[str, Handler],
        handlers: Mapping[Any, Any],
    ) -> None:
        """Wrap `app`, whose `routes` are tried in the same order as there.

        `posts` are its handlers of POST by path, `handlers` those of exceptions by class.
        """
        self._app = app
        self._posts = posts
        self._handlers: dict[type[Exception], ErrorHandler] = {
            key: handle for key, handle in handlers.items() if isinstance(key, type)
        }
        self._handled = tuple(self._handlers)
        self._found: dict[str, _Direct | None] = {}  # by the name of the path's group
        patterns: list[str] = []
        count = 0
        for route in filter(_is_read, routes):
            name, count = f"r{len(patterns)}", count + 1
            pattern, names = _pattern(route.path)
            patterns.append(f"(?P<{name}>{pattern})")
            groups = slice(count, count + len(names))
            self._found[name] = _direct(route, names, groups)
            count += len(names)
        self._pattern = re.compile("|".join(patterns))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        reply: Response | None = None
        if scope["type"] == "http" and scope["method"] == "GET":
            reply = await self._read(scope, receive)
        elif scope["type"] == "http" and scope["method"] == "POST":
            post = self._posts.get(scope["path"])
            if post is not None:
                request = Request(scope, receive)
                reply = await self._made(lambda: post(request), scope, receive)
        if reply is None:
            await self._app(scope, receive, send)
        else:
            await reply(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> Response | None:
        """Return the reply to a GET, None if it is another's."""
        match = self._pattern.fullmatch(scope["path"])
        direct = match and self._found[match.lastgroup or ""]
        if not match or not direct:
            return None
        arguments = dict(zip(direct.names, match.groups()[direct.groups], strict=True))
        arguments[_CONTEXT] = scope["app"].state.context
        call = partial(direct.handler, **arguments)
        made = call if direct.is_async else partial(on_thread, call)
        return conditional(await self._made(made, scope, receive), scope["headers"])

    async def _made(
        self, make: Callable[[], Awaitable[Response]], scope: Scope, receive: Receive
    ) -> Response:
        """Return what a handler returns, or the reply to its exception."""
        try:
            return await make()
        except self._handled as error:
            classes = (above for above in type(error).__mro__ if above in self._handlers)
            return await self._handlers[next(classes)](Request(scope, receive), error)


def _is_read(route: BaseRoute) -> TypeGuard[APIRoute]:
    if not isinstance(route, APIRoute) or not route.path.startswith(_PREFIX):
        return False
    return "GET" in (route.methods or ())


def _pattern(path: str) -> tuple[str, tuple[str, ...]]:
    """Return a path's pattern without names, and the names."""
    pattern, _, convertors = compile_path(path)
    return _NAMED_GROUP.sub("(", pattern.pattern.strip("^$")), tuple(convertors)


def _direct(route: APIRoute, names: tuple[str, ...], groups: slice) -> _Direct | None:
    """Return a route's handler, or None if it needs more than FastAPI's way gives it."""
    signature = inspect.signature(route.endpoint, eval_str=True)
    returned = signature.return_annotation
    is_reply = isinstance(returned, type) and issubclass(returned, Response)
    if not is_reply or set(signature.parameters) != {*names, _CONTEXT}:
        return None
    if any(signature.parameters[name].annotation is not str for name in names):
        return None
    is_async = inspect.iscoroutinefunction(route.endpoint)
    return _Direct(route.endpoint, is_async, names, groups)
