"""JSON-RPC: prioritisetransaction and getprioritisedtransactions."""

import pytest

from chain.node.deltas import DELTA_MAX, DELTA_MIN
from chain.primitives.numbers import id_text
from tests.api.harness import UNKNOWN, payment

METHOD = "prioritisetransaction"


def test_a_delta_is_told_and_decides_what_is_in_a_template(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        txid = id_text(tx.txid)
        assert await node.rpc(METHOD, txid, 0, -5) is True
        assert await node.rpc(METHOD, UNKNOWN, None, 7) is True
        expected = {
            txid: {"fee_delta": -5, "in_mempool": False},
            UNKNOWN: {"fee_delta": 7, "in_mempool": False},
        }
        assert await node.rpc("getprioritisedtransactions") == expected
        await node.pool(tx)
        fee = node.context.node.view.pool.get(tx.txid).fee
        listed = await node.rpc("getprioritisedtransactions")
        assert listed[txid] == {"fee_delta": -5, "in_mempool": True, "modified_fee": fee - 5}
        fees = (await node.rpc("getmempoolentry", txid))["fees"]
        shown = {name: round(value * 1e8) for name, value in fees.items()}
        assert shown.pop("base") == fee
        assert shown == dict.fromkeys(("modified", "ancestor", "descendant"), fee - 5)
        template = await node.rpc("getblocktemplate", {"rules": ["segwit"]})
        assert [one["fee"] for one in template["transactions"]] == [fee]
        assert await node.rpc(METHOD, txid, 0.0, 4 - fee) is True
        template = await node.rpc("getblocktemplate", {"rules": ["segwit"]})
        assert template["transactions"] == []
        assert await node.rpc(METHOD, txid, 0, fee + 1) is True
        assert list(await node.rpc("getprioritisedtransactions")) == [UNKNOWN]

    on_node(scenario)


def test_named_arguments_need_no_dummy(on_node):
    async def scenario(node):
        call = {"method": METHOD, "params": {"txid": UNKNOWN, "fee_delta": 1}}
        assert (await node.post_rpc(call)).json()["result"] is True
        assert (await node.rpc("getprioritisedtransactions"))[UNKNOWN]["fee_delta"] == 1

    on_node(scenario)


PRIORITY = "Priority is no longer supported, dummy argument to prioritisetransaction must be 0."


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ((), -1, METHOD),
        ((UNKNOWN,), -1, METHOD),
        ((UNKNOWN, 0), -1, METHOD),
        ((UNKNOWN, 0, 0, 0), -1, METHOD),
        (("foo", 0, 0), -8, "txid must be of length 64 (not 3, for 'foo')"),
        (("Z" + UNKNOWN[1:], 0, 0), -8, "txid must be hexadecimal string (not 'Z0"),
        ((UNKNOWN, "foo", 0), -3, "type string is not of expected type number"),
        ((UNKNOWN, 1, 0), -8, PRIORITY),
        ((UNKNOWN, 0, "foo"), -3, "type string is not of expected type number"),
        ((UNKNOWN, 0, "NaN"), -3, "type string is not of expected type number"),
        ((UNKNOWN, 0, 1.5), -1, "JSON integer out of range"),
        ((UNKNOWN, 0, DELTA_MAX + 1), -1, "JSON integer out of range"),
        ((UNKNOWN, 0, DELTA_MIN - 1), -1, "JSON integer out of range"),
    ],
)
def test_wrong_arguments_are_told_in_cores_words(on_node, params, code, text):
    async def scenario(node):
        error = await node.rpc_error(METHOD, *params)
        assert error["code"] == code
        assert text in error["message"]
        assert await node.rpc("getprioritisedtransactions") == {}

    on_node(scenario)


@pytest.mark.parametrize("grains", [DELTA_MIN, DELTA_MAX])
def test_the_largest_deltas_are_told_as_they_are(on_node, grains):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        await node.pool(tx)
        for _ in range(2):
            assert await node.rpc(METHOD, id_text(tx.txid), 0, grains) is True
        [shape] = (await node.rpc("getprioritisedtransactions")).values()
        assert shape["fee_delta"] == grains
        assert DELTA_MIN <= shape["modified_fee"] <= DELTA_MAX
        for method in ("getrawmempool", "getblocktemplate"):
            await node.rpc(method, {"rules": ["segwit"]} if "template" in method else True)
        await node.rpc("generatetoaddress", 1, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")
        is_mined = grains > 0
        assert (await node.rpc("getprioritisedtransactions") == {}) == is_mined

    on_node(scenario)


def test_a_full_table_is_an_error(on_node, monkeypatch):
    monkeypatch.setattr("chain.node.deltas.DELTAS_MAX", 1)

    async def scenario(node):
        assert await node.rpc(METHOD, UNKNOWN, 0, 1) is True
        error = await node.rpc_error(METHOD, "11" * 32, 0, 1)
        assert error == {"code": -1, "message": "at most 1 transactions can have a fee delta"}
        assert await node.rpc(METHOD, UNKNOWN, 0, 1) is True

    on_node(scenario)
