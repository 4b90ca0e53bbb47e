"""Esplora's endpoints, field by field."""

import hashlib

import pytest

from chain.consensus.genesis import genesis_block
from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.merkle import merkle_root
from chain.primitives.numbers import Amount, Hash32, id_text
from chain.primitives.script import op_return
from chain.primitives.transaction import TxOut
from tests.api.harness import OTHER, PORT, UNKNOWN, payment
from tests.builders import KEY, pay, spend

GENESIS = id_text(genesis_block(REGTEST).id)
BLOCK_FIELDS = {
    "id": str,
    "height": int,
    "version": int,
    "timestamp": int,
    "tx_count": int,
    "size": int,
    "weight": int,
    "merkle_root": str,
    "previousblockhash": str,
    "mediantime": int,
    "nonce": int,
    "bits": int,
    "difficulty": float,
}


def address(key=KEY):
    return script_address(key.script, REGTEST.address_prefixes)


def script_hash(key=KEY):
    return hashlib.sha256(key.script).hexdigest()


def test_blocks_have_exactly_the_thirteen_fields_that_bdk_needs(on_node):
    async def scenario(node):
        await node.grow(12)
        newest = await node.json("/api/blocks")
        assert [block["height"] for block in newest] == list(range(12, 2, -1))
        for block in newest:
            assert {name: type(value) for name, value in block.items()} == BLOCK_FIELDS
        assert newest[0]["bits"] == 545259519
        assert newest[0]["difficulty"] == pytest.approx(4.656542373906925e-10, rel=1e-15)
        tip = node.chain.blocks[-1]
        assert newest[0]["id"] == id_text(tip.id)
        assert newest[0]["merkle_root"] == id_text(tip.header.merkle_root)
        assert newest[0]["previousblockhash"] == newest[1]["id"]
        assert newest[0]["mediantime"] == node.chain.tip.median_time_past
        assert (newest[0]["size"], newest[0]["weight"]) == (len(tip.raw), tip.weight)

    on_node(scenario)


def test_genesis_is_a_block_with_null_parent_and_no_confirmed_coinbase(on_node):
    async def scenario(node):
        assert await node.text("/api/block-height/0") == GENESIS
        [block] = await node.json("/api/blocks/0")
        assert block["previousblockhash"] is None
        assert (block["id"], block["tx_count"], block["nonce"]) == (GENESIS, 1, 2)
        [tx] = await node.json(f"/api/block/{GENESIS}/txs")
        assert (tx["fee"], tx["vin"][0]["prevout"]) == (0, None)

    on_node(scenario)


def test_blocks_from_a_height_go_down_to_genesis(on_node):
    async def scenario(node):
        await node.grow(4)
        for start, heights in [("3", [3, 2, 1, 0]), ("0", [0]), ("x", [4, 3, 2, 1, 0])]:
            found = await node.json(f"/api/blocks/{start}")
            assert [block["height"] for block in found] == heights, start

    on_node(scenario)


def test_texts_are_bare(on_node):
    async def scenario(node):
        await node.grow(2)
        tip = node.chain.blocks[-1]
        texts = {
            "/api/blocks/tip/height": "2",
            "/api/blocks/tip/hash": id_text(tip.id),
            "/api/block-height/2": id_text(tip.id),
            f"/api/block/{id_text(tip.id)}/header": tip.header.encode().hex(),
            f"/api/block/{id_text(tip.id)}/txid/0": id_text(tip.transactions[0].txid),
            f"/api/tx/{id_text(tip.transactions[0].txid)}/hex": tip.transactions[0].raw.hex(),
        }
        for path, expected in texts.items():
            reply = await node.get(path)
            assert (reply.status_code, reply.text) == (200, expected), path
            assert reply.headers["content-type"] == "text/plain; charset=utf-8", path

    on_node(scenario)


def test_bytes_are_the_wire_bytes(on_node):
    async def scenario(node):
        block = await node.mine()
        for path, expected in {
            f"/api/block/{id_text(block.id)}/raw": block.raw,
            f"/api/tx/{id_text(block.transactions[0].txid)}/raw": block.transactions[0].raw,
        }.items():
            reply = await node.get(path)
            assert reply.content == expected
            assert reply.headers["content-type"] == "application/octet-stream"

    on_node(scenario)


def test_coinbase_shape_rebuilds_the_transaction(on_node):
    async def scenario(node):
        block = await node.mine()
        first = block.transactions[0]
        tx = await node.json(f"/api/tx/{id_text(first.txid)}")
        assert set(tx) == {
            "txid", "version", "locktime", "vin", "vout", "size", "weight", "fee", "status",
        }  # fmt: skip
        assert tx["vin"] == [
            {
                "txid": "0" * 64,
                "vout": 4294967295,
                "prevout": None,
                "scriptsig": first.inputs[0].script_sig.hex(),
                "scriptsig_asm": "OP_PUSHNUM_1 OP_PUSHBYTES_5 67726f6174",
                "witness": ["00" * 32],
                "is_coinbase": True,
                "sequence": 4294967295,
            }
        ]
        assert tx["vout"][0] == {
            "scriptpubkey": KEY.script.hex(),
            "scriptpubkey_asm": f"OP_0 OP_PUSHBYTES_20 {KEY.key_hash.hex()}",
            "scriptpubkey_type": "v0_p2wpkh",
            "scriptpubkey_address": address(),
            "value": 5_000_000_000,
        }
        assert tx["vout"][1]["scriptpubkey_type"] == "op_return"
        assert "scriptpubkey_address" not in tx["vout"][1]
        assert tx["fee"] == 0
        assert tx["status"] == {
            "confirmed": True,
            "block_height": 1,
            "block_hash": id_text(block.id),
            "block_time": block.header.time,
        }

    on_node(scenario)


def test_transaction_waits_and_then_is_confirmed(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node, fee=777)
        await node.pool(tx)
        path = f"/api/tx/{id_text(tx.txid)}"
        waiting = await node.json(path)
        assert waiting["status"] == {"confirmed": False}
        assert (waiting["fee"], waiting["size"], waiting["weight"]) == (
            777, len(tx.raw), tx.weight,
        )  # fmt: skip
        assert waiting["vin"][0]["prevout"]["value"] == 5_000_000_000
        assert waiting["vin"][0]["witness"] == [item.hex() for item in tx.inputs[0].witness]
        assert await node.json(f"{path}/status") == {"confirmed": False}
        block = await node.mine([tx], fees=777)
        confirmed = await node.json(path)
        assert confirmed["status"]["block_hash"] == id_text(block.id)
        assert await node.json(f"{path}/status") == confirmed["status"]
        waiting["status"] = confirmed["status"]
        assert confirmed == waiting

    on_node(scenario)


def test_version_is_signed_and_lock_time_unsigned(on_node):
    async def scenario(node):
        await node.grow(100)
        point, coin = node.chain.coinbase_coin(1)
        tx = spend([(point, coin)], [pay(1000)], version=0xFFFFFFFF, lock_time=5)
        await node.mine([tx])
        shape = await node.json(f"/api/tx/{id_text(tx.txid)}")
        assert (shape["version"], shape["locktime"]) == (-1, 5)

    on_node(scenario)


def test_outspends_tell_of_mempool_and_chain(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        coin_tx = id_text(node.chain.blocks[0].transactions[0].txid)
        path = f"/api/tx/{coin_tx}/outspend/0"
        assert await node.json(path) == {"spent": False}
        await node.pool(tx)
        spent = {"spent": True, "txid": id_text(tx.txid), "vin": 0}
        assert await node.json(path) == {**spent, "status": {"confirmed": False}}
        block = await node.mine([tx], fees=1000)
        status = {
            "confirmed": True,
            "block_height": 102,
            "block_hash": id_text(block.id),
            "block_time": block.header.time,
        }
        assert await node.json(path) == {**spent, "status": status}
        both = await node.json(f"/api/tx/{coin_tx}/outspends")
        assert both == [{**spent, "status": status}, {"spent": False}]
        assert await node.json(f"/api/tx/{UNKNOWN}/outspend/7") == {"spent": False}

    on_node(scenario)


def test_merkle_proof_leads_to_the_root(on_node):
    async def scenario(node):
        await node.grow(105)
        txs = [payment(node, height) for height in range(1, 6)]
        block = await node.mine(txs, fees=5000)
        ids = [tx.txid for tx in block.transactions]
        for position, txid in enumerate(ids):
            proof = await node.json(f"/api/tx/{id_text(txid)}/merkle-proof")
            assert (proof["block_height"], proof["pos"]) == (106, position)
            root = txid
            for level, sibling in enumerate(proof["merkle"]):
                other = Hash32(bytes.fromhex(sibling)[::-1])
                pair = [other, root] if position >> level & 1 else [root, other]
                root = merkle_root(pair)[0]
            assert root == block.header.merkle_root

    on_node(scenario)


def test_block_transactions_come_in_pages_of_25(on_node):
    async def scenario(node):
        await node.grow(130)
        txs = [payment(node, height) for height in range(1, 31)]
        block = await node.mine(txs, fees=30_000)
        path = f"/api/block/{id_text(block.id)}"
        ids = await node.json(f"{path}/txids")
        assert ids == [id_text(tx.txid) for tx in block.transactions]
        first, second = await node.json(f"{path}/txs"), await node.json(f"{path}/txs/25")
        assert [tx["txid"] for tx in first + second] == ids
        assert (len(first), len(second)) == (25, 6)
        assert second[0]["fee"] == 1000
        for start, status, sentence in [
            ("50", 404, "start index out of range"),
            ("31", 404, "start index out of range"),
            ("24", 400, "start index must be a multipication of 25"),
            ("x", 400, "Invalid number"),
        ]:
            reply = await node.get(f"{path}/txs/{start}")
            assert (reply.status_code, reply.text) == (status, sentence)

    on_node(scenario)


def test_block_status_and_a_block_that_lost(on_node):
    async def scenario(node):
        await node.grow(3)
        other = node.chain.fork(2)
        lost = other.add(extra=b"other")
        await node.connect(lost)
        best = [id_text(block.id) for block in node.chain.blocks]
        assert await node.json(f"/api/block/{best[1]}/status") == {
            "in_best_chain": True,
            "height": 2,
            "next_best": best[2],
        }
        assert (await node.json(f"/api/block/{best[2]}/status"))["next_best"] is None
        for unknown in (id_text(lost.id), UNKNOWN):
            status = await node.json(f"/api/block/{unknown}/status")
            assert status == {"in_best_chain": False, "next_best": None}
        assert (await node.json(f"/api/block/{id_text(lost.id)}"))["height"] == 2
        [tx] = await node.json(f"/api/block/{id_text(lost.id)}/txs")
        assert tx["status"] == {"confirmed": False}
        reply = await node.get(f"/api/block/{id_text(lost.id)}/raw")
        assert reply.content == lost.raw

    on_node(scenario)


ERRORS = [
    (f"/api/block/{UNKNOWN}", 404, "Block not found"),
    (f"/api/block/{UNKNOWN}/header", 404, "Block not found"),
    (f"/api/block/{UNKNOWN}/raw", 404, "Block not found"),
    (f"/api/block/{UNKNOWN}/txids", 404, "Block not found"),
    (f"/api/block/{UNKNOWN}/txs", 404, "Block not found"),
    (f"/api/block/{GENESIS}/txid/1", 404, "tx index out of range"),
    ("/api/block/zz", 400, "Invalid hash string"),
    ("/api/block-height/1", 404, "Block not found"),
    ("/api/block-height/9999999999", 404, "Block not found"),
    ("/api/block-height/-1", 400, "Invalid number"),
    ("/api/block-height/" + "9" * 5000, 400, "Invalid number"),
    ("/api/blocks/1", 404, "Block not found"),
    (f"/api/tx/{UNKNOWN}", 404, "Transaction not found"),
    (f"/api/tx/{UNKNOWN}/hex", 404, "Transaction not found"),
    (f"/api/tx/{UNKNOWN}/raw", 404, "Transaction not found"),
    (f"/api/tx/{UNKNOWN}/outspends", 404, "Transaction not found"),
    (f"/api/tx/{UNKNOWN}/merkle-proof", 404, "Transaction not found or is unconfirmed"),
    (f"/api/tx/{UNKNOWN}/outspend/4294967296", 400, "Invalid number"),
    ("/api/tx/" + "é" * 64, 400, "Invalid hash string"),
    ("/api/address/nonsense", 400, "Invalid Bitcoin address"),
    ("/api/address/1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", 400, "Address on invalid network"),
    (
        "/api/address/bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        400,
        "Address on invalid network",
    ),
    ("/api/scripthash/abc/txs", 400, "Invalid scripthash"),
    ("/api/nothing/here", 404, 'endpoint does not exist "/nothing/here"'),
]


def test_errors_are_sentences(on_node):
    async def scenario(node):
        for path, status, sentence in ERRORS:
            reply = await node.get(path)
            assert (reply.status_code, reply.text) == (status, sentence), path
            assert reply.headers["content-type"] == "text/plain; charset=utf-8", path

    on_node(scenario)


def test_unknown_transaction_is_unconfirmed_not_missing(on_node):
    async def scenario(node):
        assert await node.json(f"/api/tx/{UNKNOWN}/status") == {"confirmed": False}

    on_node(scenario)


def test_address_and_scripthash_tell_the_same(on_node):
    async def scenario(node):
        await node.grow(101)
        confirmed, waiting = payment(node, 1), payment(node, 2, fee=500)
        await node.mine([confirmed], fees=1000)
        await node.pool(waiting)
        chain = {
            "tx_count": 1,
            "funded_txo_count": 1,
            "funded_txo_sum": 4_999_999_000,
            "spent_txo_count": 0,
            "spent_txo_sum": 0,
        }
        pool = {**chain, "funded_txo_sum": 4_999_999_500}
        by_address = await node.json(f"/api/address/{address(OTHER)}")
        assert by_address == {
            "address": address(OTHER),
            "chain_stats": chain,
            "mempool_stats": pool,
        }
        by_hash = await node.json(f"/api/scripthash/{script_hash(OTHER)}")
        assert by_hash == {
            "scripthash": script_hash(OTHER),
            "chain_stats": chain,
            "mempool_stats": pool,
        }
        miner = await node.json(f"/api/address/{address()}")
        assert miner["chain_stats"] == {
            "tx_count": 103,
            "funded_txo_count": 102,
            "funded_txo_sum": 102 * 5_000_000_000 + 1000,
            "spent_txo_count": 1,
            "spent_txo_sum": 5_000_000_000,
        }
        assert miner["mempool_stats"]["spent_txo_count"] == 1
        for tail in ("/txs", "/txs/chain", "/txs/mempool", "/utxo"):
            one = await node.json(f"/api/address/{address(OTHER)}{tail}")
            assert one == await node.json(f"/api/scripthash/{script_hash(OTHER)}{tail}")
        ids = [tx["txid"] for tx in await node.json(f"/api/address/{address(OTHER)}/txs")]
        assert ids == [id_text(waiting.txid), id_text(confirmed.txid)]
        unspent = await node.json(f"/api/address/{address(OTHER)}/utxo")
        assert [(u["txid"], u["vout"], u["value"]) for u in unspent] == [
            (id_text(confirmed.txid), 0, 4_999_999_000),
            (id_text(waiting.txid), 0, 4_999_999_500),
        ]
        assert [u["status"]["confirmed"] for u in unspent] == [True, False]
        mined = await node.json(f"/api/address/{address()}/utxo")
        assert len(mined) == 100, "two of 102 coinbases are spent, one of them in the mempool"

    on_node(scenario)


def test_address_that_nobody_used_has_zeros(on_node):
    async def scenario(node):
        zeros = dict.fromkeys(
            ["tx_count", "funded_txo_count", "funded_txo_sum", "spent_txo_count", "spent_txo_sum"],
            0,
        )
        shape = await node.json(f"/api/address/{address(OTHER)}")
        assert shape == {
            "address": address(OTHER),
            "chain_stats": zeros,
            "mempool_stats": zeros,
        }
        assert await node.json(f"/api/address/{address(OTHER)}/txs") == []

    on_node(scenario)


def test_history_pages_join_without_gap_or_overlap(on_node):
    async def scenario(node):
        await node.grow(61)
        path = f"/api/scripthash/{script_hash()}/txs"
        seen = await node.json(path)
        assert len(seen) == 25
        while page := await node.json(f"{path}/chain/{seen[-1]['txid']}"):
            seen += page
        assert [tx["status"]["block_height"] for tx in seen] == list(range(61, 0, -1))

    on_node(scenario)


def test_history_behind_what_is_not_confirmed_is_empty(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        await node.pool(tx)
        for last_seen in (id_text(tx.txid), UNKNOWN):
            path = f"/api/scripthash/{script_hash()}/txs/chain/{last_seen}"
            assert await node.json(path) == []

    on_node(scenario)


def test_mempool_shapes(on_node):
    async def scenario(node):
        assert await node.json("/api/mempool") == {
            "count": 0, "vsize": 0, "total_fee": 0, "fee_histogram": [],
        }  # fmt: skip
        await node.grow(103)
        txs = [payment(node, height, fee=height * 1000) for height in (1, 2, 3)]
        for tx in txs:
            await node.pool(tx)
        vsize = sum(tx.vsize for tx in txs)
        shape = await node.json("/api/mempool")
        assert (shape["count"], shape["vsize"], shape["total_fee"]) == (3, vsize, 6000)
        assert sum(size for _, size in shape["fee_histogram"]) == vsize
        ids = [id_text(tx.txid) for tx in txs]
        assert sorted(await node.json("/api/mempool/txids")) == sorted(ids)
        recent = await node.json("/api/mempool/recent")
        assert recent[0] == {
            "txid": ids[2],
            "fee": 3000,
            "vsize": txs[2].vsize,
            "value": 5_000_000_000 - 3000,
        }

    on_node(scenario)


def test_fee_estimates_always_have_all_28_targets(on_node):
    async def scenario(node):
        rates = await node.json("/api/fee-estimates")
        assert list(rates) == [str(n) for n in (*range(1, 26), 144, 504, 1008)]
        assert all(isinstance(rate, float) and rate >= 1.0 for rate in rates.values())

    on_node(scenario)


def test_sending_gives_the_id_and_passes_on(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        for _ in range(2):  # what waits already is sent again
            reply = await node.client.post("/api/tx", content=tx.raw.hex().encode())
            assert (reply.status_code, reply.text) == (200, id_text(tx.txid))
        assert node.sent_txs == [tx, tx]

    on_node(scenario)


def test_sending_nonsense_is_a_400(on_node):
    async def scenario(node):
        for body, sentence in [
            (b"", 'sendrawtransaction RPC error: {"code":-22,'),
            (b"00", 'sendrawtransaction RPC error: {"code":-22,'),
            (b"xyz", "Invalid hex string"),
            (b"\xff\xfe", "Invalid hex string"),
            ("🙂".encode(), "Invalid hex string"),
        ]:
            reply = await node.client.post("/api/tx", content=body)
            assert reply.status_code == 400, body
            assert reply.text.startswith(sentence), body

    on_node(scenario)


def test_sending_what_is_refused_says_why(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        cheap = payment(node, 2, fee=0)
        missing = spend([(tx.inputs[0].outpoint, node.chain.coinbase_coin(1)[1])], [pay(1)])
        dear = payment(node, 2, fee=1_200_000)
        await node.mine([tx], fees=1000)
        for sent, code, word in [
            (tx, -27, "Transaction outputs already in utxo set"),
            (cheap, -26, "min relay fee not met, 0 < 110"),
            (missing, -26, "dust"),
            (payment(node, 1, fee=500), -25, "bad-txns-inputs-missingorspent"),
            (dear, -25, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)"),
        ]:
            reply = await node.client.post("/api/tx", content=sent.raw.hex())
            assert reply.status_code == 400
            assert reply.text.startswith(
                f'sendrawtransaction RPC error: {{"code":{code},"message":"{word}'
            )
        assert node.sent_txs == []

    on_node(scenario)


def test_replaced_transaction_is_gone_at_once(on_node):
    async def scenario(node):
        await node.grow(101)
        first, second = payment(node, fee=1000), payment(node, fee=3000)
        await node.pool(first)
        await node.pool(second)
        path = f"/api/scripthash/{script_hash(OTHER)}/txs"
        assert [tx["txid"] for tx in await node.json(path)] == [id_text(second.txid)]
        assert (await node.get(f"/api/tx/{id_text(first.txid)}")).status_code == 404

    on_node(scenario)


def test_reorganised_transaction_returns_to_the_mempool(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        fork = node.chain.fork(0)
        await node.mine([tx], fees=1000)
        await node.connect(*fork.grow(2, extra=b"fork"))
        shape = await node.json(f"/api/tx/{id_text(tx.txid)}")
        assert shape["status"] == {"confirmed": False}
        assert await node.json("/api/mempool/txids") == [id_text(tx.txid)]
        assert await node.text("/api/blocks/tip/hash") == id_text(fork.tip.id)

    on_node(scenario)


def test_deep_things_are_cached_and_young_ones_are_not(on_node):
    async def scenario(node):
        await node.grow(11)
        for height, expected in [(1, "public, max-age=157784630"), (2, "public, max-age=10")]:
            block = node.chain.blocks[height - 1]
            for path in (
                f"/api/block-height/{height}",
                f"/api/block/{id_text(block.id)}",
                f"/api/tx/{id_text(block.transactions[0].txid)}",
            ):
                reply = await node.get(path)
                assert reply.headers["cache-control"] == expected, path
        reply = await node.get("/api/mempool/recent")
        assert reply.headers["cache-control"] == "public, max-age=5"

    on_node(scenario)


def test_double_slashes_are_one(on_node):
    async def scenario(node):
        for path in ("/api//blocks/tip/height", "//api/blocks//tip/height"):
            reply = await node.get(f"http://127.0.0.1:{PORT}{path}")
            assert (reply.status_code, reply.text) == (200, "0"), path

    on_node(scenario)


def test_op_return_is_shown_and_never_spent(on_node):
    async def scenario(node):
        await node.grow(101)
        note = TxOut(Amount(0), op_return(b"hello"))
        tx = payment(node, extra=[note])
        await node.mine([tx], fees=1000)
        out = (await node.json(f"/api/tx/{id_text(tx.txid)}"))["vout"][1]
        assert out == {
            "scriptpubkey": "6a0568656c6c6f",
            "scriptpubkey_asm": "OP_RETURN OP_PUSHBYTES_5 68656c6c6f",
            "scriptpubkey_type": "op_return",
            "value": 0,
        }

    on_node(scenario)
