"""Further methods that real clients call, with Core's shapes and errors."""

import asyncio
from types import SimpleNamespace

import pytest

from chain.primitives.numbers import id_text
from chain.service.api.rpc.mempool import spending
from chain.service.pool_keeper import POOL_NAME, PoolKeeper
from tests.api.harness import UNKNOWN, RecordingHost, payment


def test_no_memory_is_locked_and_no_notification_is_sent(on_node):
    async def scenario(node):
        names = ("used", "free", "total", "locked", "chunks_used", "chunks_free")
        locked = {"locked": dict.fromkeys(names, 0)}
        assert await node.rpc("getmemoryinfo") == locked
        assert await node.rpc("getmemoryinfo", "stats") == locked
        error = {"code": -8, "message": "mallocinfo mode not available"}
        assert await node.rpc_error("getmemoryinfo", "mallocinfo") == error
        error = {"code": -8, "message": "unknown mode foobar"}
        assert await node.rpc_error("getmemoryinfo", "foobar") == error
        assert await node.rpc("getzmqnotifications") == []

    on_node(scenario)


def test_arguments_are_echoed(on_node):
    async def scenario(node):
        assert await node.rpc("echo") == []
        given = ["a", 1, None, {"b": [True]}, 0.5]
        assert await node.rpc("echo", *given) == given
        reply = await node.post_rpc({"method": "echo", "params": {"arg2": "x", "arg0": 1}})
        assert reply.json()["result"] == [1, None, "x"]
        assert (await node.rpc_error("echo", *range(11)))["code"] == -1

    on_node(scenario)


def test_everything_asked_before_is_done_when_the_queue_is_synced(on_node):
    async def scenario(node):
        done = []
        before = asyncio.ensure_future(node.context.call(lambda: done.append(True)))
        await asyncio.sleep(0)
        assert await node.rpc("syncwithvalidationinterfacequeue") is None
        assert done == [True]
        await before

    on_node(scenario)


def test_the_one_chain_state_is_told(on_node):
    async def scenario(node):
        await node.grow(2)
        info = await node.rpc("getblockchaininfo")
        told = await node.rpc("getchainstates")
        assert told["headers"] == 2
        [state] = told["chainstates"]
        for name in ("blocks", "bestblockhash", "bits", "target", "difficulty"):
            assert state[name] == info[name], name
        assert (state["verificationprogress"], state["validated"]) == (1.0, True)
        assert min(state["coins_db_cache_bytes"], state["coins_tip_cache_bytes"]) > 1_000_000
        assert set(state) == {
            "blocks", "bestblockhash", "bits", "target", "difficulty", "verificationprogress",
            "coins_db_cache_bytes", "coins_tip_cache_bytes", "validated",
        }  # fmt: skip

    on_node(scenario)


def test_deployments_are_those_rules_that_groat_has(on_node):
    async def scenario(node):
        await node.grow(2)
        told = await node.rpc("getdeploymentinfo")
        assert (told["height"], told["hash"]) == (2, id_text(node.chain.tip.id))
        assert set(told["deployments"]) == {
            "bip34",
            "bip65",
            "bip66",
            "csv",
            "segwit",
            "taproot",
        }
        for deployment in told["deployments"].values():
            assert deployment == {"type": "buried", "active": True, "height": 1}
        genesis = await node.rpc("getblockhash", 0)
        assert (await node.rpc("getdeploymentinfo", genesis))["height"] == 0
        missing = {"code": -5, "message": "Block not found"}
        assert await node.rpc_error("getdeploymentinfo", UNKNOWN) == missing

    on_node(scenario)


def test_block_filters_are_refused_as_by_core_without_that_index(on_node):
    async def scenario(node):
        genesis = await node.rpc("getblockhash", 0)
        error = {"code": -1, "message": "Index is not enabled for filtertype basic"}
        assert await node.rpc_error("getblockfilter", genesis) == error
        assert await node.rpc_error("getblockfilter", genesis, "basic") == error
        error = {"code": -5, "message": "Unknown filtertype"}
        assert await node.rpc_error("getblockfilter", genesis, "foo") == error
        assert (await node.rpc_error("getblockfilter", "foo"))["code"] == -8

    on_node(scenario)


def test_mempool_is_saved_when_asked_and_an_error_says_why_not(on_node, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    keepers = []

    class Host(RecordingHost):
        async def save_pool(self):
            return await keepers[0].save()

    async def scenario(node):
        await node.grow(101)
        thread = SimpleNamespace(call=node.context.call)
        keepers.append(
            PoolKeeper(node.context.node, thread, folder, node.context.clock, lambda: False)
        )
        assert await node.rpc("savemempool") == {"filename": str(folder / POOL_NAME)}
        empty = (folder / POOL_NAME).read_bytes()
        await node.pool(payment(node))
        await asyncio.gather(*(node.rpc("savemempool") for _ in range(5)))
        saved = (folder / POOL_NAME).read_bytes()
        assert len(saved) > len(empty)
        (folder / POOL_NAME).unlink()
        (folder / POOL_NAME).mkdir()
        error = await node.rpc_error("savemempool")
        assert error == {"code": -1, "message": "Unable to dump mempool to disk: Is a directory"}
        assert [each.name for each in folder.iterdir()] == [POOL_NAME]

    on_node(scenario, host=Host())


def test_a_node_without_a_mempool_file_says_so(on_node):
    async def scenario(node):
        error = await node.rpc_error("savemempool")
        assert error["code"] == -1
        assert "keeps no mempool file" in error["message"]

    on_node(scenario)


def test_spends_are_found_in_the_mempool_then_in_the_chain(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        txid = id_text(node.chain.blocks[0].transactions[0].txid)
        asked = {"txid": txid, "vout": 0}
        unspent = {"txid": txid, "vout": 1}
        spent = {**asked, "spendingtxid": id_text(tx.txid)}
        only, whole = {"mempool_only": True}, {"return_spending_tx": True}
        assert await node.rpc("gettxspendingprevout", [asked]) == [asked]
        await node.pool(tx)
        for options in ({}, only, None):
            assert await node.rpc("gettxspendingprevout", [asked, unspent], options) == [
                spent, unspent,
            ]  # fmt: skip
        in_hex = {**spent, "spendingtx": tx.raw.hex()}
        assert await node.rpc("gettxspendingprevout", [asked], whole) == [in_hex]
        block = await node.mine([tx], fees=1000)
        where = {"blockhash": id_text(block.id)}
        assert await node.rpc("gettxspendingprevout", [asked]) == [{**spent, **where}]
        assert await node.rpc("gettxspendingprevout", [asked], whole) == [{**in_hex, **where}]
        assert await node.rpc("gettxspendingprevout", [asked, unspent], only) == [asked, unspent]

    on_node(scenario)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"foo": True}, "Unexpected key foo"),
        ({"mempool_only": 1}, "for field mempool_only is not of expected type bool"),
    ],
)
def test_options_of_another_name_or_type_are_refused(on_node, options, message):
    async def scenario(node):
        asked = {"txid": UNKNOWN, "vout": 0}
        error = await node.rpc_error("gettxspendingprevout", [asked], options)
        assert error["code"] == -3
        assert message in error["message"]

    on_node(scenario)


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [
        ([], -3, "not of expected type object"),
        ({"vout": 0}, -3, "Missing txid"),
        ({"txid": UNKNOWN, "vout": None}, -3, "Missing vout"),
        ({"txid": UNKNOWN, "vout": "0"}, -3, "for field vout is not of expected type number"),
        ({"txid": 0, "vout": 0}, -3, "for field txid is not of expected type string"),
        ({"txid": UNKNOWN, "vout": 0, "foo": 1}, -3, "Unexpected key foo"),
        ({"txid": UNKNOWN, "vout": -1}, -8, "vout cannot be negative"),
        ({"txid": UNKNOWN, "vout": 1 << 31}, -1, "JSON integer out of range"),
        ({"txid": "foo", "vout": 0}, -8, "txid must be of length 64"),
    ],
)
def test_what_is_no_output_is_refused(on_node, output, code, message):
    async def scenario(node):
        error = await node.rpc_error("gettxspendingprevout", [output])
        assert error["code"] == code
        assert message in error["message"]

    on_node(scenario)


def test_spending_transactions_in_one_reply_have_a_limit(on_node, monkeypatch):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        await node.pool(tx)
        asked = {"txid": id_text(node.chain.blocks[0].transactions[0].txid), "vout": 0}
        whole = {"return_spending_tx": True}
        monkeypatch.setattr(spending, "SPENDING_BYTES_MAX", 2 * len(tx.raw))
        assert len(await node.rpc("gettxspendingprevout", [asked] * 2, whole)) == 2
        error = await node.rpc_error("gettxspendingprevout", [asked] * 3, whole)
        assert error["code"] == -8
        assert error["message"].endswith("request fewer outputs")
        assert len(await node.rpc("gettxspendingprevout", [asked] * 3)) == 3

    on_node(scenario)
