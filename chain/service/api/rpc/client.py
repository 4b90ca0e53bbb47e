"""The client of one request: a call that waits for something ends when the client hangs up."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

_Result = TypeVar("_Result")


class Client:
    """The other end of a connection whose request has been read to its end."""

    def __init__(self, receive: Receive) -> None:
        """`receive` is the request's, which has only the disconnection left to receive."""
        self._receive = receive

    async def wait_for(self, call: Coroutine[Any, Any, _Result]) -> _Result:
        """Return a call's result. Raises ClientDisconnect if the client hangs up before.

        The call is cancelled then, so it must be one that changes nothing.
        """
        answered = asyncio.ensure_future(call)
        left = asyncio.ensure_future(self._hang_up())
        try:
            await asyncio.wait({answered, left}, return_when=asyncio.FIRST_COMPLETED)
            if answered.done():
                return answered.result()
            raise ClientDisconnect
        finally:
            answered.cancel()
            left.cancel()
            await asyncio.gather(answered, left, return_exceptions=True)

    async def _hang_up(self) -> None:
        """Return once the client has hung up."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
