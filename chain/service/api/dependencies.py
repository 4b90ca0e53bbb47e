"""FastAPI dependency of the handlers: the context of the application that serves a request."""

from typing import Annotated

from fastapi import Depends, Request

from chain.service.api.context import ApiContext


def context_of(request: Request) -> ApiContext:
    """Return the context of the app that serves this request."""
    context: ApiContext = request.app.state.context
    return context


async def _context_of(request: Request) -> ApiContext:
    """Async `context_of`: FastAPI calls a function that is not async on a worker thread."""
    return context_of(request)


Api = Annotated[ApiContext, Depends(_context_of)]
