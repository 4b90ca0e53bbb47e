"""A proxy in front of a server's Unix socket, which may change or cut what passes."""

import socket
import threading
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path

PORT = 7
_BYTES = 1 << 16
Change = Callable[["Link", bytes], bytes]


class Link:
    """One client's connection; each direction has a thread."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server

    def cut(self) -> None:
        """End it for both sides."""
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def carry(self, to: str, change: Change) -> None:
        """Pass on what comes until the end of either."""
        ends = (self.client, self.server) if to == "server" else (self.server, self.client)
        with suppress(OSError):
            while data := ends[0].recv(_BYTES):
                ends[1].sendall(change(self, data))
        self.cut()


def unchanged(_link: Link, data: bytes) -> bytes:
    return data


@contextmanager
def proxy(folder: Path, port: int, *, to_server: Change = unchanged, to_client: Change = unchanged):
    """Yield the options of a URL that leads through a proxy to the server on `port`."""
    place = folder / f".s.PGSQL.{PORT}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        links: list[Link] = []

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(folder / f".s.PGSQL.{port}"))
                link = Link(client, server)
                links.append(link)
                for to, change in (("server", to_server), ("client", to_client)):
                    threading.Thread(target=link.carry, args=(to, change), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield {"host": str(folder), "port": str(PORT)}
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for link in links:
                link.cut()
                link.client.close()
                link.server.close()
            place.unlink()
