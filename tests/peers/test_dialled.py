"""What a dialling node sends up, seen by a server that fails in between."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from chain.gossip.wire.frames import decode_frames, encode_frame
from chain.gossip.wire.hello import HelloReply
from chain.gossip.wire.messages import Bye, Headers, Ping, Pong
from chain.service.peers.patience import ClientLimits
from tests.peers.nodes import Running, running, until
from tests.peers.stranger import HELLO
from tests.peers.test_client import Handler, response, serving

pytestmark = pytest.mark.net

SECRET = "0123456789abcdef" * 2
LIMITS = ClientLimits(idle_s=10, head_s=0.3, drip_s=0.3)


class Acceptor:
    """Admits, sends pings down, and answers batches as `answers` says; remembers them all."""

    def __init__(self, *answers: bytes | None) -> None:
        self.batches: list[tuple[str, bytes]] = []
        self.others: list[str] = []
        self._requests = list(answers)

    def pongs(self) -> list[tuple[str, Pong]]:
        """Return the pongs that came, each with its batch's number."""
        return [
            (seq, message)
            for seq, body in self.batches
            for message in decode_frames(body)
            if isinstance(message, Pong)
        ]

    async def handle(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        lines, _, body = head.partition(b"\r\n\r\n")
        method, path, _ = lines.split(b"\r\n")[0].decode().split(" ")
        if path.endswith("/hello"):
            writer.write(response(HELLO.encode()))
        elif path.endswith("/links"):
            reply = HelloReply(HELLO, None, 20).encode()
            writer.write(response(reply, f"groat-link: {SECRET}", status="201 Created"))
        elif path.endswith("/down"):
            ping = encode_frame(Ping(7))
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            writer.write(b"%x\r\n%b\r\n" % (len(ping), ping))
        elif "/up/" in path:
            await self._take(lines, body, writer)
        elif path.endswith("/headers"):
            writer.write(response(encode_frame(Headers(()))))
        else:
            self.others.append(f"{method} {path}")
            writer.write(response(status="204 No Content"))

    async def _take(self, lines: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        seq = next(line for line in lines.split(b"\r\n") if line.lower().startswith(b"groat-seq"))
        self.batches.append((seq.split(b": ")[1].decode(), body))
        answer = self._requests.pop(0) if self._requests else response(status="204 No Content")
        if answer is None:
            writer.transport.abort()
        else:
            writer.write(answer)


def dial(folder: Path, acceptor: Acceptor, done: Callable[[Running], bool]) -> None:
    async def main() -> None:
        handler: Handler = acceptor.handle
        async with (
            serving(handler) as address,
            running(folder, peers=(address,), client=LIMITS) as node,
        ):
            await until(lambda: done(node), "done")

    asyncio.run(main())


def test_a_batch_whose_answer_was_lost_is_sent_again_under_its_number(tmp_path: Path) -> None:
    acceptor = Acceptor(None)
    dial(tmp_path, acceptor, lambda _: len(acceptor.batches) >= 2)
    first, second = acceptor.batches[:2]
    assert first == second
    assert first[0] == "1"


def test_a_batch_lost_twice_ends_the_link(tmp_path: Path) -> None:
    acceptor = Acceptor(None, None)
    dial(tmp_path, acceptor, lambda node: node.service.counts["link closed"] > 0)
    assert [seq for seq, _ in acceptor.batches[:2]] == ["1", "1"]


def test_a_batch_refused_for_now_is_sent_again(tmp_path: Path) -> None:
    acceptor = Acceptor(response(b"", "retry-after: 1", status="429 Slow"))
    dial(tmp_path, acceptor, lambda _: len(acceptor.batches) >= 2)
    assert acceptor.batches[0] == acceptor.batches[1]


def test_a_batch_refused_for_good_ends_the_link(tmp_path: Path) -> None:
    acceptor = Acceptor(response(status="410 Gone"))
    dial(tmp_path, acceptor, lambda node: node.service.counts["link closed"] > 0)


def test_a_ping_is_answered_and_a_goodbye_said(tmp_path: Path) -> None:
    acceptor = Acceptor()
    dial(tmp_path, acceptor, lambda _: acceptor.pongs() != [])
    assert [pong for _, pong in acceptor.pongs()] == [Pong(7)]
    numbers = [int(seq) for seq, _ in acceptor.batches]
    assert numbers == list(range(1, len(numbers) + 1))
    assert decode_frames(acceptor.batches[-1][1]) == [Bye(503, 10)]
    assert acceptor.others == [f"DELETE /groat/1/links/{SECRET}"]
