"""The reply to a request during which the ledger fails (H4)."""

import asyncio
from collections.abc import Callable
from contextlib import contextmanager

import pytest

from chain.ledger.errors import DamagedError, DatabaseFailedError
from chain.primitives.numbers import id_text
from tests.api.harness import RecordingHost, payment, running

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
SECRET = "/home/alice/ledger.sqlite cannot be written: disk I/O error"
SENTENCE = "the node's ledger cannot be written, so the node is stopping; its log says why"


def served(tmp_path, body, *, breaks: Callable[[], BaseException]):
    """Run `body` on a node whose ledger fails; return the failures that it reports."""
    host = RecordingHost()
    broken: list[bool] = []

    def wrap(call):
        async def wrapped(function):
            if broken:
                raise breaks()
            return await call(function)

        return wrapped

    async def main() -> None:
        async with running(tmp_path, wrap_call=wrap, host=host) as node:
            await node.grow(101)
            broken.append(True)
            await body(node)

    asyncio.run(main())
    return host.failures


def written() -> DatabaseFailedError:
    return DatabaseFailedError(f"the ledger failed: {SECRET}", "written")


def test_a_stranger_s_transaction_meets_a_503_of_one_sentence_without_the_path(tmp_path, caplog):
    async def body(node) -> None:
        for path in ("/api/tx", "/api/txs/package"):
            raw = payment(node).raw.hex()
            content = raw if path == "/api/tx" else f'["{raw}"]'
            reply = await node.client.post(path, content=content)
            assert (reply.status_code, reply.text) == (503, SENTENCE), path

    told = served(tmp_path, body, breaks=written)
    assert [type(error) for error in told] == [DatabaseFailedError] * 2
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_transaction_that_cannot_be_committed_is_not_answered_with_success(on_node, monkeypatch):
    """The mempool has it, but the node ends, and the next one would not know it."""

    def fail(*_given, **_how):
        raise written()

    async def scenario(node) -> None:
        await node.grow(101)
        monkeypatch.setattr(node.context.node, "save_pool", fail)
        raw = payment(node).raw.hex()
        reply = await node.client.post("/api/tx", content=raw)
        assert (reply.status_code, reply.text) == (503, SENTENCE)
        reply = await node.post_rpc({"id": 1, "method": "sendrawtransaction", "params": [raw]})
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, -20)
        assert [type(error) for error in node.host.failures] == [DatabaseFailedError] * 2

    on_node(scenario)


@pytest.mark.parametrize("dialect", [{}, {"jsonrpc": "2.0"}], ids=["old", "2.0"])
def test_a_call_meets_a_503_with_core_s_number_of_a_database_error(tmp_path, dialect):
    async def body(node) -> None:
        calls = [
            ("generatetoaddress", [1, ADDRESS]),
            ("submitblock", [node.chain.add().raw.hex()]),
            ("sendrawtransaction", [payment(node).raw.hex()]),
            ("prioritisetransaction", [id_text(bytes(32)), 0, 1]),
        ]
        for method, params in calls:
            reply = await node.post_rpc(dialect | {"id": 1, "method": method, "params": params})
            error = {"code": -20, "message": SENTENCE}
            assert (reply.status_code, reply.json()["error"]) == (503, error), method
        batch = [dialect | {"id": n, "method": calls[n][0], "params": calls[n][1]} for n in (0, 1)]
        first = dialect | {"id": "x", "method": "getblockcount"}
        reply = await node.post_rpc([first, *batch])
        assert reply.status_code == 503
        assert [one.get("result") for one in reply.json()] == [101, None, None]

    assert len(served(tmp_path, body, breaks=written)) == 6


@pytest.mark.parametrize(
    "path", ["/block/1", f"/api/address/{ADDRESS}/utxo", "/api/tx/" + "00" * 32]
)
def test_a_read_that_fails_is_a_503_too_and_stops_the_node(tmp_path, path):
    @contextmanager
    def snapshot(*_limits, **_waits):
        raise DamagedError("/home/alice: what was read is not what was written")
        yield

    async def body(node) -> None:
        node.context.reader.snapshot = snapshot
        reply = await node.get(path)
        assert reply.status_code == 503
        assert "the node's ledger is damaged, so the node is stopping" in reply.text
        assert "alice" not in reply.text
        rpc = await node.post_rpc({"id": 1, "method": "gettxoutsetinfo"})
        assert (rpc.status_code, rpc.json()["error"]["code"]) == (503, -20)

    assert [type(error) for error in served(tmp_path, body, breaks=written)] == [DamagedError] * 2
