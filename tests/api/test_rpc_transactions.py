"""JSON-RPC's transactions and mempool, compared with what Core's clients read."""

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.numbers import OutPoint, id_text
from tests.api.harness import NOW, OTHER, UNKNOWN, payment
from tests.builders import KEY, pay, spend

ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)


def test_transaction_waiting_and_confirmed(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node, fee=1100)
        txid = id_text(tx.txid)
        assert await node.rpc("sendrawtransaction", tx.raw.hex()) == txid
        assert node.sent_txs == [tx]
        assert await node.rpc("getrawtransaction", txid) == tx.raw.hex()
        decoded = await node.rpc("decoderawtransaction", tx.raw.hex())
        waiting = await node.rpc("getrawtransaction", txid, True)
        assert waiting == {**decoded, "hex": tx.raw.hex()}
        assert decoded["vout"] == [
            {
                "value": 49.999989,
                "n": 0,
                "scriptPubKey": {
                    "asm": f"0 {OTHER.key_hash.hex()}",
                    "hex": OTHER.script.hex(),
                    "address": script_address(OTHER.script, REGTEST.address_prefixes),
                    "type": "witness_v0_keyhash",
                },
            }
        ]
        assert decoded["vin"][0]["scriptSig"] == {"asm": "", "hex": ""}
        assert (decoded["vsize"], decoded["weight"]) == (tx.vsize, tx.weight)
        full = await node.rpc("getrawtransaction", txid, 2)
        assert full["fee"] == 0.000011
        assert full["vin"][0]["prevout"]["value"] == 50
        block = await node.mine([tx], fees=1100)
        confirmed = await node.rpc("getrawtransaction", txid, 1)
        assert confirmed["blockhash"] == id_text(block.id)
        assert (confirmed["confirmations"], confirmed["blocktime"]) == (1, block.header.time)

    on_node(scenario)


def test_refused_transaction_has_core_s_number_and_words(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        cheap, dear = payment(node, 2, fee=1), payment(node, 2, fee=2_000_000)
        await node.mine([tx], fees=1000)
        for sent, params, code, message in [
            (tx, [], -27, "Transaction outputs already in utxo set"),
            (payment(node, fee=2000), [], -25, "bad-txns-inputs-missingorspent"),
            (cheap, [], -26, "min relay fee not met, 1 < 110"),
            (dear, [], -25, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)"),
            (dear, [0.01], -25, "Fee exceeds maximum configured by user"),
        ]:
            error = await node.rpc_error("sendrawtransaction", sent.raw.hex(), *params)
            assert error["code"] == code, error
            assert error["message"].startswith(message), error
        assert await node.rpc("sendrawtransaction", dear.raw.hex(), 0) == id_text(dear.txid)

    on_node(scenario)


def test_mempool_acceptance_is_told_and_changes_nothing(on_node):
    async def scenario(node):
        await node.grow(102)
        good, poor = payment(node, fee=1100), payment(node, 2, fee=1)
        unknown = OutPoint(good.inputs[0].outpoint[:32] + b"\x07\0\0\0")
        orphan = spend([(unknown, node.chain.coinbase_coin(1)[1])], [pay(5000)])
        [yes] = await node.rpc("testmempoolaccept", [good.raw.hex()])
        assert yes == {
            "txid": id_text(good.txid),
            "wtxid": id_text(good.wtxid),
            "allowed": True,
            "vsize": good.vsize,
            "fees": {
                "base": 0.000011,
                "effective-feerate": 0.0001,
                "effective-includes": [id_text(good.wtxid)],
            },
        }
        answers = await node.rpc("testmempoolaccept", [poor.raw.hex(), orphan.raw.hex()])
        assert [answer["allowed"] for answer in answers] == [False, False]
        reasons = [answer["reject-reason"] for answer in answers]
        assert reasons == ["min relay fee not met", "missing-inputs"]
        assert await node.rpc("getrawmempool") == []

    on_node(scenario)


def test_mempool_methods(on_node):
    async def scenario(node):
        await node.grow(101)
        parent = payment(node, fee=1100)
        coin = node.chain.coinbase_coin(1)[1]
        out = type(coin)(parent.outputs[0].value, OTHER.script, 0, False)
        child = spend([(parent.txid + b"\0\0\0\0", out)], [pay(out.value - 2200, OTHER)], key=OTHER)
        for tx in (parent, child):
            await node.pool(tx)
        info = await node.rpc("getmempoolinfo")
        assert (info["size"], info["bytes"]) == (2, parent.vsize + child.vsize)
        assert (info["total_fee"], info["minrelaytxfee"]) == (0.000033, 0.00001)
        ids = [id_text(parent.txid), id_text(child.txid)]
        assert await node.rpc("getrawmempool") == ids
        entries = await node.rpc("getrawmempool", True)
        assert list(entries) == ids
        entry = await node.rpc("getmempoolentry", ids[1])
        assert entry == entries[ids[1]]
        assert entry["depends"] == [ids[0]]
        assert entries[ids[0]]["spentby"] == [ids[1]]
        assert (entry["ancestorcount"], entry["fees"]["ancestor"]) == (2, 0.000033)
        assert (entries[ids[0]]["descendantcount"], entry["time"]) == (2, NOW)
        assert set(await node.rpc("getrawmempool", False, True)) == {"txids", "mempool_sequence"}
        assert (await node.rpc("estimatesmartfee", 6)) == {"feerate": 0.00001, "blocks": 6}

    on_node(scenario)


def test_unspent_outputs_in_chain_and_mempool(on_node):
    async def scenario(node):
        await node.grow(101)
        tx, first = payment(node), id_text(node.chain.blocks[0].transactions[0].txid)
        shape = await node.rpc("gettxout", first, 0)
        assert (shape["value"], shape["confirmations"], shape["coinbase"]) == (50, 101, True)
        assert shape["bestblock"] == id_text(node.chain.tip.id)
        await node.pool(tx)
        assert await node.rpc("gettxout", first, 0) is None
        assert (await node.rpc("gettxout", first, 0, False))["value"] == 50
        waiting = await node.rpc("gettxout", id_text(tx.txid), 0)
        assert (waiting["confirmations"], waiting["coinbase"]) == (0, False)
        for n in (1, 7, 2**32 - 1):
            assert await node.rpc("gettxout", UNKNOWN, n) is None
        for n in (-1, 2**32, 0.5):
            error = {"code": -1, "message": "JSON integer out of range"}
            assert await node.rpc_error("gettxout", UNKNOWN, n) == error

    on_node(scenario)
