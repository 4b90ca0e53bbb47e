"""Bare sockets that say half of something and go away."""

import asyncio
import socket
import struct
from collections.abc import Sequence

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends a reset, not an end


async def hang_up(port: int, *parts: bytes, with_reset: bool = False) -> None:
    """Send the parts, each after the one before has been read, and close."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.01)  # nothing tells when the other end has read it
    close(writer, with_reset=with_reset)


def close(writer: asyncio.StreamWriter, *, with_reset: bool) -> None:
    """Close a connection, with an end or a reset."""
    if with_reset:
        transport_socket = writer.get_extra_info("socket")
        transport_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
    else:
        writer.close()


def half_post(path: str, *headers: str, method: str = "POST") -> Sequence[bytes]:
    """Return a request whose body promises 1000 bytes and holds three."""
    head = "".join(f"{line}\r\n" for line in (*headers, "Content-Length: 1000"))
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n".encode(), b"abc"


def chunked_get(path: str, *headers: str) -> Sequence[bytes]:
    """Return a request for an endless answer that goes on and on with a body of its own."""
    head = "".join(f"{line}\r\n" for line in (*headers, "Transfer-Encoding: chunked"))
    begun = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n".encode()
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    return begun, *[chunk] * 6
