"""An API that only reads answers as the node does, and hands on what it cannot do."""

import asyncio
import json
import logging
import threading
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from chain.consensus.genesis import genesis_block
from chain.consensus.params import REGTEST
from chain.ledger.reader import Reader
from chain.primitives.address import script_address
from chain.primitives.numbers import id_text
from chain.service.api.hand_on import AT_NODE as PATHS_AT_NODE
from chain.service.api.hand_on import (
    HandedOn,
    HandOnCutError,
    HandOnTimeoutError,
    NodeAwayError,
    NodeReply,
    reason_of,
)
from chain.service.api.rpc.hand_on import AT_NODE, READ_HERE, REPEATABLE, WORKING_LONG
from chain.service.api.rpc.methods import METHODS
from chain.service.hand_on import NODE_BACK_S_MAX, SECRET_NAME, SOCKET_NAME, NodeWay
from chain.service.heartbeat import HEARTBEAT_NAME, Heartbeat
from chain.service.readers.following import POLL_S
from tests.api.harness import OTHER, PASSWORD, basic, payment, until, wait_for_listeners
from tests.api.reading import reading, taking
from tests.builders import KEY

VERSION = "groat-version"


def test_each_method_is_read_here_or_handed_on_and_none_is_both():
    assert not READ_HERE & AT_NODE
    assert set(METHODS) == READ_HERE | AT_NODE
    assert REPEATABLE <= AT_NODE
    assert WORKING_LONG <= AT_NODE - REPEATABLE
    waiting = {name for name, method in METHODS.items() if method.waits}
    assert waiting <= AT_NODE


def test_every_path_is_answered_as_by_the_node(on_reader):
    async def scenario(node, reader):
        side = node.chain.fork(1)
        await node.connect(*side.grow(1, extra=b"side"))
        tx = payment(node)
        await node.pool(tx)
        await node.mine([tx], fees=1000)
        waiting = payment(node, 2)
        await node.pool(waiting)
        await reader.catch_up()
        address = script_address(OTHER.script, REGTEST.address_prefixes)
        tip, txid = id_text(node.chain.tip.id), id_text(tx.txid)
        known = {
            "block_hash": tip, "start_height": "50", "height": "7", "index": "0", "start": "0",
            "txid": txid, "vout": "0", "address": address, "last_seen": txid,
            "scripthash": "00" * 32,
        }  # fmt: skip
        own = {"/health", "/metrics", "/api/v1/events"}  # they differ, or have no end
        paths = [
            path.format(**known)
            for path, operations in node.app.openapi()["paths"].items()
            if "get" in operations and path not in own
        ]
        pages = ["/", "/mempool", "/peers", "/branches", "/block/3", f"/tx/{id_text(waiting.txid)}"]
        pages += [f"/address/{address}", f"/search?q={txid}", f"/block/{id_text(side.tip.id)}"]
        pages += [f"/api/tx/{id_text(waiting.txid)}", f"/api/block/{id_text(side.tip.id)}/status"]
        for path in [*paths, *pages]:
            theirs, ours = await node.get(path), await reader.client.get(path)
            assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text), path
            assert ours.headers[VERSION] == str(node.ledger.version)
        assert len(paths) >= 30

    on_reader(scenario)


def test_methods_are_answered_as_by_the_node(on_reader):
    async def scenario(node, reader):
        tx = payment(node)
        await node.pool(tx)
        await node.context.call(lambda: node.context.node.prioritise(tx.txid, 50))
        await reader.catch_up()
        tip, txid = id_text(node.chain.tip.id), id_text(tx.txid)
        calls = [
            (name, [])
            for name, method in METHODS.items()
            if name in READ_HERE and not any(one.is_required for one in method.parameters)
        ]
        calls += [("getblock", [tip, 3]), ("getblockheader", [tip]), ("getmempoolentry", [txid])]
        calls += [("estimatesmartfee", [2]), ("getrawmempool", [True]), ("getblockstats", [5])]
        calls += [("getnetworkinfo", []), ("getmininginfo", []), ("testmempoolaccept", [[]])]
        for name, params in calls:
            body = {"id": 1, "method": name, "params": params}
            theirs, ours = await node.post_rpc(body), await reader.post_rpc(body)
            if name == "getrawmempool" and not params:
                assert ours.json()["result"] == [txid]
            assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text), name

    on_reader(scenario)


def test_what_is_posted_through_a_reader_is_in_the_clients_next_read(on_reader):
    async def scenario(node, reader):
        for height in (1, 2):
            tx = payment(node, height)
            reply = await reader.client.post("/api/tx", content=tx.raw.hex())
            assert reply.text == id_text(tx.txid)
            found = await reader.client.get(f"/api/tx/{reply.text}")
            assert found.status_code == 200, "the reader waited for it"
            assert found.headers[VERSION] >= reply.headers[VERSION]
            assert node.sent_txs[-1] == tx
        address = script_address(KEY.script, REGTEST.address_prefixes)
        [block] = await reader.rpc("generatetoaddress", 1, address)
        assert (await reader.client.get("/api/blocks/tip/hash")).text == block
        assert await reader.json("/api/mempool/txids") == []
        refused = await reader.client.post("/api/tx", content="00")
        assert (refused.status_code, refused.text[:30]) == (400, "sendrawtransaction RPC error: ")

    on_reader(scenario)


def test_calls_of_a_batch_are_made_here_and_at_the_node_in_their_order(on_reader):
    async def scenario(node, reader):
        address = script_address(KEY.script, REGTEST.address_prefixes)
        calls = [
            {"id": 1, "method": "getblockcount"},
            {"jsonrpc": "2.0", "id": 2, "method": "generatetoaddress", "params": [1, address]},
            {"id": 3, "method": "getblockcount"},
            {"jsonrpc": "2.0", "method": "generatetoaddress", "params": [1, address]},
            7,
            {"id": 4, "method": "getblockcount"},
            {"id": 5, "method": "uptime", "params": [1]},
            {"id": 6, "method": "nonsense"},
        ]
        replies = (await reader.post_rpc(calls)).json()
        assert [one.get("result") for one in replies[:3:2]] == [102, 103]
        assert (replies[1]["jsonrpc"], len(replies[1]["result"])) == ("2.0", 1)
        assert replies[4]["result"] == 104, "after the notification, which has no reply"
        assert [one["error"]["code"] for one in (replies[3], *replies[5:])] == [-32600, -1, -32601]
        assert len(replies) == len(calls) - 1

    on_reader(scenario)


def test_a_call_that_waits_ends_at_the_node_when_its_client_hangs_up(on_reader):
    async def scenario(node, reader):
        body = {"id": 1, "method": "waitfornewblock", "params": [60_000]}
        calling = asyncio.create_task(reader.post_rpc(body))
        await wait_for_listeners(node, 1)
        block = await node.mine()
        assert (await calling).json()["result"]["hash"] == id_text(block.id)
        assert not node.context.node_events.count
        assert METHODS["getblocktemplate"].waits

    on_reader(scenario)


def test_without_a_node_reads_go_on_and_the_rest_says_why_it_cannot_be_done(on_node, tmp_path):
    async def scenario(node):
        await node.grow(3)
        async with reading(node, tmp_path) as reader:
            assert await reader.rpc("getblockcount") == 3
            reply = await reader.post_rpc({"id": 1, "method": "uptime"})
            assert reply.status_code == 503
            assert reply.json()["error"]["code"] == -9
            assert "the node is not running" in reply.json()["error"]["message"]
            replies = await reader.post_rpc([{"id": n, "method": "uptime"} for n in range(2)])
            assert [one["error"]["code"] for one in replies.json()] == [-9, -9]
            for method, path in sorted(PATHS_AT_NODE):
                reply = await reader.client.request(method, path)
                assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
                assert "the node is not running" in reply.text
            assert (await reader.json("/health"))["status"] == "ok", "it may be between two beats"
            reader.follower._heard_s -= 10.5
            health = await reader.json("/health")
            assert (health["status"], health["node_age_s"] > 10) == ("the node is silent", True)
            assert "The node has been silent for 1" in (await reader.client.get("/")).text
            row = {HEARTBEAT_NAME: Heartbeat(beat=1, peers=4, mock_time=7).encode()}
            await node.context.call(lambda: node.ledger.note(row))
            version = node.ledger.version
            await until(lambda: reader.follower.heartbeat.beat == 1)
            said = Heartbeat(beat=2, peers=3, gossip_events={"link opened": 5, "misbehaved": 1})
            row = {HEARTBEAT_NAME: said.encode()}
            await node.context.call(lambda: node.ledger.note(row))
            await until(lambda: reader.follower.heartbeat.beat == 2)
            assert (await reader.json("/health"))["status"] == "ok"
            assert "silent" not in (await reader.client.get("/")).text
            assert (await reader.json("/api/v1/status"))["peers"] == 3
            metrics = (await reader.client.get("/metrics")).text.splitlines()
            assert 'groat_gossip_events_total{kind="link opened"} 5.0' in metrics
            assert 'groat_gossip_events_total{kind="link closed"} 0.0' in metrics
            assert node.ledger.version == version, "a heartbeat is no version"

    on_node(scenario)


def test_a_password_is_checked_here_and_at_the_node_and_never_logged(on_reader, caplog):
    caplog.set_level(logging.DEBUG)

    async def scenario(_node, reader):
        assert await reader.rpc("uptime") == 60
        body = {"id": 1, "method": "uptime"}
        wrong = {"Authorization": basic("__cookie__", "1" * 64)}
        assert (await reader.post_rpc(body, headers=wrong)).status_code == 401

    on_reader(scenario)
    secret = basic("__cookie__", PASSWORD).split()[1]
    assert secret not in caplog.text
    assert PASSWORD not in caplog.text


def test_the_socket_takes_requests_with_the_secret_of_this_start_only(on_node, tmp_path):
    async def scenario(node):
        async with taking(node, tmp_path):
            assert (tmp_path / SECRET_NAME).stat().st_mode & 0o777 == 0o600
            transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / SOCKET_NAME))
            async with httpx.AsyncClient(transport=transport) as client:
                for headers in ({}, {"groat-secret": "0" * 64}):
                    reply = await client.get(
                        "http://localhost/api/blocks/tip/hash", headers=headers
                    )
                    assert (reply.status_code, reply.text) == (403, "")
        assert not (tmp_path / SECRET_NAME).exists()
        assert not (tmp_path / SOCKET_NAME).exists()

    on_node(scenario)


def test_requests_of_one_client_are_counted_whatever_reader_they_came_through(
    on_node, tmp_path, monkeypatch
):
    monkeypatch.setattr("chain.service.hand_on.PER_CLIENT_MAX", 2)
    body = b'{"id":1,"method":"waitfornewblock","params":[20000]}'
    headers = {"authorization": basic("__cookie__", PASSWORD), "content-type": "text/plain"}

    def waiting(client):
        return HandedOn(method="POST", path="/", client=client, headers=headers, body=body)

    async def scenario(node):
        async with taking(node, tmp_path):
            ways = [NodeWay(tmp_path), NodeWay(tmp_path)]
            held = [
                asyncio.create_task(way.send(waiting("192.0.2.1"), is_repeatable=False))
                for way in ways
            ]
            await wait_for_listeners(node, 2)
            for client, status in (("192.0.2.1", 503), ("::ffff:192.0.2.1", 503)):
                refused = await ways[0].send(waiting(client), is_repeatable=False)
                assert refused.status == status
            held += [
                asyncio.create_task(ways[0].send(waiting(client), is_repeatable=False))
                for client in ("192.0.2.2", "127.0.0.1", "127.0.0.1", "127.0.0.1")
            ]
            await wait_for_listeners(node, 6)
            await node.mine()
            assert {(await one).status for one in held} == {200}
            for way in ways:
                await way.close()

    on_node(scenario)


def test_a_folder_with_a_long_name_has_a_socket_too(on_node, tmp_path):
    folder = tmp_path / ("n" * 120)
    folder.mkdir()

    async def scenario(node):
        async with taking(node, folder):
            way = NodeWay(folder)
            reply = await way.send(_request("/api/blocks/tip/height"), is_repeatable=False)
            assert reply.body == b"0"
            await way.close()

    on_node(scenario)


def _request(path):
    return HandedOn(method="GET", path=path, client="192.0.2.1")


class CutWay:
    """A way on which the first attempt is done, but its reply is lost."""

    def __init__(self, way, *, loses_request=False):
        self.way, self.loses_request, self.sent = way, loses_request, []

    async def send(self, request, /, *, is_repeatable):
        self.sent.append(request)
        if not self.loses_request:
            await self.way.send(request, is_repeatable=False)
        if not is_repeatable:
            raise HandOnCutError
        reply = await self.way.send(request, is_repeatable=False)
        return NodeReply(reply.status, reply.headers, reply.body, was_repeated=True)


@pytest.mark.parametrize("loses_request", [False, True])
def test_a_transaction_or_block_whose_reply_was_lost_is_sent_again(on_reader, loses_request):
    async def scenario(node, reader):
        way = CutWay(reader.context.hand_on, loses_request=loses_request)
        object.__setattr__(reader.context, "hand_on", way)
        tx, block = payment(node), node.chain.add()
        body = {"id": 1, "method": "sendrawtransaction", "params": [tx.raw.hex()]}
        assert (await reader.post_rpc(body)).json()["result"] == id_text(tx.txid)
        other = payment(node, 2)
        sent = await reader.client.post("/api/tx", content=other.raw.hex())
        assert (sent.status_code, sent.text) == (200, id_text(other.txid))
        assert await reader.rpc("submitblock", block.raw.hex()) is None
        assert node.chain.tip.id == node.ledger.tip.id
        replies = await reader.post_rpc([{"id": 1, "method": "uptime"}, body])
        assert replies.json()[0]["error"]["message"].startswith("the node ended before it replied")
        assert replies.json()[1]["result"] == id_text(tx.txid)

    on_reader(scenario)


def test_a_transaction_that_was_mined_meanwhile_was_sent_with_success(on_reader):
    async def scenario(node, reader):
        tx = payment(node)
        await node.mine([tx], fees=1000)
        way = CutWay(reader.context.hand_on, loses_request=True)
        object.__setattr__(reader.context, "hand_on", way)
        assert await reader.rpc("sendrawtransaction", tx.raw.hex()) == id_text(tx.txid)
        sent = await reader.client.post("/api/tx", content=tx.raw.hex())
        assert (sent.status_code, sent.text) == (200, id_text(tx.txid))

    on_reader(scenario)


@pytest.mark.parametrize(("status", "body"), [(401, b""), (503, b"too many requests at once")])
def test_a_second_attempt_that_the_nodes_next_start_refuses_is_shown(on_reader, status, body):
    class RefusedWay:
        async def send(self, _request, /, *, is_repeatable):
            return NodeReply(status, {}, body, was_repeated=is_repeatable)

    async def scenario(node, reader):
        object.__setattr__(reader.context, "hand_on", RefusedWay())
        raw = payment(node).raw.hex()
        reply = await reader.post_rpc({"id": 1, "method": "sendrawtransaction", "params": [raw]})
        assert (reply.status_code, reply.content) == (status, body)

    on_reader(scenario)


def test_other_requests_that_were_cut_are_never_sent_again(on_reader):
    async def scenario(_node, reader):
        way = CutWay(reader.context.hand_on)
        object.__setattr__(reader.context, "hand_on", way)
        reply = await reader.post_rpc({"id": 1, "method": "ping"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, -32603)
        assert len(way.sent) == 1

    on_reader(scenario)


def test_a_node_that_is_not_there_is_told_from_one_that_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("chain.service.hand_on.NODE_BACK_S_MAX", 0.1)

    async def cut(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def main():
        way = NodeWay(tmp_path)
        with pytest.raises(NodeAwayError):
            await way.send(_request("/"), is_repeatable=True)
        (tmp_path / SECRET_NAME).mkdir()
        with pytest.raises(NodeAwayError):
            await way.send(_request("/"), is_repeatable=True)
        (tmp_path / SECRET_NAME).rmdir()
        (tmp_path / SECRET_NAME).write_text("0" * 64)
        server = await asyncio.start_unix_server(cut, tmp_path / SOCKET_NAME)
        for is_repeatable in (False, True):
            with pytest.raises(HandOnCutError):
                await way.send(_request("/"), is_repeatable=is_repeatable)
        server.close()
        await way.close()

    asyncio.run(main())
    assert NODE_BACK_S_MAX > 1


@asynccontextmanager
async def silent_node(folder):
    """A node that is stopped: it has the socket, and reads nothing. Yields its connections."""
    (folder / SECRET_NAME).write_text("0" * 64)
    connected, ended = [], asyncio.Event()

    async def silent(_reader, writer):
        connected.append(asyncio.current_task())
        await ended.wait()
        writer.close()

    server = await asyncio.start_unix_server(silent, folder / SOCKET_NAME, limit=1)
    yield connected
    server.close()
    ended.set()
    await asyncio.wait(connected)


def test_a_node_that_does_not_reply_is_waited_for_once_and_longer_only_by_long_calls(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("chain.service.hand_on.REPLY_S_MAX", 0.05)
    body = b"0" * 2_000_000  # more than a socket holds
    short, long = _request("/"), replace(_request("/"), is_long=True)

    async def main():
        async with silent_node(tmp_path) as connected:
            way = NodeWay(tmp_path)
            for request in (short, replace(short, body=body), replace(long, body=body)):
                for is_repeatable in (False, True):
                    with pytest.raises(HandOnTimeoutError) as raised:
                        await way.send(request, is_repeatable=is_repeatable)
                    assert reason_of(raised.value).startswith("the node does not reply")
            assert len(connected) == 6
            waiting = asyncio.create_task(way.send(long, is_repeatable=False))
            done, _ = await asyncio.wait({waiting}, timeout=0.2)
            assert not done
            waiting.cancel()
            await asyncio.wait({waiting})
            await way.close()

    asyncio.run(main())


def test_a_request_that_finds_no_place_among_those_that_wait_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("chain.service.hand_on.HANDED_ON_MAX", 1)
    monkeypatch.setattr("chain.service.hand_on.CONNECT_S_MAX", 0.2)

    async def main():
        async with silent_node(tmp_path) as connected:
            way = NodeWay(tmp_path)
            waiting = asyncio.create_task(way.send(_request("/"), is_repeatable=False))
            await until(lambda: len(connected) == 1)
            with pytest.raises(NodeAwayError) as raised:
                await way.send(_request("/"), is_repeatable=False)
            assert reason_of(raised.value).startswith("too many requests wait for the node")
            waiting.cancel()
            await asyncio.wait({waiting})
            await way.close()

    asyncio.run(main())


def test_calls_that_wait_or_work_for_minutes_get_the_long_limit(on_reader):
    class Way:
        async def send(self, request, /, *, is_repeatable):
            sent.append(request.is_long)
            raise HandOnTimeoutError

    sent = []

    async def scenario(_node, reader):
        object.__setattr__(reader.context, "hand_on", Way())
        calls = ("uptime", "waitfornewblock", "verifychain", "sendrawtransaction")
        for name in calls:
            reply = await reader.post_rpc({"id": 1, "method": name})
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, -32603)
        assert (await reader.client.get("/peers")).status_code == 503
        assert sent == [False, True, True, False, False]

    on_reader(scenario)


def test_a_request_waits_for_the_version_that_it_names(on_reader):
    async def scenario(node, reader):
        await reader.catch_up()
        later = str(node.ledger.version.next())
        asking = asyncio.create_task(
            reader.client.get("/api/blocks/tip/height", headers={VERSION: later})
        )
        await asyncio.sleep(0.05)
        assert not asking.done()
        await node.mine()
        reply = await asking
        assert (reply.text, reply.headers[VERSION]) == ("103", later)
        assert reply.headers["vary"] == "Groat-Version"
        reply = await reader.client.get("/api/blocks", headers={VERSION: "7"})
        assert (reply.status_code, "earlier reply" in reply.text) == (400, True)

    on_reader(scenario)


def test_a_version_that_does_not_come_is_an_error_that_names_the_one_that_is_here(
    on_reader, monkeypatch
):
    monkeypatch.setattr("chain.service.api.state.version_header.WAIT_S_MAX", 0.05)

    async def scenario(node, reader):
        later = str(node.ledger.version.next())
        reply = await reader.client.get("/api/blocks", headers={VERSION: later})
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert reply.headers[VERSION] == str(node.ledger.version)

    on_reader(scenario)


def test_a_version_that_never_comes_costs_no_more_looks_than_no_request(on_reader):
    async def scenario(node, reader):
        looks = []
        reader.following.listeners.append(lambda: looks.append(None))
        later = node.ledger.version.next()
        waited_s = 4 * POLL_S
        assert not await reader.following.wait_for(later, waited_s)
        assert 1 <= len(looks) <= waited_s / POLL_S + 2  # one is asked for, one may be under way

    on_reader(scenario)


def test_a_version_that_is_there_is_found_before_the_next_look_is_due(on_reader, monkeypatch):
    monkeypatch.setattr("chain.service.readers.following.POLL_S", 60.0)

    async def scenario(node, reader):
        for _ in range(3):
            await node.mine()
            await reader.catch_up()

    on_reader(scenario)


def test_requests_that_find_a_new_version_wait_for_one_reading_of_it(on_reader, monkeypatch):
    """On threads each would wait for Python's lock, and for the others."""

    async def on_no_thread(_call):
        raise AssertionError("it was read on a thread")

    async def scenario(node, reader):
        await reader.catch_up()
        looks = []
        reader.following.listeners.append(lambda: looks.append(None))
        monkeypatch.setattr("chain.service.api.bounded_reads.on_thread", on_no_thread)
        await node.mine()
        block = node.chain.blocks[-1]
        path = f"/api/tx/{id_text(block.transactions[0].txid)}/status"
        statuses = await asyncio.gather(*(reader.json(path) for _ in range(8)))
        assert {status["block_hash"] for status in statuses} == {id_text(block.id)}
        assert len(looks) <= 2

    on_reader(scenario)


def test_the_height_takes_a_snapshot_only_after_somebody_committed(on_reader, monkeypatch):
    snapshots = []
    opened = Reader.snapshot

    def snapshot(self, *how, **more):
        if threading.current_thread() is threading.main_thread():  # the event loop's
            snapshots.append(None)
        return opened(self, *how, **more)

    async def scenario(node, reader):
        for height in (103, 104, 105):
            await node.mine()
            assert await reader.rpc("getblockcount") == height, "no look was waited for"
            assert await reader.rpc("getblockcount") == height
            snapshots.clear()
            assert await reader.rpc("getbestblockhash") == id_text(node.chain.blocks[-1].id)
            assert await reader.rpc("getblockhash", 0) == id_text(genesis_block(REGTEST).id)
            assert not snapshots

    monkeypatch.setattr(Reader, "snapshot", snapshot)
    on_reader(scenario)


@pytest.mark.parametrize("name", [b"user-agent", b"accept", b"content-type", b"authorization"])
def test_a_header_with_any_bytes_is_handed_on_as_it_is(on_reader, name):
    async def scenario(_node, reader):
        reply = await reader.client.post("/api/tx", content=b"00", headers=[(name, b"\xff\xe9 \t")])
        assert reply.status_code == 400, reply.text
        assert "TX decode failed" in reply.text

    on_reader(scenario)


def test_json_of_a_hand_on_keeps_every_digit(on_reader):
    async def scenario(_node, reader):
        raw = b'[{"id":1e400,"method":"uptime","params":[]}]'
        headers = {"Authorization": basic("__cookie__", PASSWORD)}
        reply = await reader.client.post("/", content=raw, headers=headers)
        assert '"id":1e400' in reply.text
        assert json.loads(reply.text.replace("1e400", "1"))[0]["result"] == 60

    on_reader(scenario)
