"""A limit on the memory of large replies.

A wallet must get its page of 25 transactions whatever their size, and as JSON that can be 100 MB.
A few of those at a time are harmless; one per connection is not.
"""

import threading
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

LARGE_BYTES_MIN: Final = 100_000  # of blocks or transactions; smaller replies are never refused
IN_FLIGHT_BYTES_MAX: Final = 16_000_000  # of data in large replies, until they are sent
PIECE_BYTES: Final = 256 * 1024  # per write; the next follows when the connection has room
RETRY_S: Final = 1


class TooMuchInFlightError(Exception):
    """Other large replies are still being built or sent; the client should retry."""


class TooLargeHereError(Exception):
    """More data than is read on the event loop: the reply is made on a worker thread."""


class ReplyBudget:
    """Counts the bytes of data in large replies; thread-safe."""

    def __init__(self, processes: int = 1) -> None:
        """Count for one of so many processes, which share the limit."""
        self._processes = processes
        self._lock = threading.Lock()
        self._taken = 0

    @property
    def taken(self) -> int:
        """The bytes counted now."""
        return self._taken

    def take(self, size: int) -> None:
        """Count `size` more bytes; a single reply is never too large.

        Raises TooMuchInFlightError.
        """
        with self._lock:
            if self._taken and self._taken + size > IN_FLIGHT_BYTES_MAX // self._processes:
                raise TooMuchInFlightError("too many large replies are on their way: try again")
            self._taken += size

    def give_back(self, size: int) -> None:
        """Release `size` bytes."""
        with self._lock:
            self._taken -= size

    def reservation(self, bytes_max: int | None = None) -> "Reservation":
        """Return an empty reservation that refuses to hold more than `bytes_max`, if not None."""
        return Reservation(self, bytes_max)


class Reservation:
    """The bytes that one request holds of the budget.

    They are released at the end of a `with` block unless a reply took them.
    """

    def __init__(self, budget: ReplyBudget, bytes_max: int | None = None) -> None:
        self.budget = budget
        self.held = 0  # bytes counted; small replies are not
        self._small = 0
        self._bytes_max = bytes_max

    def __enter__(self) -> "Reservation":
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.held:
            self.budget.give_back(self.hand_over())

    def check(self, size: int) -> None:
        """Raise TooLargeHereError if `size` more bytes are more than its `bytes_max`."""
        if self._bytes_max is not None and self.held + self._small + size > self._bytes_max:
            raise TooLargeHereError

    def take(self, size: int) -> None:
        """Count `size` bytes for a reply. Raises TooMuchInFlightError, TooLargeHereError."""
        self.check(size)
        self._small += size
        if self._small >= LARGE_BYTES_MIN:
            self.budget.take(self._small)
            self.held += self._small
            self._small = 0

    def hand_over(self) -> int:
        """Return the held bytes; from now on the caller has to release them."""
        held, self.held = self.held, 0
        return held


class LargeReply(Response):
    """A reply sent in pieces that holds its part of the budget until it is sent."""

    def __init__(self, reply: Response, reserved: Reservation) -> None:
        super().__init__(reply.body, reply.status_code, media_type=reply.media_type)
        self.raw_headers = reply.raw_headers
        self._budget = reserved.budget
        self._held = reserved.hand_over()

    def discard(self) -> None:
        """Release its part of the budget: it is not sent."""
        self._budget.give_back(self._held)

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the pieces, each when the connection has accepted most of the one before."""
        start = {"type": "http.response.start", "status": self.status_code}
        try:
            await send({**start, "headers": self.raw_headers})
            body = memoryview(self.body)
            for at in range(0, len(body), PIECE_BYTES):
                piece = bytes(body[at : at + PIECE_BYTES])
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._budget.give_back(self._held)
