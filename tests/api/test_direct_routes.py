"""The short way to a handler gives the same reply as FastAPI's."""

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from chain.primitives.numbers import id_text
from chain.service.api import bounded_reads
from chain.service.api.direct_routes import DirectRoutes
from tests.api.harness import UNKNOWN, payment

# These need more than pieces of the path, or their reply is of FastAPI's making.
OTHERS = {"/api/v1/status", "/api/v1/peers", "/api/v1/branches", "/api/v1/mempool"} | {
    "/api/v1/fees/recommended"
}


async def answered(app: FastAPI, path: str, *, by_fastapi: bool) -> tuple[object, ...]:
    """Return status, headers and body of a reply, made with or without the short way."""
    sent = []

    async def pass_on(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 999, "headers": []})

    async def send(message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "app": app}
    scope |= {"query_string": b"", "root_path": "", "server": ("127.0.0.1", 1), "scheme": "http"}
    scope |= {"http_version": "1.1", "raw_path": path.encode(), "client": None}
    if by_fastapi:
        inner = app.build_middleware_stack()
        while not isinstance(inner, DirectRoutes):
            inner = inner.app if hasattr(inner, "app") else inner._app
        await inner._app(scope, None, send)
    else:
        handlers = app.exception_handlers
        await DirectRoutes(pass_on, app.router.routes, {}, handlers)(scope, None, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], sent[0]["headers"], body


def without_tag(reply):
    status, headers, body = reply
    return status, [header for header in headers if header[0] != b"etag"], body


def test_every_reply_is_the_same_as_by_the_long_way(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        block = id_text((await node.mine([tx], fees=1000)).id)
        await node.pool(payment(node, 2))
        [output, *_] = (await node.json(f"/api/tx/{id_text(tx.txid)}"))["vout"]
        names = {
            "txid": (id_text(tx.txid), UNKNOWN, "x", "é"),
            "address": (output["scriptpubkey_address"], "bc1qx", "x" * 100),
            "scripthash": ("00" * 32, "zz"),
            "last_seen": (id_text(tx.txid), "x"),
            "block_hash": (block, UNKNOWN, "x"),
            **dict.fromkeys(("vout", "start_height", "height", "index", "start"), ("0", "99", "-")),
        }
        tried = 0
        for route in node.app.router.routes:
            if not (isinstance(route, APIRoute) and route.path.startswith("/api/")):
                continue
            if "GET" not in route.methods or route.path in {*OTHERS, "/api/v1/events"}:
                continue
            paths = [route.path]
            for name in route.param_convertors:
                paths = [
                    path.replace(f"{{{name}}}", value) for path in paths for value in names[name]
                ]
            for path in paths:
                direct = await answered(node.app, path, by_fastapi=False)
                assert direct[0] != 999, path
                assert without_tag(direct) == await answered(node.app, path, by_fastapi=True), path
                tried += 1
        assert tried > 80

    on_node(scenario)


def test_what_it_does_not_know_is_passed_on(on_node):
    async def scenario(node):
        unknown = ("/api/", "/api/tx", "/api/tx/", "/api/tx/a/b/c", "/api/nothing", "/apitx/a", "/")
        for path in (*unknown, *OTHERS):
            assert (await answered(node.app, path, by_fastapi=False))[0] == 999, path

    on_node(scenario)


def test_a_read_that_is_too_much_for_the_event_loop_is_made_on_a_thread(on_node, monkeypatch):
    """Of a large transaction the bytes are more, of a large bucket the statements take longer."""
    used = []

    async def on_thread(api, read, was=bounded_reads.read_on_thread):
        used.append(True)
        return await was(api, read)

    async def scenario(node):
        await node.grow(2)
        tx = node.chain.blocks[0].transactions[0]
        path = f"/api/tx/{id_text(tx.txid)}"
        here = await node.text(path)
        assert not used
        limits = bounded_reads.ON_LOOP
        size = len(tx.raw)
        for changed, expected in (({"bytes_max": size}, 0), ({"bytes_max": size - 1}, 1)):
            few = type(limits)(waits=False, **changed)
            monkeypatch.setattr(bounded_reads, "ON_LOOP", few)
            assert await node.text(path) == here
            assert len(used) == expected
        # SQLite looks at the clock only in long statements, so a counter stands for one.
        monkeypatch.setattr("chain.ledger.db.engine._CLOCK_EVERY_STEPS", 1)
        monkeypatch.setattr(bounded_reads, "ON_LOOP", type(limits)(waits=False, read_s=0.0))
        assert await node.text(path) == here
        assert len(used) == 2

    monkeypatch.setattr(bounded_reads, "read_on_thread", on_thread)
    on_node(scenario)
