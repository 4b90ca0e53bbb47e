"""How long a server may take for its answer."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from chain.service.http.http_error import ServerError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """How long a server may take."""

    connect_s: float = 5.0
    idle_s: float = 90.0  # without a byte on the down stream, which carries a ping every 20 s
    head_s: float = 20.0  # from a request's first byte to the answer's headers ...
    drip_s: float = 10.0  # slack while it sends its body ...
    bytes_per_s: int = 16_000  # ... where bytes must move at least this fast

    def head_within_s(self, content: bytes) -> float:
        """Return the time limit for the answer's headers, given the request's body size."""
        return self.head_s + len(content) / self.bytes_per_s


class Patience:
    """The slack a server has left; bytes that it sends or accepts restore some of it.

    Only time spent waiting for the server counts.
    """

    def __init__(self, patience_s: float | None, bytes_per_s: int) -> None:
        """Have `patience_s` of slack, and no more later; None: without end."""
        self._most_s = self._left_s = patience_s
        self._bytes_per_s = bytes_per_s

    async def spend(self, awaited: Awaitable[T]) -> T:
        """Wait for the server. Raises ServerError: it is too slow."""
        began_s = _now_s()
        try:
            async with asyncio.timeout(self._left_s):
                result = await awaited
        except TimeoutError:
            raise ServerError("too slow") from None
        if self._left_s is not None:
            self._left_s -= _now_s() - began_s
        return result

    def progressed(self, count: int) -> None:
        """Restore slack for so many bytes."""
        if self._left_s is not None and self._most_s is not None:
            self._left_s = min(self._left_s + count / self._bytes_per_s, self._most_s)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
