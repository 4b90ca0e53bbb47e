"""The short way to a handler gives the same reply as FastAPI's."""

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from chain.primitives.hashes import sha256
from chain.primitives.numbers import id_text, outpoint
from chain.primitives.transaction import Transaction, TxIn, TxOut
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


OPENED = b"\x51"  # OP_TRUE
LONG = b"\x00\x63" + b"\x51" * 9_000 + b"\x68\x51"  # OP_0 OP_IF ... OP_ENDIF OP_TRUE


def test_what_a_reply_was_read_from_is_never_large_on_the_event_loop(on_node, monkeypatch):
    """A short reply may come from long transactions, and a short transaction from long coins."""
    used = []

    async def on_thread(api, read, was=bounded_reads.read_on_thread):
        used.append(True)
        return await was(api, read)

    async def scenario(node):
        await node.grow(101)
        fund = payment(node, extra=[*[TxOut(1, LONG)] * 4, *[TxOut(1, OPENED)] * 800])
        points = [outpoint(fund.txid, index) for index in range(len(fund.outputs))]
        of_long_coins = taking(points[1:5])
        of_many_inputs = taking(points[5:])
        await node.mine([fund, of_long_coins, of_many_inputs])
        small = payment(node, 2, extra=[TxOut(1, OPENED)] * 2)
        await node.mine([small, taking([outpoint(small.txid, 1)])])
        long_txid, fund_txid = id_text(of_long_coins.txid), id_text(fund.txid)
        assert len(of_long_coins.raw) < 1_000
        for path, is_large in {
            f"/api/tx/{long_txid}": True,
            f"/api/scripthash/{sha256(LONG).hex()}/txs": True,
            f"/api/tx/{fund_txid}/outspend/0": True,  # `fund` itself is long
            f"/api/tx/{id_text(of_many_inputs.txid)}/outspend/0": True,
            f"/api/tx/{id_text(small.txid)}": False,
            f"/api/tx/{id_text(small.txid)}/outspends": False,
        }.items():
            used.clear()
            await node.json(path)
            assert bool(used) == is_large, path
        for method, arguments in (
            ("gettxout", (fund_txid, 0)),
            ("getrawtransaction", (long_txid, 2)),
        ):
            used.clear()
            await node.rpc(method, *arguments)
            assert used, method

    for module in ("bounded_reads", "rpc.server"):
        monkeypatch.setattr(f"chain.service.api.{module}.read_on_thread", on_thread)
    on_node(scenario)


def taking(points):
    """Return a transaction that spends coins which need no signature."""
    return Transaction(2, tuple(TxIn(point, b"", 0) for point in points), (TxOut(1, OPENED),), 0)
