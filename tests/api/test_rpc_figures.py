"""JSON-RPC: statistics of blocks and coins, mempool relatives, proofs, headers, peers."""

from chain.consensus.coin import Coin
from chain.primitives.numbers import id_text, outpoint
from chain.primitives.script import op_return
from chain.primitives.transaction import TxOut
from tests.api.harness import OTHER, UNKNOWN, payment
from tests.builders import pay, spend


def child_of(tx, fee=500):
    point = outpoint(tx.txid, 0)
    value = tx.outputs[0].value
    coin = Coin(value, OTHER.script, height=0, from_coinbase=False)
    return spend([(point, coin)], [pay(value - fee, OTHER)], key=OTHER)


def test_figures_of_a_block(on_node):
    async def scenario(node):
        await node.grow(102)
        one = payment(node, 1, fee=1000)
        two = payment(node, 2, fee=5000, extra=[TxOut(0, op_return(b"data"))])
        block = await node.mine([one, two], fees=6000)
        stats = await node.rpc("getblockstats", 103)
        assert stats == await node.rpc("getblockstats", id_text(block.id))
        sizes = sorted(len(tx.raw) for tx in (one, two))
        rates = sorted(fee * 4 // tx.weight for fee, tx in ((1000, one), (5000, two)))
        assert list(stats) == sorted(stats)
        assert (stats["height"], stats["txs"], stats["ins"], stats["outs"]) == (
            103, 3, 2, 3 + len(block.transactions[0].outputs),
        )  # fmt: skip
        assert (stats["minfee"], stats["medianfee"], stats["maxfee"]) == (1000, 3000, 5000)
        assert (stats["totalfee"], stats["avgfee"]) == (6000, 3000)
        assert (stats["mintxsize"], stats["maxtxsize"]) == tuple(sizes)
        assert (stats["minfeerate"], stats["maxfeerate"]) == tuple(rates)
        assert (
            stats["feerate_percentiles"]
            == [rates[0]] * 2
            + [rates[0] if one.weight * 2 >= one.weight + two.weight else rates[1]]
            + [rates[1]] * 2
        )
        assert stats["total_size"] == sum(sizes)
        assert stats["total_weight"] == one.weight + two.weight
        assert (stats["swtxs"], stats["swtotal_weight"]) == (2, stats["total_weight"])
        assert stats["total_out"] == one.output_value + two.output_value
        assert stats["subsidy"] == block.transactions[0].output_value - 6000
        assert stats["utxo_increase"] == stats["outs"] - 2
        assert stats["utxo_increase_actual"] == stats["utxo_increase"] - sum(
            out.script[:1] == b"\x6a" for tx in block.transactions for out in tx.outputs
        )
        assert await node.rpc("getblockstats", 103, ["txs", "maxfee"]) == {"txs": 3, "maxfee": 5000}

    on_node(scenario)


def test_figures_of_a_block_without_payments_and_of_none(on_node):
    async def scenario(node):
        await node.grow(1)
        for height in (0, 1):
            stats = await node.rpc("getblockstats", height)
            assert (stats["txs"], stats["totalfee"], stats["medianfee"]) == (1, 0, 0)
            assert stats["feerate_percentiles"] == [0] * 5
        assert (await node.rpc("getblockstats", 0))["utxo_increase_actual"] == 0
        for asked, code in ((2, -8), (-1, -8), (UNKNOWN, -5), ("ab", -8)):
            assert (await node.rpc_error("getblockstats", asked))["code"] == code
        error = await node.rpc_error("getblockstats", 1, ["txs", "nonsense"])
        assert error == {"code": -8, "message": "Invalid selected statistic 'nonsense'"}

    on_node(scenario)


def test_sums_of_all_coins_and_transactions(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node, extra=[TxOut(0, op_return(b"data"))])
        await node.mine([tx], fees=1000)
        info = await node.rpc("gettxoutsetinfo")
        assert (info["height"], info["txouts"]) == (102, 102)
        assert info["bestblock"] == id_text(node.chain.tip.id)
        assert info["total_amount"] == sum([await subsidy(node, 1)] * 102)
        error = await node.rpc_error("gettxoutsetinfo", "muhash")
        assert error["code"] == -8
        stats = await node.rpc("getchaintxstats", 2)
        assert (stats["txcount"], stats["window_tx_count"]) == (104, 3)
        assert stats["window_final_block_height"] == 102
        assert stats["txrate"] == 3 / stats["window_interval"]
        early = await node.rpc("getchaintxstats", 1, await node.rpc("getblockhash", 2))
        assert (early["txcount"], early["window_tx_count"]) == (3, 1)
        assert (await node.rpc("getchaintxstats", 101))["window_tx_count"] == 102
        for count in (-1, 102):
            assert (await node.rpc_error("getchaintxstats", count))["code"] == -8

    on_node(scenario)


async def subsidy(node, height):
    return (await node.rpc("getblockstats", height, ["subsidy"]))["subsidy"] / 10**8


def test_relatives_in_the_mempool(on_node):
    async def scenario(node):
        await node.grow(101)
        parent = payment(node)
        child = child_of(parent)
        for tx in (parent, child):
            await node.pool(tx)
        ids = id_text(parent.txid), id_text(child.txid)
        assert await node.rpc("getmempoolancestors", ids[1]) == [ids[0]]
        assert await node.rpc("getmempoolancestors", ids[0]) == []
        assert await node.rpc("getmempooldescendants", ids[0]) == [ids[1]]
        verbose = await node.rpc("getmempooldescendants", ids[0], True)
        assert verbose == {ids[1]: await node.rpc("getmempoolentry", ids[1])}
        missing = {"code": -5, "message": "Transaction not in mempool"}
        assert await node.rpc_error("getmempoolancestors", UNKNOWN) == missing
        asked = [{"txid": ids[0], "vout": 0}, {"txid": ids[1], "vout": 0}]
        assert await node.rpc("gettxspendingprevout", asked) == [
            {**asked[0], "spendingtxid": ids[1]},
            asked[1],
        ]
        for wrong, code in (([], -8), ([1], -3), ([{"txid": ids[0], "vout": -1}], -8)):
            assert (await node.rpc_error("gettxspendingprevout", wrong))["code"] == code

    on_node(scenario)


def test_a_proof_that_transactions_are_in_a_block(on_node):
    async def scenario(node):
        await node.grow(102)
        txs = [payment(node, height) for height in (1, 2)]
        block = await node.mine(txs, fees=2000)
        ids = [id_text(tx.txid) for tx in txs]
        proof = await node.rpc("gettxoutproof", ids)
        assert sorted(await node.rpc("verifytxoutproof", proof)) == sorted(ids)
        assert await node.rpc("gettxoutproof", ids, id_text(block.id)) == proof
        reply = await node.get(f"/api/tx/{ids[1]}/merkleblock-proof")
        assert reply.text == await node.rpc("gettxoutproof", ids[1:])
        forged = proof[:-6] + ("00" if proof[-6:-4] != "00" else "01") + proof[-4:]
        assert await node.rpc("verifytxoutproof", forged) == []
        await node.rpc("invalidateblock", id_text(block.id))
        assert (await node.rpc_error("verifytxoutproof", proof))["code"] == -5

    on_node(scenario)


def test_proofs_that_cannot_be(on_node):
    async def scenario(node):
        await node.grow(2)
        first = id_text(node.chain.blocks[0].transactions[0].txid)
        second = id_text(node.chain.blocks[1].transactions[0].txid)
        for arguments, code in (
            ([[]], -8),
            ([[UNKNOWN]], -5),
            ([[first, first]], -8),
            ([[first, second]], -5),
            ([[first], UNKNOWN], -5),
            ([[1]], -3),
        ):
            assert (await node.rpc_error("gettxoutproof", *arguments))["code"] == code
        for proof in ("", "00" * 90, "zz"):
            assert (await node.rpc_error("verifytxoutproof", proof))["code"] == -22
        assert (await node.get(f"/api/tx/{UNKNOWN}/merkleblock-proof")).status_code == 404

    on_node(scenario)


def test_a_header_without_its_body(on_node):
    async def scenario(node):
        await node.grow(1)
        block, later = node.chain.grow(2)
        text = later.header.encode().hex()
        error = await node.rpc_error("submitheader", text)
        assert error["code"] == -25
        assert id_text(block.id) in error["message"]
        for header in (block.header.encode().hex(), text, text):
            assert await node.rpc("submitheader", header) is None
        info = await node.rpc("getblockchaininfo")
        assert (info["blocks"], info["headers"]) == (1, 3)
        assert (await node.rpc_error("submitheader", "00" * 79))["code"] == -22

    on_node(scenario)
