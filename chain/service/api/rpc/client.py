"""The client of a request, whose disconnection ends a call that only waits."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

_Result = TypeVar("_Result")


class Client:
    """The client that sent a request; the request's body has been read."""

    def __init__(self, receive: Receive) -> None:
        """`receive` is the request's; its next message is the disconnection."""
        self._receive = receive

    async def wait_for(self, call: Coroutine[Any, Any, _Result]) -> _Result:
        """Return a call's result, or cancel the call if the client disconnects first.

        The call must change nothing. Raises ClientDisconnect.
        """
        calling = asyncio.ensure_future(call)
        disconnecting = asyncio.ensure_future(self._disconnection())
        try:
            await asyncio.wait({calling, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
            if calling.done():
                return calling.result()
            raise ClientDisconnect
        finally:
            calling.cancel()
            disconnecting.cancel()
            await asyncio.gather(calling, disconnecting, return_exceptions=True)

    async def _disconnection(self) -> None:
        """Return when the client has disconnected."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
