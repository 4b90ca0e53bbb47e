"""What a hostile server can do to the connection that carries our POSTs up (H7, H8, H9, H32)."""

import asyncio
import socket
import struct

import pytest

from chain.gossip.wire.address import parse_address
from chain.service.http.http_error import ServerError, StatusError
from chain.service.peers.patience import ClientLimits
from chain.service.peers.pipe import BUFFERED_BYTES_MAX, HEAD_BYTES_MAX, Pipe
from tests.peers.test_client import Handler, canned, response, serving

pytestmark = pytest.mark.net

DONE = response(status="204 No Content")
TIMEOUT_S = 0.4


def post(handle: Handler, *bodies: bytes) -> None:
    """Send each body through one pipe."""

    async def main() -> None:
        async with serving(handle) as address:
            pipe = Pipe(address, {"groat-network": "00"}, ClientLimits(connect_s=1.0))
            try:
                for body in bodies:
                    await pipe.post("/up", body, {"groat-seq": "1"}, TIMEOUT_S)
            finally:
                pipe.close()

    asyncio.run(main())


def ask(
    handle: Handler, *, times: int = 1, bytes_max: int = 1_000, parts_max: int = -1
) -> list[bytes]:
    """Ask so many times through one pipe, and read so many parts of each answer; -1: all."""

    async def main() -> list[bytes]:
        limits = ClientLimits(connect_s=1.0, head_s=TIMEOUT_S, drip_s=TIMEOUT_S)
        answers = []
        async with serving(handle) as address:
            pipe = Pipe(address, {}, limits)
            try:
                for _ in range(times):
                    async with pipe.ask("/blocks", b"which", {}, bytes_max) as chunks:
                        parts = []
                        while len(parts) != parts_max and (part := await anext(chunks, b"")):
                            parts.append(part)
                    answers.append(b"".join(parts))
            finally:
                pipe.close()
        return answers

    return asyncio.run(main())


def refuses(handle: Handler, why: str, *, is_fault: bool) -> None:
    with pytest.raises(ServerError, match=why) as caught:
        post(handle, b"x")
    assert caught.value.is_fault is is_fault


def test_many_requests_go_over_one_connection() -> None:
    heads, connections = [], set()

    async def handle(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        connections.add(writer)
        writer.write(DONE)

    post(handle, b"one", b"", b"x" * 1_000_000)
    assert len(connections) == 1
    assert [len(head.partition(b"\r\n\r\n")[2]) for head in heads] == [3, 0, 1_000_000]
    assert heads[0].startswith(b"POST /up HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\ngroat-network: 00\r\ngroat-seq: 1\r\n" in heads[0]


def test_a_server_may_close_the_connection_with_its_answer() -> None:
    connections = set()

    async def handle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        writer.write(response(b"", "connection: close", status="204 No Content"))

    post(handle, b"1", b"2")
    assert len(connections) == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [((), 0), (("retry-after: 7",), 7), (("retry-after: soon",), 0), (("retry-after: -1",), 0)],
)
def test_another_status_is_told_with_its_pause(headers: tuple[str, ...], seconds: int) -> None:
    with pytest.raises(StatusError) as caught:
        post(canned(response(b"x" * 100, *headers, status="429 Slow")), b"x")
    assert (caught.value.status, caught.value.retry_after_s) == (429, seconds)
    assert not caught.value.is_fault


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "100 Continue", "410 Gone"])
def test_only_204_is_success(status: str) -> None:
    refuses(canned(response(status=status)), f"status {status[:3]}", is_fault=False)


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\x01\x02\x03",
        b"HTTP/1.1 204\r\nfoo\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ],
)
def test_an_answer_that_is_no_http_is_a_fault(answer: bytes) -> None:
    refuses(canned(answer), "Parser|Upgrade|Invalid|status", is_fault=True)


def test_a_compressed_answer_is_a_fault() -> None:
    refuses(
        canned(response(b"", "content-encoding: gzip", status="204 No Content")),
        "compressed",
        is_fault=True,
    )


@pytest.mark.parametrize(("over", "refused"), [(0, False), (1, True)])
def test_the_head_of_an_answer_is_bounded(over: int, refused: bool) -> None:
    frame = len(response(b"", "x: ", status="204 No Content"))
    answer = response(b"", "x: " + "y" * (HEAD_BYTES_MAX - frame + over), status="204 No Content")
    if refused:
        refuses(canned(answer), "over 16384 bytes", is_fault=True)
    else:
        post(canned(answer), b"x")


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 204 No Content\r\nx: "])
def test_a_silent_or_dripping_server_is_left_at_the_deadline(first: bytes) -> None:
    async def handle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while first:
            writer.write(b"y")
            await asyncio.sleep(0.05)

    refuses(handle, "too slow", is_fault=False)


def test_an_answer_that_nobody_asked_for_answers_nothing() -> None:
    asked = []

    async def handle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        if len(asked) == 1:
            writer.write(DONE + response(status="410 Gone") + DONE)
        else:
            writer.write(DONE)

    post(handle, b"1", b"2")
    assert asked[0] is not asked[1], "the second request went over a connection of its own"


def test_a_server_that_is_gone_is_unreachable() -> None:
    async def main() -> None:
        async with serving(canned(DONE)) as address:
            pass
        with pytest.raises(ServerError, match="connection refused"):
            await Pipe(address, {}, ClientLimits(connect_s=1.0)).post("/up", b"x", {}, TIMEOUT_S)

    asyncio.run(main())


def chunked(*parts: bytes) -> bytes:
    """Return an answer in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body


@pytest.mark.parametrize("answer", [response(b"ab" * 500), chunked(b"ab" * 250, b"ab" * 250)])
def test_answers_arrive_whole_over_one_connection(answer: bytes) -> None:
    connections = set()

    async def handle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        for start in range(0, len(answer), 333):
            writer.write(answer[start : start + 333])
            await asyncio.sleep(0)

    assert ask(handle, times=3) == [b"ab" * 500] * 3
    assert len(connections) == 1


def test_an_empty_answer_is_one() -> None:
    assert ask(canned(response(b"")), times=2) == [b"", b""]


def test_an_answer_that_ends_with_its_connection_is_whole() -> None:
    assert ask(canned(response(b"x" * 100, "connection: close")), times=2) == [b"x" * 100] * 2


def test_an_answer_that_nobody_reads_to_its_end_is_not_taken_for_the_next() -> None:
    answers = [response(b"old" * 100_000), response(b"new")]
    first, second = ask(canned(*answers), times=2, bytes_max=1_000_000, parts_max=1)
    assert set(first) == set(b"old")
    assert second == b"new"


def test_bytes_behind_an_answer_end_the_connection_and_answer_nothing() -> None:
    assert ask(canned(chunked(b"x") + response(b"another")), times=2) == [b"x", b"x"]


def test_the_bodies_of_answers_are_bounded() -> None:
    assert ask(canned(response(b"x" * 1_000))) == [b"x" * 1_000]
    with pytest.raises(ServerError, match="over 1000 bytes") as caught:
        ask(canned(chunked(b"x" * 999, b"xx")))
    assert caught.value.is_fault


@pytest.mark.parametrize(
    ("answer", "why", "is_fault"),
    [
        (response(b"x", status="404 Not Found"), "status 404", False),
        (response(b"x" * 500, "retry-after: 7", status="429 Slow"), "status 429", False),
        (response(b"x", "content-encoding: gzip"), "compressed", True),
        (response(b"x" * 9, length=10), "too slow", False),
        (response(b"", "x: " + "y" * HEAD_BYTES_MAX), "over 16384 bytes", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", "Invalid", True),
    ],
)
def test_a_wrong_answer_is_a_server_error(answer: bytes, why: str, is_fault: bool) -> None:
    with pytest.raises(ServerError, match=why) as caught:
        ask(canned(answer))
    assert caught.value.is_fault is is_fault


def test_a_server_that_goes_in_the_middle_of_an_answer_has_not_answered() -> None:
    async def handle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(response(b"x" * 500, length=1_000))
        await writer.drain()
        writer.transport.abort()

    with pytest.raises(ServerError, match="connection lost"):
        ask(handle)


def test_little_is_buffered_of_an_answer_that_is_read_slowly() -> None:
    size = 40 * BUFFERED_BYTES_MAX
    held = []

    async def main() -> None:
        async with serving(canned(response(bytes(size)))) as address:
            pipe = Pipe(address, {}, ClientLimits(connect_s=1.0))
            async with pipe.ask("/blocks", b"", {}, size) as chunks:
                async for _ in chunks:
                    await asyncio.sleep(0)  # so that more could arrive
                    assert pipe._connection is not None
                    held.append(pipe._connection._body_bytes)
            pipe.close()

    asyncio.run(main())
    assert max(held) <= 2 * BUFFERED_BYTES_MAX


@pytest.mark.parametrize("endless", [b"0\r\nt: ", b"1;x="])
def test_what_is_no_body_is_bounded_behind_the_head_too(endless: bytes) -> None:
    async def handle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(chunked(b"x").removesuffix(b"0\r\n\r\n") + endless)
        while not writer.is_closing():
            writer.write(b"y" * 1_000)
            await asyncio.sleep(0)

    with pytest.raises(ServerError, match="over 16384 bytes") as caught:
        ask(handle)
    assert caught.value.is_fault


def test_a_connection_that_is_reset_at_once_is_lost_and_no_fault() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            loop = asyncio.get_running_loop()
            pipe = Pipe(parse_address(*server.getsockname()), {}, ClientLimits(connect_s=1.0))
            for _ in range(50):
                asking = loop.create_task(pipe.post("/up", b"x", {}, TIMEOUT_S))
                taken, _ = await loop.sock_accept(server)
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                taken.close()
                with pytest.raises(ServerError) as caught:
                    await asking
                assert not caught.value.is_fault

    asyncio.run(main())


def test_many_small_parts_of_an_answer_are_taken_at_once() -> None:
    parts = [b"%d" % (number % 10) for number in range(2_000)]

    async def main() -> list[bytes]:
        async with serving(canned(chunked(*parts))) as address:
            pipe = Pipe(address, {}, ClientLimits(connect_s=1.0))
            async with pipe.ask("/blocks", b"", {}, len(parts)) as chunks:
                taken = [chunk async for chunk in chunks]
            pipe.close()
        return taken

    taken = asyncio.run(main())
    assert b"".join(taken) == b"".join(parts)
    assert len(taken) <= 20
