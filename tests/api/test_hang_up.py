"""A client that disconnects at any point leaves nothing in the log (H2)."""

import asyncio
import json

import pytest
from starlette.routing import Route

from chain.service.api.access.limits import BLOCK_WAITERS_MAX
from chain.service.api.rpc.methods import METHODS
from chain.service.api.rpc.mining.template import poll_id_of
from chain.service.http.census import exempt_loopback
from chain.service.http.guard import GuardLimits
from chain.service.http.listener import Listener
from tests.api.harness import PASSWORD, Running, basic, listeners, running, until
from tests.raw_http import chunked_get, close, half_post, hang_up

pytestmark = pytest.mark.net
LOGIN = f"Authorization: {basic('__cookie__', PASSWORD)}"
POSTS = {"/api/tx", "/api/txs/package", "/", "/rpc", "/wallet/{name}"}


def posts(node: Running) -> set[str]:
    """All paths that accept a POST."""
    paths = {
        route.path
        for route in node.app.routes
        if isinstance(route, Route) and "POST" in (route.methods or ())
    }
    schema = node.app.openapi()["paths"]
    return paths | {path for path, methods in schema.items() if "post" in methods}


@pytest.mark.parametrize("with_reset", [False, True], ids=["end", "reset"])
def test_a_client_that_hangs_up_within_a_body_is_no_fault_in_the_log(tmp_path, caplog, with_reset):
    async def main() -> None:
        async with running(tmp_path) as node:
            listener = Listener(node.app, GuardLimits(exempt=exempt_loopback))
            await listener.start("127.0.0.1", 0)
            assert posts(node) >= POSTS
            for path in posts(node):
                for login in ([], [LOGIN]):
                    parts = half_post(path.replace("{name}", "x"), *login)
                    await hang_up(listener.port, *parts, with_reset=with_reset)
            await hang_up(listener.port, *half_post("/api/blocks/tip/height", method="GET"))
            await listener.stop()

    asyncio.run(main())
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_body_that_goes_on_behind_its_answer_is_no_fault_in_the_log(tmp_path, caplog):
    async def main() -> None:
        async with running(tmp_path) as node:
            listener = Listener(node.app, GuardLimits(exempt=exempt_loopback))
            await listener.start("127.0.0.1", 0)
            await hang_up(listener.port, *chunked_get("/api/v1/events"))
            node.context.end_streams()
            await listener.stop()

    asyncio.run(main())
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def waiting_calls(node: Running) -> dict[str, dict[str, object]]:
    """Every call that waits for something which does not happen here."""
    asked = {"rules": ["segwit"], "longpollid": poll_id_of(node.context)}
    return {
        "getblocktemplate": {"template_request": asked},
        "waitforblock": {"blockhash": "00" * 32},
        "waitforblockheight": {"height": 9},
        "waitfornewblock": {},
    }


def requests_that_wait(node: Running) -> list[bytes]:
    """Each of these calls alone and in a batch, and the stream of events."""
    requests = [b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"]
    for name, params in waiting_calls(node).items():
        one = {"method": name, "params": params, "id": 1}
        for body in (json.dumps(one), json.dumps([{"method": "uptime", "id": 0}, one, one])):
            head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n{LOGIN}\r\n"
            requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    return requests


UPTIME = b'{"method": "uptime", "id": 9}'
PIPELINED = f"POST / HTTP/1.1\r\nHost: x\r\n{LOGIN}\r\nContent-Length: {len(UPTIME)}\r\n\r\n"
NEXT = PIPELINED.encode() + UPTIME
FOLLOWING = [[NEXT], [NEXT[:40]], [NEXT[:-5]], [NEXT] * 3]  # whole and unfinished requests


@pytest.mark.parametrize("is_late", [False, True], ids=["in one write", "later"])
@pytest.mark.parametrize("with_reset", [False, True], ids=["end", "reset"])
def test_a_client_that_pipelines_requests_and_hangs_up_ends_the_call_that_waits(
    tmp_path, caplog, with_reset, is_late
):
    """The requests behind it are read, up to a limit, or the end after them would never be."""

    async def main() -> None:
        async with running(tmp_path) as node:
            listener = Listener(node.app, GuardLimits(exempt=exempt_loopback))
            await listener.start("127.0.0.1", 0)
            for parts in FOLLOWING:
                writers = []
                for request in requests_that_wait(node):
                    _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
                    writer.write(request if is_late else request + b"".join(parts))
                    writers.append(writer)
                await until(lambda: listeners(node) == len(writers))  # noqa: B023
                for writer in writers:
                    for part in parts if is_late else ():
                        writer.write(part)
                        await writer.drain()
                    close(writer, with_reset=with_reset)
                await until(lambda: listeners(node) == 0)
            await listener.stop()

    asyncio.run(main())
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("with_reset", [False, True], ids=["end", "reset"])
def test_a_client_that_hangs_up_frees_its_place_among_those_who_wait(tmp_path, caplog, with_reset):
    """More hang-ups than there are places for waiting calls."""

    async def main() -> None:
        async with running(tmp_path) as node:
            listener = Listener(node.app, GuardLimits(exempt=exempt_loopback))
            await listener.start("127.0.0.1", 0)
            assert set(waiting_calls(node)) == {name for name in METHODS if METHODS[name].waits}
            each = BLOCK_WAITERS_MAX // len(requests_that_wait(node))
            for _ in range(3):
                writers = []
                for request in requests_that_wait(node) * each:
                    _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
                    writer.write(request)
                    writers.append(writer)
                await until(lambda: listeners(node) == len(writers))  # noqa: B023
                for writer in writers:
                    close(writer, with_reset=with_reset)
                await until(lambda: listeners(node) == 0)
            free = [
                node.context.limits.waiters.acquire(blocking=False)
                for _ in range(BLOCK_WAITERS_MAX)
            ]
            assert all(free)
            await listener.stop()

    asyncio.run(main())
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
