"""Transactions sent together: JSON-RPC's submitpackage, and Esplora's endpoint of that answer."""

import asyncio

from chain.consensus.coin import Coin
from chain.primitives.numbers import Height, id_text
from chain.primitives.script import op_return
from chain.primitives.transaction import Transaction, TxOut
from tests.api.harness import OTHER, payment
from tests.builders import output_of, pay, spend

FEE = 1500


def child_of(*parents: Transaction, fee: int = FEE) -> Transaction:
    """Return a transaction that spends the first output of each parent."""
    outputs = [parent.outputs[0] for parent in parents]
    coins = [Coin(out.value, out.script, Height(0), False) for out in outputs]
    points = [output_of(parent) for parent in parents]
    value = sum(out.value for out in outputs) - fee
    return spend(list(zip(points, coins, strict=True)), [pay(value, OTHER)], key=OTHER)


def hexes(*transactions: Transaction) -> list[str]:
    return [tx.raw.hex() for tx in transactions]


def test_a_child_and_its_parents_are_sent_and_told_by_wtxid(on_node):
    async def scenario(node):
        await node.grow(102)
        one, two = payment(node, 1), payment(node, 2)
        child = child_of(one, two)
        told = await node.rpc("submitpackage", hexes(one, two, child))
        assert told["package_msg"] == "success"
        assert told["replaced-transactions"] == []
        assert list(told["tx-results"]) == [id_text(tx.wtxid) for tx in (one, two, child)]
        assert told["tx-results"][id_text(child.wtxid)] == {
            "txid": id_text(child.txid),
            "vsize": child.vsize,
            "fees": {
                "base": FEE / 10**8,
                "effective-feerate": FEE * 1000 // child.vsize / 10**8,
                "effective-includes": [id_text(child.wtxid)],
            },
        }
        assert node.sent_txs == [one, two, child]

    on_node(scenario)


def test_a_package_may_hold_what_waits_already(on_node):
    async def scenario(node):
        await node.grow(101)
        parent = payment(node)
        await node.pool(parent)
        child = child_of(parent)
        told = await node.rpc("submitpackage", hexes(parent, child))
        assert told["package_msg"] == "success"
        known = {"vsize": parent.vsize, "fees": {"base": 0.00001}}
        assert told["tx-results"][id_text(parent.wtxid)] == {"txid": id_text(parent.txid), **known}

    on_node(scenario)


def test_a_package_that_many_send_at_once_succeeds_for_each(on_node):
    async def scenario(node):
        await node.grow(101)
        parent = payment(node)
        package = hexes(parent, child_of(parent))
        all_told = await asyncio.gather(*(node.rpc("submitpackage", package) for _ in range(4)))
        assert [told["package_msg"] for told in all_told] == ["success"] * 4

    on_node(scenario)


def test_a_package_tells_what_it_replaced(on_node):
    async def scenario(node):
        await node.grow(101)
        old = payment(node)
        grandchild = child_of(old)
        for tx in (old, grandchild):
            await node.pool(tx)
        dear = payment(node, fee=5000)
        told = await node.rpc("submitpackage", hexes(dear, child_of(dear)))
        assert told["package_msg"] == "success"
        assert told["replaced-transactions"] == [id_text(old.txid), id_text(grandchild.txid)]

    on_node(scenario)


def test_a_parent_that_is_refused_is_told_with_its_child(on_node):
    async def scenario(node):
        await node.grow(102)
        poor, good = payment(node, 1, fee=1), payment(node, 2)
        child = child_of(poor, good, fee=100_000)
        told = await node.rpc("submitpackage", hexes(poor, good, child))
        assert told["package_msg"] == "transaction failed"
        errors = [result.get("error") for result in told["tx-results"].values()]
        assert errors == [
            "min relay fee not met, 1 < 110",
            None,
            "bad-txns-inputs-missingorspent",
        ]
        assert await node.rpc("getrawmempool") == [id_text(good.txid)]

    on_node(scenario)


def test_what_is_no_package_is_refused_whole(on_node):
    async def scenario(node):
        await node.grow(102)
        parent, other = payment(node, 1), payment(node, 2)
        child = child_of(parent)
        burning = payment(node, 2, extra=[TxOut(1, op_return(b"x"))])
        grandchild = child_of(parent, child)
        dearer = payment(node, 1, fee=5000)
        count = "Array must contain between 1 and 25 transactions."
        topology = "package topology disallowed. not child-with-parents"
        for package, code, message in [
            ([], -8, count),
            (hexes(parent) * 26, -8, count),
            (["00"], -22, "TX decode failed"),
            ([1], -3, "JSON value of type number is not of expected type string"),
            (hexes(other, child), -25, topology),
            (hexes(child, parent), -25, topology),
            (hexes(parent, parent), -25, topology),
            (hexes(parent, child, grandchild), -25, topology),
            (hexes(parent, dearer, child_of(parent, dearer)), -25, "conflict-in-package"),
            (hexes(burning), -25, "Unspendable output exceeds maximum configured by user"),
        ]:
            error = await node.rpc_error("submitpackage", package)
            assert error["code"] == code, error
            assert error["message"].startswith(message), error
        assert await node.rpc("getrawmempool") == []

    on_node(scenario)


def test_esplora_takes_a_package_and_its_bounds(on_node):
    async def scenario(node):
        await node.grow(102)
        parent, burning = payment(node), payment(node, 2, extra=[TxOut(1, op_return(b"x"))])
        child = child_of(parent)
        path = "/api/txs/package"

        async def post(body: object, query: str = ""):
            return await node.client.post(f"{path}{query}", json=body)

        dear = (await post(hexes(parent), "?maxfeerate=1.5")).json()
        [refused] = dear["tx-results"].values()
        assert refused["error"].startswith("Fee exceeds maximum configured by user")
        reply = await post(hexes(parent, child), "?maxfeerate=20")
        assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
        assert reply.json()["package_msg"] == "success"
        assert '"base":0.00001000' in reply.text
        refused = await post(hexes(burning))
        assert refused.status_code == 400
        assert refused.text.startswith('submitpackage RPC error: {"code": -25, "message": "Unspend')
        taken = await post(hexes(burning), "?maxburnamount=0.00000001")
        assert taken.json()["package_msg"] == "success"
        for body, query in [({}, ""), (["x"], ""), ([None], ""), (hexes(parent), "?maxfeerate=-1")]:
            assert (await post(body, query)).status_code == 400
        assert (await node.client.post(path, content=b"[[")).status_code == 400

    on_node(scenario)
