"""The node's own JSON, its events, its metrics, and their OpenAPI schema."""

import asyncio
import json
import re
from contextlib import ExitStack
from dataclasses import replace

from chain.consensus.params import REGTEST, network_identity
from chain.primitives.numbers import id_text
from chain.service.api.events import (
    BEHIND_MAX,
    LISTENERS_MAX,
    TooManySubscribersError,
)
from chain.service.api.ports import MiningInfo, NoMiner
from chain.service.api.v1 import encode_events
from chain.service.remote import readable
from tests.api.harness import NOW, PEER, Running, payment
from tests.patience import PATIENCE_S


async def stream(node: Running, lines: asyncio.Queue[str]) -> int:
    """Read the event stream straight from the application, until it ends; return the status."""
    status = 0

    async def receive():
        await asyncio.Event().wait()  # the client stays

    async def send(message):
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        for event in message.get("body", b"").decode().split("\n\n"):
            if event:
                lines.put_nowait(event)

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "method": "GET", "scheme": "http", "path": "/api/v1/events", "raw_path": b"",
        "root_path": "",
        "query_string": b"", "headers": [(b"host", b"127.0.0.1:39445")],
        "server": ("127.0.0.1", 39445), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    await node.app(scope, receive, send)
    return status


def parsed(event: str) -> tuple[str, dict]:
    match = re.fullmatch(r"(?:retry: \d+\n)?(?:id: \w+\.\d+\n)?event: (\w+)\ndata: (.*)", event)
    assert match, event
    return match[1], json.loads(match[2])


def test_status(on_node):
    class Miner(NoMiner):
        def info(self):
            return MiningInfo(hashes_per_second=42.0, threads=1)

    async def scenario(node):
        await node.grow(2)
        node.peers.append(PEER)
        shape = await node.json("/api/v1/status")
        assert shape == {
            "network": "regtest",
            "identity": network_identity(REGTEST).hex(),
            "version": "0.1.0",
            "height": 2,
            "tip": id_text(node.chain.tip.id),
            "tip_time": node.chain.tip.header.time,
            "difficulty": shape["difficulty"],
            "headers": 2,
            "is_syncing": False,
            "sync_progress": 1.0,
            "peers": 1,
            "mempool_count": 0,
            "mempool_vsize": 0,
            "mempool_bytes": 0,
            "hashes_per_second": 42.0,
            "mining": "on",
            "uptime_s": 60,
        }

    on_node(scenario, miner=Miner())


def test_a_miner_that_waits_says_for_what_in_the_status_and_on_the_home_page(on_node):
    class Miner(NoMiner):
        def info(self):
            return MiningInfo(threads=1, waits_for="no peers yet (--mine-alone mines without)")

    async def scenario(node):
        shape = await node.json("/api/v1/status")
        assert shape["mining"] == "waiting: no peers yet (--mine-alone mines without)"
        assert readable(shape)["mining"] == shape["mining"]
        assert "waiting: no peers yet" in await node.text("/")

    on_node(scenario, miner=Miner())


def test_headers_ahead_of_blocks_are_progress(on_node):
    async def scenario(node):
        headers = [block.header for block in node.chain.grow(4)]
        await node.context.call(lambda: node.context.node.submit_headers(headers, NOW))
        await node.connect(node.chain.blocks[0])
        shape = await node.json("/api/v1/status")
        assert (shape["height"], shape["headers"], shape["sync_progress"]) == (1, 4, 0.25)
        info = await node.rpc("getblockchaininfo")
        assert (info["blocks"], info["headers"], info["verificationprogress"]) == (1, 4, 0.25)
        reply = await node.get(f"/api/block/{id_text(headers[3].id)}")
        assert reply.status_code == 404, "a header without its block is no block"

    on_node(scenario)


def test_peers(on_node):
    async def scenario(node):
        node.peers.append(PEER)
        assert await node.json("/api/v1/peers") == [
            {
                "id": 3,
                "address": "192.0.2.1:9444",
                "inbound": True,
                "agent": "/groat:0.1.0/",
                "connected_at": NOW - 5,
                "height": 7,
                "latency_s": 0.25,
                "bytes_sent": 10,
                "bytes_received": 20,
            }
        ]

    on_node(scenario)


def test_branches(on_node):
    async def scenario(node):
        await node.grow(3)
        assert await node.json("/api/v1/branches") == []
        lost = node.chain.fork(2).add(extra=b"lost")
        await node.connect(lost)
        assert await node.json("/api/v1/branches") == [
            {
                "height": 2,
                "id": id_text(lost.id),
                "time": lost.header.time,
                "length": 1,
                "status": "valid-fork",
            }
        ]

    on_node(scenario)


def test_recommended_fees(on_node):
    async def scenario(node):
        assert await node.json("/api/v1/fees/recommended") == dict.fromkeys(
            ["fastestFee", "halfHourFee", "hourFee", "economyFee", "minimumFee"], 1.0
        )
        assert await node.json("/api/v1/mempool") == await node.json("/api/mempool")

    on_node(scenario)


def test_who_subscribes_while_a_block_is_published_gets_it_once(on_node):
    """The view has it already, and the subscribers do not: the start is before it."""

    async def scenario(node):
        await node.grow(101)
        loop, found = asyncio.get_running_loop(), []
        with ExitStack() as subscriptions:

            async def subscribe():
                found.append(subscriptions.enter_context(node.context.events.subscribe()))

            def before_the_events(change):
                if not found:
                    assert change.view.tip == node.context.node.view.tip
                    asyncio.run_coroutine_threadsafe(subscribe(), loop).result(PATIENCE_S)

            node.context.node.listeners.insert(0, before_the_events)
            await node.mine()
            [subscriber] = found
            assert subscriber.tip.height == 101
            change = await subscriber.next(20)
            assert [block.height for block in change.connected] == [102]

    on_node(scenario)


def test_who_subscribes_after_the_reply_begins_after_the_change(on_node):
    async def scenario(node):
        for height in range(1, 30):
            await node.mine()
            with node.context.events.subscribe() as subscriber:
                assert subscriber.tip.height == height

    on_node(scenario)


def test_events_tell_of_blocks_transactions_and_reorganisations(on_node):
    async def scenario(node):
        await node.grow(101)
        events: asyncio.Queue[str] = asyncio.Queue()
        reading = asyncio.create_task(stream(node, events))
        async with asyncio.timeout(PATIENCE_S):
            assert parsed(await events.get()) == (
                "tip", {"height": 101, "id": id_text(node.chain.tip.id)},
            )  # fmt: skip
            tx = payment(node, fee=1500)
            await node.pool(tx)
            assert parsed(await events.get()) == (
                "transaction",
                {
                    "txid": id_text(tx.txid), "fee": 1500, "vsize": tx.vsize,
                    "value": 5_000_000_000 - 1500,
                },
            )  # fmt: skip
            fork = node.chain.fork(0)
            block = await node.mine([tx], fees=1500)
            assert parsed(await events.get()) == (
                "block",
                {
                    "height": 102, "id": id_text(block.id), "time": block.header.time,
                    "tx_count": 2,
                },
            )  # fmt: skip
            new = fork.grow(2, extra=b"fork")
            await node.connect(*new)
            name, shape = parsed(await events.get())
            assert name == "reorganisation"
            assert shape == {
                "disconnected": [id_text(block.id)],
                "connected": [id_text(b.id) for b in new],
            }
            assert [parsed(await events.get())[1]["height"] for _ in new] == [102, 103]
            assert parsed(await events.get())[1]["txid"] == id_text(tx.txid), "it waits again"
            node.context.end_streams()
            assert await reading == 200
        assert node.context.events.count == 0

    on_node(scenario)


def test_quiet_stream_shows_that_it_lives(on_node, monkeypatch):
    monkeypatch.setattr("chain.service.api.v1.HEARTBEAT_S", 0.05)

    async def scenario(node):
        events: asyncio.Queue[str] = asyncio.Queue()
        reading = asyncio.create_task(stream(node, events))
        async with asyncio.timeout(PATIENCE_S):
            await events.get()
            assert await events.get() == ": nothing new"
        node.context.end_streams()
        await reading

    on_node(scenario)


def test_listener_that_falls_behind_is_let_go(on_node):
    async def scenario(node):
        with node.context.events.subscribe() as listener:
            for _ in range(BEHIND_MAX + 5):
                await node.mine()  # each is a change of its own
            await asyncio.sleep(0)
            heights = []
            async with asyncio.timeout(PATIENCE_S):
                while (change := await listener.next(5)) is not None:
                    heights += [block.height for block in change.connected]
            assert heights == list(range(1, BEHIND_MAX + 1))

    on_node(scenario)


def test_listeners_are_bounded(on_node):
    async def scenario(node):
        events, held = node.context.events, []
        for _ in range(LISTENERS_MAX):
            listening = events.subscribe()
            listening.__enter__()
            held.append(listening)
        try:
            with events.subscribe():
                raise AssertionError("one too many")
        except TooManySubscribersError:
            pass
        assert (await node.get("/api/v1/events")).status_code == 503
        for listening in held:
            listening.__exit__(None, None, None)
        assert events.count == 0

    on_node(scenario)


def test_calls_that_wait_are_bounded_apart_from_listeners(on_node):
    async def scenario(node):
        with ExitStack() as held:
            for _ in range(LISTENERS_MAX):
                held.enter_context(node.context.node_events.subscribe())
            poll = {"rules": ["segwit"], "longpollid": ""}
            error = await node.rpc_error("getblocktemplate", poll)
            assert error["code"] == -1
            assert not node.context.events.is_full

    on_node(scenario)


def test_only_so_many_transactions_are_told_of_one_change(on_node):
    async def scenario(node):
        await node.grow(101)
        with node.context.events.subscribe() as listener:
            await node.pool(payment(node))
            change = await listener.next(5)
            while change is not None and not change.added:  # the blocks, in an earlier change
                change = await listener.next(5)
        assert change is not None
        many = replace(change, connected=(), added=change.added * 1000)
        assert len(list(encode_events(many))) == 100

    on_node(scenario)


def test_metrics_and_health(on_node):
    async def scenario(node):
        node.peers.append(PEER)
        await node.grow(2)
        reply = await node.get("/metrics")
        assert reply.headers["content-type"].startswith("text/plain")
        lines = reply.text.splitlines()
        assert "groat_height 2.0" in lines
        assert 'groat_peers{direction="inbound"} 1.0' in lines
        assert 'groat_peers{direction="outbound"} 0.0' in lines
        assert 'groat_build_info{network="regtest",version="0.1.0"} 1.0' in lines
        version = str(node.context.state.version)
        health = {"status": "ok", "height": 2, "version": version, "node_age_s": 0.0}
        reply = await node.get("/health")
        assert reply.json() == health
        assert reply.headers["groat-version"] == version
        assert f"groat_sequence {node.context.state.version.sequence}.0" in lines

    on_node(scenario)


def test_openapi_tells_of_every_reply(on_node):
    async def scenario(node):
        schema = await node.json("/openapi.json")
        paths = schema["paths"]
        for path in ("/api/v1/status", "/api/blocks", "/api/tx/{txid}", "/metrics", "/health"):
            assert path in paths
        assert not {"/", "/rpc", "/docs", "/mempool"} & set(paths)
        for path, methods in paths.items():
            for method, operation in methods.items():
                assert "422" not in operation["responses"], "nothing here answers so"
                assert operation["responses"]["200"]["content"], (path, method)
                assert operation["description"], (path, method)
        text = paths["/api/blocks/tip/height"]["get"]["responses"]
        assert list(text["200"]["content"]) == ["text/plain"]
        assert list(text["default"]["content"]) == ["text/plain"]
        binary = paths["/api/tx/{txid}/raw"]["get"]["responses"]["200"]
        assert list(binary["content"]) == ["application/octet-stream"]
        assert "password" not in json.dumps(schema).lower()

    on_node(scenario)


def test_docs_load_nothing_from_elsewhere(on_node):
    async def scenario(node):
        page = await node.text("/docs")
        for reference in re.findall(r'(?:src|href)="([^"]*)"', page):
            assert reference.startswith("/"), reference
        for path in (await node.json("/openapi.json"))["paths"]:
            assert f">{path}<" in page

    on_node(scenario)
