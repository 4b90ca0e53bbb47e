"""What a stranger's connection may cost, over real sockets with small limits (H6, H9, H32)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from chain.service.http import listener as listener_module
from chain.service.http.census import exempt_loopback
from chain.service.http.guard import _PIPELINED_BYTES_MAX, GuardLimits
from chain.service.http.guard_check import check_guard
from chain.service.http.listener import Listener
from chain.service.supervisor import EndedError
from tests.patience import PATIENCE_S
from tests.peers.nodes import until

pytestmark = pytest.mark.net

LIMITS = GuardLimits(
    head_bytes_max=2000,
    head_s=0.4,
    body_s=0.4,
    body_bytes_per_s=100_000,
    linger_s=0.3,
    idle_s=0.4,
    write_stall_s=0.4,
    connections_max=20,
    connections_per_ip_max=20,
)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
READ_BYTES_MAX = 256 * 1024  # asyncio's, at once
POST_MUCH = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"


async def _echo_length(request: Request) -> Response:
    return Response(str(len(await request.body())))


async def _endless(_request: Request) -> Response:
    async def ticks() -> AsyncIterator[bytes]:
        while True:
            yield b"tick"
            await asyncio.sleep(0.1)

    return StreamingResponse(ticks())


async def _flood(_request: Request) -> Response:
    async def zeros() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield bytes(64 * 1024)

    return StreamingResponse(zeros())


async def _dream(request: Request) -> Response:
    request.app.state.dreaming.set()
    await asyncio.sleep(3600)
    return Response()


async def _refuse(_request: Request) -> Response:
    return Response(status_code=413)


APP = Starlette(
    routes=[
        Route("/", _echo_length, methods=["GET", "POST"]),
        Route("/endless", _endless),
        Route("/flood", _flood),
        Route("/dream", _dream),
        Route("/refuse", _refuse, methods=["POST"]),
    ]
)


@asynccontextmanager
async def listening(limits: GuardLimits = LIMITS) -> AsyncIterator[Listener]:
    listener = Listener(APP, limits)
    await listener.start("127.0.0.1", 0)
    try:
        yield listener
    finally:
        await listener.stop()


async def talk(
    port: int, *parts: bytes, every_s: float = 0.0, limit: int = 1 << 20
) -> tuple[bytes, float]:
    """Send the parts with pauses; return everything answered until the server closed, and when."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    loop = asyncio.get_running_loop()
    since = loop.time()

    async def send() -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(every_s)

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read(limit) if limit < 1 << 20 else await _all(reader)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.transport.abort()
    return answer, loop.time() - since


async def _all(reader: asyncio.StreamReader) -> bytes:
    answer = b""
    try:
        while part := await reader.read(1 << 16):
            answer += part
    except ConnectionResetError:
        pass
    return answer


def run(body: Callable[[Listener], Awaitable[None]], limits: GuardLimits = LIMITS) -> None:
    async def main() -> None:
        async with listening(limits) as listener:
            await body(listener)

    asyncio.run(main())


HALVES = {
    "silent": ((), b""),
    "half header": ((b"GET / HTTP/1.1\r\nHost:",), b"408"),
    "one byte at a time": (tuple(bytes([b]) for b in GET + GET), b"408"),
    "only line ends": ((b"\r\n",) * 40, b"408"),
    "half body": ((b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",), b"408"),
    "slow body": (
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", *([b"x"] * 60)),
        b"408",
    ),
    "slow chunks": (
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            *([b"1\r\nx\r\n"] * 60),
        ),
        b"408",
    ),
    "half of a second request": ((GET, b"GET / HT"), b"408"),
    "a second request that never comes": ((GET,), b"200"),
}


@pytest.mark.parametrize("name", HALVES)
def test_a_connection_that_does_not_finish_is_closed(name: str) -> None:
    parts, status = HALVES[name]

    async def body(listener: Listener) -> None:
        answer, took_s = await talk(listener.port, *parts, every_s=0.05)
        assert took_s >= LIMITS.head_s * 0.9
        assert answer.rpartition(b"HTTP/1.1 ")[2][:3] == status

    run(body)


@pytest.mark.parametrize("filler", [100, 60_000, 1_000_000])
@pytest.mark.parametrize("ended", [False, True])
def test_an_oversize_header_is_cut(filler: int, ended: bool) -> None:
    async def body(listener: Listener) -> None:
        head = b"GET / HTTP/1.1\r\nHost: x\r\nBig: " + b"x" * filler
        answer, took_s = await talk(listener.port, head + b"\r\n\r\n" * ended)
        if filler > LIMITS.head_bytes_max:
            assert answer[:12] in (b"HTTP/1.1 431", b"")  # empty: reset, as it was still sending
            assert took_s < LIMITS.head_s
        else:
            assert answer.startswith(b"HTTP/1.1 200" if ended else b"HTTP/1.1 408")

    run(body)


def test_an_endless_trailer_is_cut() -> None:
    async def body(listener: Listener) -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: "
        answer, _ = await talk(listener.port, head, b"x" * 1000, b"x" * 1000, every_s=0.01)
        assert answer.startswith(b"HTTP/1.1 431")
        many = b"".join(b"t%d: x\r\n" % n for n in range(1000))
        answer, _ = await talk(listener.port, head[:-3] + many)
        assert answer[:12] in (b"HTTP/1.1 431", b"")

    run(body)


def test_a_flood_of_pipelined_requests_is_cut() -> None:
    async def body(listener: Listener) -> None:
        answer, _ = await talk(listener.port, GET * 1000)
        assert answer.count(b"HTTP/1.1 200") < 20

    run(body)


def test_of_pipelined_requests_only_so_much_is_read_while_another_is_answered(monkeypatch) -> None:
    monkeypatch.setattr(listener_module, "_GRACE_S", 0.1)

    async def body(listener: Listener) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"GET /dream HTTP/1.1\r\nHost: x\r\n\r\n")
        APP.state.dreaming = asyncio.Event()
        await APP.state.dreaming.wait()
        server = listener._server
        assert server is not None
        [protocol] = server.server_state.connections
        writer.write(POST_MUCH + bytes(4_000_000))
        await until(lambda: protocol.flow.read_paused, "a pause of reading")
        await asyncio.sleep(0.1)  # in which more would be read
        assert len(protocol.cycle.body) <= _PIPELINED_BYTES_MAX + READ_BYTES_MAX
        writer.transport.abort()

    run(body, replace(LIMITS, body_s=60, head_s=60))


def test_a_stalled_pipelined_request_ends_the_connection_without_a_status_in_another_s_answer():
    async def body(listener: Listener) -> None:
        endless = b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"
        answer, took_s = await talk(listener.port, endless, POST_MUCH, every_s=0.2)
        assert answer.count(b"HTTP/1.1") == 1
        assert answer.count(b"tick") > 1
        assert took_s < 2.0

    run(body)


def test_an_honest_slow_enough_body_passes() -> None:
    async def body(listener: Listener) -> None:
        parts = [bytes(20_000)] * 8  # 0.8 s at 200 kB/s, twice what is asked for
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 160000\r\n\r\n"
        answer, took_s = await talk(listener.port, head, *parts, every_s=0.1)
        assert answer.endswith(b"160000")
        assert took_s > 2 * LIMITS.body_s

    run(body)


def test_a_refused_body_may_not_go_on_for_ever() -> None:
    async def body(listener: Listener) -> None:
        head = b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
        answer, took_s = await talk(listener.port, head, *([bytes(10_000)] * 100), every_s=0.02)
        assert answer.startswith(b"HTTP/1.1 413")
        assert took_s < 1.5

    run(body)


def test_a_refused_body_that_ends_leaves_an_idle_connection_that_is_closed() -> None:
    async def body(listener: Listener) -> None:
        head = b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
        answer, took_s = await talk(listener.port, head, b"0123456789", every_s=0.1)
        assert answer.startswith(b"HTTP/1.1 413")
        assert took_s > LIMITS.idle_s

    run(body)


def test_who_does_not_read_the_answer_is_dropped() -> None:
    async def body(listener: Listener) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=1024)
        writer.write(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(3 * LIMITS.write_stall_s)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1000 * 64 * 1024)
        writer.transport.abort()

    run(body)


def test_an_endless_answer_that_is_read_stays() -> None:
    async def body(listener: Listener) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(12):  # 1.2 s, three times every limit
                await reader.readuntil(b"tick")
        writer.transport.abort()

    run(body)


def test_connections_of_one_address_are_counted_over_their_life() -> None:
    limits = GuardLimits(connections_per_ip_max=2, idle_s=0.2)

    async def body(listener: Listener) -> None:
        kept = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(2)]
        answer, _ = await talk(listener.port, GET)
        assert answer == b""
        for _, writer in kept:
            writer.close()
        async with asyncio.timeout(PATIENCE_S):
            while True:  # until the server has seen both go
                answer, _ = await talk(listener.port, GET)
                if answer.startswith(b"HTTP/1.1 200"):
                    break

    run(body, limits)


def test_a_newcomer_gets_the_place_of_the_connection_that_is_idle_longest() -> None:
    limits = replace(LIMITS, connections_max=3, idle_s=PATIENCE_S, head_s=PATIENCE_S)

    async def body(listener: Listener) -> None:
        opened = []
        for _ in range(3):
            opened.append(await asyncio.open_connection("127.0.0.1", listener.port))
            await asked(*opened[-1])
        await asked(*opened[0])  # now it is the second that has been idle longest
        for gone in (1, 2, 0):
            opened.append(await asyncio.open_connection("127.0.0.1", listener.port))
            await asked(*opened[-1])
            async with asyncio.timeout(PATIENCE_S):
                assert await opened[gone][0].read() == b""
        for _, writer in opened:
            writer.transport.abort()

    async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")

    run(body, limits)


def test_an_answer_that_goes_on_is_not_ended_for_a_newcomer() -> None:
    async def body(listener: Listener) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(GET.replace(b"/", b"/endless", 1))
        await reader.readuntil(b"tick")
        answer, _ = await talk(listener.port, GET)
        assert answer == b"", "there is no room"
        async with asyncio.timeout(PATIENCE_S):
            await reader.readuntil(b"tick")
        writer.transport.abort()

    run(body, replace(LIMITS, connections_max=1))


SMUGGLED = {
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nxx",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: x\n\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "signed length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\nx",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_an_ambiguous_request_is_400_and_closes(name: str) -> None:
    async def body(listener: Listener) -> None:
        answer, took_s = await talk(listener.port, SMUGGLED[name])
        assert answer.startswith(b"HTTP/1.1 400")
        assert took_s < LIMITS.head_s

    run(body)


def test_uvicorn_still_calls_every_hook() -> None:
    asyncio.run(check_guard())


@settings(max_examples=10)
@given(st.lists(st.one_of(st.binary(max_size=300), st.sampled_from([GET, b"\r\n", b"POST / "]))))
def test_whatever_bytes_come_the_next_client_is_served(parts: list[bytes]) -> None:
    async def body(listener: Listener) -> None:
        await talk(listener.port, b"".join(parts))
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(GET)
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.read(12)) == b"HTTP/1.1 200"
        writer.transport.abort()

    quick = GuardLimits(head_s=0.02, body_s=0.02, linger_s=0.02, idle_s=0.02)
    run(body, quick)


def test_hundreds_of_half_requests_neither_block_the_next_nor_stay() -> None:
    limits = GuardLimits(head_s=1.0, exempt=exempt_loopback)

    async def body(listener: Listener) -> None:
        halves = [
            asyncio.create_task(talk(listener.port, b"GET / HTTP/1.1\r\nHost:")) for _ in range(300)
        ]
        answer, _ = await talk(listener.port, GET[:-2] + b"Connection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")
        for answer, _ in await asyncio.gather(*halves):
            assert answer.startswith(b"HTTP/1.1 408")

    run(body, limits)


def test_a_listener_that_ends_by_itself_is_seen(monkeypatch) -> None:
    async def until_stopped(_server: object) -> None:
        await APP.state.ending.wait()

    async def main() -> None:
        APP.state.ending = asyncio.Event()
        async with listening() as stopped:
            waiting = asyncio.create_task(stopped.wait())
            await asyncio.sleep(0)
        await waiting
        monkeypatch.setattr(listener_module.Server, "main_loop", until_stopped)
        async with listening() as ended:
            APP.state.ending.set()
            with pytest.raises(EndedError, match=f"listener on 127.0.0.1:{ended.port} ended"):
                await ended.wait()

    asyncio.run(main())


def test_answers_that_a_stop_cuts_short_are_no_faults_in_the_log(monkeypatch, caplog):
    monkeypatch.setattr(listener_module, "_GRACE_S", 0.1)

    async def main() -> bytes:
        begun = APP.state.dreaming = asyncio.Event()
        async with listening() as listener:
            reader, writer = await asyncio.open_connection(listener.host, listener.port)
            endless, other = await asyncio.open_connection(listener.host, listener.port)
            other.write(GET.replace(b"/", b"/endless", 1))
            await endless.readuntil(b"tick")
            writer.write(GET.replace(b"/", b"/dream", 1))
            await begun.wait()
        answer = await reader.read()
        writer.close()
        other.close()
        return answer

    assert asyncio.run(main()).startswith(b"HTTP/1.1 503 ")
    assert not any(record.exc_info for record in caplog.records)
