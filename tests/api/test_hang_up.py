"""A client that disconnects at any point leaves nothing in the log (H2)."""

import asyncio

import pytest
from starlette.routing import Route

from chain.service.http.guard import GuardLimits
from chain.service.http.listener import Listener
from tests.api.harness import PASSWORD, Running, basic, running
from tests.raw_http import chunked_get, half_post, hang_up

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
            listener = Listener(node.app, GuardLimits(loopback_exempt=True))
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
            listener = Listener(node.app, GuardLimits(loopback_exempt=True))
            await listener.start("127.0.0.1", 0)
            await hang_up(listener.port, *chunked_get("/api/v1/events"))
            node.context.events.close()
            await listener.stop()

    asyncio.run(main())
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
