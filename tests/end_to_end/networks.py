"""Many real nodes on 127.0.0.1: started together, watched, weighed."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.end_to_end.processes import NodeProcess, wait_until

START_S_MAX = 60.0
Dialled = Callable[[int], Sequence[int]]  # whom node i dials, of those before it


@contextmanager
def network(folder: Path, count: int, dialled: Dialled) -> Iterator[list[NodeProcess]]:
    """Run `count` nodes; each must end with status 0 and without a traceback."""
    nodes: list[NodeProcess] = []
    try:
        for number in range(count):
            peers = [part for peer in dialled(number) for part in ("--peer", nodes[peer].p2p)]
            nodes.append(NodeProcess(folder / f"node{number}", peers).start())
        yield nodes
        codes = [node.stop() for node in nodes]
        assert not any(codes), [node.errors() for node in nodes]
        for node in nodes:
            assert "Traceback" not in node.errors(), node.errors()
    finally:
        for node in nodes:
            if node.process is not None:
                node.kill()


class Line:
    """One kept connection to a node's API: a request costs neither side much."""

    def __init__(self, node: NodeProcess) -> None:
        self._http = http.client.HTTPConnection(_host(node), timeout=60)

    def get(self, path: str) -> object:
        """Return what a GET answers, as JSON."""
        return json.loads(self._ask("GET", path))

    def send(self, transaction: bytes) -> None:
        """Offer a transaction to the mempool, which must take it."""
        self._ask("POST", "/api/tx", transaction.hex())

    def mempool_count(self) -> int:
        """Return how many transactions the mempool holds."""
        return self.get("/api/v1/status")["mempool_count"]

    def _ask(self, method: str, path: str, body: str | None = None) -> bytes:
        self._http.request(method, path, body)
        reply = self._http.getresponse()
        content = reply.read()
        assert reply.status == 200, (method, path, reply.status, content)
        return content

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


@contextmanager
def lines(nodes: Sequence[NodeProcess]) -> Iterator[list[Line]]:
    """Open a line to each node."""
    opened = [Line(node) for node in nodes]
    try:
        yield opened
    finally:
        for line in opened:
            line.close()


class Watch:
    """Hears from each node, by its event stream, when a block became its tip."""

    def __init__(self, nodes: Sequence[NodeProcess]) -> None:
        self._arrived: dict[tuple[int, str], float] = {}
        self._count = len(nodes)
        self._sockets = [_event_stream(node) for node in nodes]
        self._threads = [
            threading.Thread(target=self._listen, args=(number, stream), daemon=True)
            for number, stream in enumerate(self._sockets)
        ]
        for thread in self._threads:
            thread.start()

    def arrivals(self, block_id: str, timeout_s: float = 60.0) -> list[float]:
        """Return when each node had the block, in seconds of the monotonic clock."""
        keys = [(number, block_id) for number in range(self._count)]
        wait_until(lambda: all(key in self._arrived for key in keys), block_id, timeout_s)
        return [self._arrived[key] for key in keys]

    def close(self) -> None:
        """Listen no more."""
        for stream in self._sockets:
            stream.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for stream in self._sockets:
            stream.close()

    def _listen(self, number: int, stream: socket.socket) -> None:
        unread = b""
        while chunk := stream.recv(1 << 16):
            now_s = time.monotonic()
            *whole, unread = (unread + chunk).split(b"\n\n")
            for event in whole:
                name, _, data = event.partition(b"event: ")[2].partition(b"\ndata: ")
                if name == b"block":
                    self._arrived[number, json.loads(data)["id"]] = now_s


@contextmanager
def watching(nodes: Sequence[NodeProcess]) -> Iterator[Watch]:
    """Watch all nodes inside the block."""
    watch = Watch(nodes)
    try:
        yield watch
    finally:
        watch.close()


def memory_mb(node: NodeProcess, field: str = "VmHWM") -> float:
    """Return a node's peak memory (VmHWM), or what it holds now (VmRSS), in MB."""
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith(field))
    return int(kilobytes) / 1024


def _host(node: NodeProcess) -> str:
    return node.api.removeprefix("http://")


def _event_stream(node: NodeProcess) -> socket.socket:
    host, _, port = _host(node).rpartition(":")
    stream = socket.create_connection((host, int(port)), timeout=START_S_MAX)
    request = f"GET /api/v1/events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
    stream.sendall(request.encode())
    heard = b""
    while b"event: tip" not in heard:  # it listens from here on
        heard += stream.recv(1 << 16)
    stream.settimeout(None)
    return stream
