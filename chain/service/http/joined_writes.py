"""A transport that sends a reply's head and body together.

uvicorn writes them one after the other: two system calls, and for the client two reads.
"""

import asyncio
from typing import Any, Final

JOINED_BYTES_MAX: Final = 16 * 1024  # more is sent at once: the client sets the pace


class JoinedWrites(asyncio.Transport):
    """Sends what is written in one turn of the event loop at its end, or at `flush`."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: Any) -> None:  # noqa: ANN401 - any buffer, as asyncio's
        """Send `data` soon."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > JOINED_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Send what was written."""
        if not self._parts:
            return
        data = b"".join(self._parts)
        self._parts, self._size = [], 0
        if not self._transport.is_closing():  # or else the connection is lost
            self._transport.write(data)

    def get_write_buffer_size(self) -> int:
        """Return the bytes that were written and not sent yet."""
        return self._transport.get_write_buffer_size() + self._size

    def close(self) -> None:
        """Send what was written, and close."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether it is closed, or about to be."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's
        """Return what is known of the connection."""
        return self._transport.get_extra_info(name, default)
