"""What a hostile server can do to who dials it: nothing that lasts (H3, H7, H8, H9, H31)."""

import asyncio
import gzip
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from chain.consensus.params import REGTEST
from chain.gossip.wire.address import Address, parse_address
from chain.gossip.wire.frames import encode_frame
from chain.gossip.wire.hello import HelloReply
from chain.gossip.wire.messages import Ping
from chain.primitives.numbers import Hash32
from chain.service.http.http_error import ServerError, StatusError, connection_problem
from chain.service.peers.client import Exchange, PeerClient
from chain.service.peers.patience import ClientLimits
from tests.peers.nodes import LOCALHOST, Running, running, until
from tests.peers.stranger import HELLO

pytestmark = pytest.mark.net

LIMITS = ClientLimits(connect_s=1.0, idle_s=0.5, head_s=0.4, drip_s=0.4, bytes_per_s=100_000)
CONTEXT = ssl.create_default_context()
SECRET = "0123456789abcdef" * 2

Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def response(
    body: bytes = b"", *headers: str, status: str = "200 OK", length: int | None = None
) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


@asynccontextmanager
async def serving(handle: Handler) -> AsyncIterator[Address]:
    """Run a server that hands each request's head to `handle`, which may write anything."""
    tasks: set[asyncio.Task[None] | None] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length: "):
                        head += await reader.readexactly(int(line[16:]))
                await handle(head, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, LOCALHOST, 0)
    try:
        yield parse_address(LOCALHOST, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in tasks if task), return_exceptions=True)


def canned(*answers: bytes) -> Handler:
    waiting = list(answers)

    async def handle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(waiting.pop(0) if len(waiting) > 1 else waiting[0])

    return handle


def ask(handle: Handler, *, body_bytes_max: int = 1000) -> bytes:
    """Return what a client gets from a server, or raise what it raises."""

    async def main() -> bytes:
        async with serving(handle) as address:
            client = PeerClient(address, REGTEST.magic, CONTEXT, LIMITS)
            try:
                how = Exchange(body_bytes_max=body_bytes_max)
                return (await client.exchange("GET", "/hello", how)).body
            finally:
                await client.close()

    return asyncio.run(main())


def refuses(handle: Handler, why: str, *, is_fault: bool) -> None:
    with pytest.raises(ServerError, match=why) as caught:
        ask(handle)
    assert caught.value.is_fault is is_fault


def test_an_honest_answer_arrives() -> None:
    assert ask(canned(response(b"x" * 1000))) == b"x" * 1000


def test_one_byte_over_the_limit_is_too_much() -> None:
    refuses(canned(response(b"x" * 1001)), "over 1000 bytes", is_fault=True)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity", "gzip, gzip"])
def test_a_compressed_answer_is_refused_unread(coding: str) -> None:
    bomb = gzip.compress(bytes(1_000_000))[:900]
    refuses(
        canned(response(bomb, f"Content-Encoding: {coding}")), "compressed answer", is_fault=True
    )


def test_a_redirect_is_an_answer_like_any_other() -> None:
    asked = []

    async def handle(head: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(head)
        writer.write(response(b"", "Location: http://127.0.0.1:22/", status="307 Go"))

    with pytest.raises(StatusError) as caught:
        ask(handle)
    assert caught.value.status == 307
    assert len(asked) == 1


def test_a_cookie_is_not_given_back_and_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    heads: list[bytes] = []

    async def handle(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head.lower())
        writer.write(response(b"", "Set-Cookie: tracked=yes; Path=/"))

    async def main() -> None:
        async with serving(handle) as address:
            client = PeerClient(address, REGTEST.magic, CONTEXT, LIMITS)
            for _ in range(2):
                await client.exchange("GET", "/hello")
            await client.close()

    asyncio.run(main())
    assert len(heads) == 2
    for head in heads:
        assert head.startswith(b"get /groat/1/hello http/1.1\r\n")
        assert b"accept-encoding: identity\r\n" in head
        assert b"groat-network: fabfb5da\r\n" in head
        assert b"cookie" not in head
        assert b"python" not in head, "what we are made of is nobody's business"


def test_a_silent_server_hits_the_deadline() -> None:
    async def handle(_head: bytes, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    refuses(handle, "too slow", is_fault=False)


@pytest.mark.parametrize("part", [b"HTTP/1.1 200 OK\r\nx: ", response(b"", length=1000)])
def test_a_dripping_server_hits_a_total_deadline(part: bytes) -> None:
    async def handle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(part)
        for _ in range(300):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)  # each byte well within any timeout of its own

    async def timed() -> float:
        loop = asyncio.get_running_loop()
        async with serving(handle) as address:
            client = PeerClient(address, REGTEST.magic, CONTEXT, LIMITS)
            since = loop.time()
            with pytest.raises(ServerError, match="too slow"):
                await client.exchange("GET", "/hello", Exchange(body_bytes_max=1000))
            took_s = loop.time() - since
            await client.close()
            return took_s

    assert asyncio.run(timed()) < 5


def test_a_slow_but_steady_answer_passes() -> None:
    size = 200_000  # in 1.0 s at 200 kB/s: over the grace, and twice as fast as need be

    async def handle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(response(b"", length=size))
        for _ in range(20):
            writer.write(bytes(size // 20))
            await writer.drain()
            await asyncio.sleep(0.05)

    assert len(ask(handle, body_bytes_max=size)) == size


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"-ERR unknown command\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nbig: " + b"x" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 999 \xff\xfe\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
    ],
)
def test_whatever_else_a_server_says_is_a_server_error(answer: bytes) -> None:
    async def handle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    with pytest.raises(ServerError):
        ask(handle)


def test_a_reset_behind_the_answer_is_a_server_error() -> None:
    async def handle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        at_once = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        writer.write(response(b"", length=5))
        await writer.drain()
        writer.transport.abort()

    for _ in range(20):  # whether the answer is read before the reset is a matter of luck
        with pytest.raises(ServerError):
            ask(handle)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 0), ("7", 7), ("86400", 86_400), ("86401", 86_400), ("-1", 0), ("9" * 99, 0), ("x", 0)],
)
def test_retry_after_is_a_bounded_number(text: str, seconds: int) -> None:
    with pytest.raises(StatusError) as caught:
        ask(canned(response(b"", f"Retry-After: {text}", status="503 No")))
    assert (caught.value.status, caught.value.retry_after_s) == (503, seconds)


# a whole node that dials such a server


def dial(
    folder: Path, handle: Handler, count: str, asked: Callable[[Running], bool] | None = None
) -> None:
    """Let a node dial the server; it must count `count`, and have no link after that."""

    async def main() -> None:
        async with (
            serving(handle) as address,
            running(folder, peers=(address,), client=LIMITS) as node,
        ):
            await until(lambda: node.service.counts[count] > 0, count)
            await until(lambda: node.service.connected() == [], "no link")
            assert asked is None or asked(node)

    asyncio.run(main())


def test_nothing_but_a_bare_get_reaches_who_is_no_node(tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def handle(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        writer.write(response(b"+PONG"))

    dial(tmp_path, handle, "dial failed: unreachable")
    assert heads
    for head in heads:
        assert head.startswith(b"GET /groat/1/hello HTTP/1.1\r\n")
        assert b"content-length" not in head.lower()


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("403 Forbidden", "forbidden"),
        ("409 Conflict", "self"),
        ("421 Misdirected", "wrong network"),
        ("426 Upgrade", "version"),
        ("429 Slow", "busy"),
        ("503 Full", "busy"),
        ("500 Oops", "unreachable"),
        ("201 Created", "unreachable"),  # but no link in it
    ],
)
def test_a_refused_handshake_is_told_by_its_status(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: str, why: str
) -> None:
    caplog.set_level("INFO")
    dial(
        tmp_path,
        canned(response(HELLO.encode()), response(b"", status=status)),
        f"dial failed: {why}",
    )
    lines = [line for line in caplog.messages if line.startswith("cannot connect to")]
    detail = {"500 Oops": " (status 500)", "201 Created": " (no link in the answer)"}.get(status)
    ends = [line.partition(": ")[2] for line in lines]
    said = {
        "409 Conflict": "it is this node",
        "429 Slow": "it takes no more links from this IP for now",
        "503 Full": "it takes no links for now",
    }.get(status, f"{why}{detail or ''}")
    assert ends == [said] * len(lines), "one reason"


def test_a_node_with_our_magic_and_other_rules_is_said_to_have_these(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    other = replace(HELLO, identity=Hash32(bytes(32)))
    dial(tmp_path, canned(response(other.encode())), "dial failed: wrong network")
    assert "wrong network: its rules or its genesis block differ" in caplog.text


def test_a_node_that_is_gone_is_named_with_the_systems_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def main() -> None:
        async with serving(canned(response())) as address:
            pass
        async with running(tmp_path, peers=(address,), client=LIMITS) as node:
            await until(lambda: node.service.counts["dial failed: unreachable"] > 0, "a vain dial")
        line = f"cannot connect to {address}: unreachable (connection refused)"
        assert line in caplog.messages

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "name or service not known"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "TLS failed: plain HTTP is spoken there"),
        (OSError("All connection attempts failed"), "All connection attempts failed"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_connection_problem_is_the_systems_and_not_a_librarys(
    error: Exception, said: str
) -> None:
    assert connection_problem(error) == said
    around = OSError("All connection attempts failed")
    around.__cause__ = error
    assert connection_problem(around) in {said, str(around)}
    around.__cause__ = around  # an endless chain
    assert connection_problem(around) == str(around)


def test_a_server_that_is_killed_in_the_middle_of_a_reply_is_said_to_have_ended_it() -> None:
    async def handle(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe")
        writer.close()

    with pytest.raises(ServerError, match=r"^the connection ended in the middle of a reply$"):
        ask(handle)


def acceptor(down: bytes) -> Handler:
    """Return a server that admits whoever comes and then says `down`, in one chunk."""
    reply = HelloReply(HELLO, None, 20).encode()
    chunk = b"%x\r\n%b\r\n" % (len(down), down)

    async def handle(head: bytes, writer: asyncio.StreamWriter) -> None:
        match head.split(b" ")[:2]:
            case [b"GET", b"/groat/1/hello"]:
                writer.write(response(HELLO.encode()))
            case [b"POST", b"/groat/1/links"]:
                writer.write(response(reply, f"groat-link: {SECRET}", status="201 Created"))
            case [b"GET", _]:
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk)
            case _:
                writer.write(response(status="204 No Content"))

    return handle


def test_bad_frames_on_the_down_stream_end_the_link(tmp_path: Path) -> None:
    dial(tmp_path, acceptor(encode_frame(Ping(1)) + b"\xff\xff\xff\xff\x02"), "misbehaved")


def test_silence_on_the_down_stream_ends_the_link(tmp_path: Path) -> None:
    dial(tmp_path, acceptor(encode_frame(Ping(1))), "link closed")


@pytest.mark.parametrize("steps", range(1, 6))
def test_a_client_that_is_cancelled_while_it_closes_leaves_nothing_open(steps):
    """A node that stops does that to a dial that has just failed."""
    writers: set[asyncio.StreamWriter] = set()

    async def handle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        if len(writers) == 3:  # so that each is on a connection of its own
            for each in writers:
                each.write(response())

    async def main() -> None:
        async with serving(handle) as address:
            client = PeerClient(address, REGTEST.magic, CONTEXT, LIMITS)
            await asyncio.gather(*(client.exchange("GET", "/hello") for _ in range(3)))
            closing = asyncio.create_task(client.close())
            for _ in range(steps):
                await asyncio.sleep(0)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
            await until(lambda: all(w.is_closing() for w in writers), "all connections closed")

    asyncio.run(main())
