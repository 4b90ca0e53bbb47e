"""JSON-RPC's blocks: generated, handed in, and made of templates."""

import asyncio

from chain.consensus.params import DEVNET, REGTEST, TEST
from chain.primitives.address import script_address
from chain.primitives.block import Block, decode_block
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Amount, id_text, outpoint
from chain.primitives.transaction import Transaction, TxIn, TxOut, decode_transaction
from tests.api.harness import NOW, PEER, UNKNOWN, RecordingHost, payment, wait_for_listeners
from tests.builders import KEY, assemble, coinbase, commit, pay
from tests.patience import PATIENCE_S

ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)
OP_TRUE = b"\x51"
P2WSH_TRUE = b"\x00\x20" + sha256(OP_TRUE)


def test_blocks_are_generated_to_an_address_on_regtest(on_node):
    async def scenario(node):
        ids = await node.rpc("generatetoaddress", 3, ADDRESS)
        assert len(ids) == 3
        assert await node.rpc("getbestblockhash") == ids[-1]
        block = await node.rpc("getblock", ids[0], 2)
        assert block["tx"][0]["vout"][0]["scriptPubKey"]["address"] == ADDRESS
        assert len(node.sent_blocks) == 3
        assert await node.rpc("generatetoaddress", 0, ADDRESS) == []

    on_node(scenario)


def test_maxtries_is_a_limit_on_all_blocks_of_a_call_together(on_node):
    """Bitcoin: GenerateBlock counts one budget down; its counter wraps if it is negative."""

    async def scenario(node):
        for method, target in (
            ("generatetoaddress", ADDRESS),
            ("generatetodescriptor", f"raw({KEY.script.hex()})"),
        ):
            ids = await node.rpc(method, 500, target, 8)
            assert len(ids) < 500
            nonces = [(await node.rpc("getblock", one))["nonce"] for one in ids]
            assert sum(nonces) < 8
            assert await node.rpc(method, 3, target, 0) == []
            assert len(await node.rpc(method, 3, target, -1)) == 3
            assert await node.rpc(method, -1, target) == []
            assert (await node.rpc_error(method, 10_001, target))["code"] == -8

    on_node(scenario)


def test_blocks_are_not_generated_elsewhere(on_node):
    async def scenario(node):
        address = script_address(KEY.script, DEVNET.address_prefixes)
        assert (await node.rpc_error("generatetoaddress", 1, address))["code"] == -1

    on_node(scenario, params=DEVNET)


def test_submitted_block_gets_core_s_verdicts(on_node):
    async def scenario(node):
        await node.grow(2)
        good = node.chain.add()
        assert await node.rpc("submitblock", good.raw.hex()) is None
        assert [b.raw for b in node.sent_blocks] == [good.raw]
        assert await node.rpc("submitblock", good.raw.hex()) == "duplicate"
        stale = node.chain.fork(1).add(extra=b"stale")
        assert await node.rpc("submitblock", stale.raw.hex()) == "inconclusive"
        greedy = commit([coinbase(4, 51 * 10**8)])
        bad = assemble(node.chain.tip, greedy)
        assert await node.rpc("submitblock", bad.raw.hex()) == "bad-cb-amount"
        assert await node.rpc("submitblock", bad.raw.hex()) == "duplicate-invalid"
        orphan = node.chain.fork(0)
        orphan.grow(2)
        assert await node.rpc("submitblock", orphan.blocks[-1].raw.hex()) == "prev-blk-not-found"
        future = assemble(node.chain.tip, commit([coinbase(4, 50 * 10**8)]), time=NOW + 7201)
        assert await node.rpc("submitblock", future.raw.hex()) == "time-too-new"
        assert [b.id for b in node.sent_blocks] == [good.id], "only what the chain took goes out"

    on_node(scenario)


def test_miner_s_coinbase_without_witness_is_repaired_here_only(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        whole = node.chain.fork(0).add([tx], fees=1000)
        first = whole.transactions[0]
        bare = Transaction(
            first.version, [TxIn(i.outpoint, i.script_sig, i.sequence) for i in first.inputs],
            first.outputs, first.lock_time,
        )  # fmt: skip
        stripped = Block(whole.header, [bare, *whole.transactions[1:]])
        assert not decode_block(stripped.raw).transactions[0].has_witness
        assert await node.rpc("submitblock", stripped.raw.hex()) is None
        assert [b.raw for b in node.sent_blocks] == [whole.raw]
        assert await node.text("/api/blocks/tip/hash") == id_text(whole.id)

    on_node(scenario)


def test_template_makes_a_block_that_is_accepted(on_node):
    async def scenario(node):
        await node.grow(102)
        for height in (1, 2):
            await node.pool(payment(node, height))
        shape = await node.rpc("getblocktemplate", {"rules": ["segwit"]})
        assert shape["rules"] == ["csv", "!segwit"]
        assert shape["previousblockhash"] == id_text(node.chain.tip.id)
        assert (shape["height"], shape["coinbasevalue"]) == (103, 50 * 10**8 + 2000)
        assert (shape["curtime"], shape["mintime"]) == (NOW, node.chain.tip.median_time_past + 1)
        assert (shape["bits"], shape["target"]) == ("207fffff", "7fffff" + "0" * 58)
        assert (shape["sigoplimit"], shape["sizelimit"], shape["weightlimit"]) == (
            80_000, 4_000_000, 4_000_000,
        )  # fmt: skip
        assert (shape["coinbaseaux"], shape["noncerange"]) == ({}, "00000000ffffffff")
        txs = [decode_transaction(bytes.fromhex(t["data"])) for t in shape["transactions"]]
        for tx, told in zip(txs, shape["transactions"], strict=True):
            assert (told["txid"], told["hash"]) == (id_text(tx.txid), id_text(tx.wtxid))
            assert (told["fee"], told["depends"], told["weight"]) == (1000, [], tx.weight)
        block = node.chain.add(txs, fees=2000)
        commitment = block.transactions[0].outputs[-1].script.hex()
        assert shape["default_witness_commitment"] == commitment
        assert await node.rpc("submitblock", block.raw.hex()) is None

    on_node(scenario)


def test_long_poll_is_answered_by_a_block_and_takes_no_thread(on_node):
    async def scenario(node):
        asked = {"rules": ["segwit"]}
        first = await node.rpc("getblocktemplate", asked)
        polling = [
            asyncio.create_task(
                node.rpc("getblocktemplate", {**asked, "longpollid": first["longpollid"]})
            )
            for _ in range(60)  # more than there are threads for reading
        ]
        await wait_for_listeners(node, 60)
        assert await node.rpc("getblockcount") == 0
        assert not any(task.done() for task in polling)
        block = await node.mine()
        async with asyncio.timeout(PATIENCE_S):
            for shape in await asyncio.gather(*polling):
                assert shape["previousblockhash"] == id_text(block.id)
        stale = {**asked, "longpollid": first["longpollid"]}
        async with asyncio.timeout(PATIENCE_S):
            await node.rpc("getblocktemplate", stale)
        assert node.context.node_events.count == 0

    on_node(scenario)


def test_long_poll_of_a_node_that_stops_says_so_and_a_call_that_waits_for_blocks_gets_the_tip(
    on_node,
):
    async def scenario(node):
        asked = {"rules": ["segwit"]}
        asked["longpollid"] = (await node.rpc("getblocktemplate", asked))["longpollid"]
        polling = asyncio.create_task(node.rpc_error("getblocktemplate", asked))
        await wait_for_listeners(node, 1)
        node.context.end_streams()
        shutting_down = {"code": -9, "message": "Shutting down"}
        async with asyncio.timeout(PATIENCE_S):
            assert await polling == shutting_down
            assert await node.rpc_error("getblocktemplate", asked) == shutting_down
            assert (await node.rpc("waitfornewblock"))["height"] == 0
            assert (await node.get("/api/v1/events")).status_code == 200, "a stream that ends"

    on_node(scenario)


def test_long_poll_tells_of_the_mempool_after_a_while(on_node, monkeypatch):
    monkeypatch.setattr("chain.service.api.rpc.mining.template.FIRST_WAIT_S", 0.1)
    monkeypatch.setattr("chain.service.api.rpc.mining.template.NEXT_WAIT_S", 0.05)

    async def scenario(node):
        await node.grow(101)
        asked = {"rules": ["segwit"]}
        first = await node.rpc("getblocktemplate", asked)
        asked["longpollid"] = first["longpollid"]
        polling = asyncio.create_task(node.rpc("getblocktemplate", asked))
        await asyncio.sleep(0.3)
        assert not polling.done(), "nothing has changed"
        await node.pool(payment(node))
        async with asyncio.timeout(PATIENCE_S):
            assert len((await polling)["transactions"]) == 1

    on_node(scenario)


def test_template_elsewhere_needs_peers_and_a_whole_chain(on_node):
    syncing = [True]

    class Host(RecordingHost):
        def is_syncing(self):
            return syncing[0]

    async def scenario(node):
        asked = {"rules": ["segwit"]}
        assert (await node.rpc_error("getblocktemplate", asked))["code"] == -9
        node.peers.append(PEER)
        assert (await node.rpc_error("getblocktemplate", asked))["code"] == -10
        syncing[0] = False
        assert (await node.rpc("getblocktemplate", asked))["height"] == 1

    on_node(scenario, params=TEST, host=Host())


def test_mining_information(on_node):
    async def scenario(node):
        await node.grow(3)
        info = await node.rpc("getmininginfo")
        assert (info["blocks"], info["pooledtx"], info["chain"]) == (3, 0, "regtest")
        assert info["next"]["height"] == 4
        # Blocks 1 to 3 are worth 2 hashes each and stand one second apart from genesis on.
        assert info["networkhashps"] == await node.rpc("getnetworkhashps") == 2.0
        assert await node.rpc("getnetworkhashps", 1, 2) == 2.0
        assert await node.rpc("getnetworkhashps", -1, 0) == 0.0

    on_node(scenario)


def test_a_block_is_not_made_again_after_it_was_invalidated(on_node):
    async def scenario(node):
        [first] = await node.rpc("generatetoaddress", 1, ADDRESS)
        await node.rpc("invalidateblock", first)
        [second] = await node.rpc("generatetoaddress", 1, ADDRESS)
        assert await node.rpc("getbestblockhash") == second != first

    on_node(scenario)


def test_a_block_of_just_the_transactions_that_were_asked_for(on_node):
    async def scenario(node):
        await node.grow(103)
        waiting, left, given = (payment(node, height) for height in (1, 2, 3))
        await node.pool(waiting)
        await node.pool(left)
        asked = [id_text(waiting.txid), given.raw.hex()]
        made = await node.rpc("generateblock", ADDRESS, asked)
        assert made == {"hash": await node.rpc("getbestblockhash")}
        ids = (await node.rpc("getblock", made["hash"]))["tx"]
        assert ids[1:] == [id_text(waiting.txid), id_text(given.txid)]
        assert await node.rpc("getrawmempool") == [id_text(left.txid)]
        empty = await node.rpc("generateblock", ADDRESS, [], False)
        assert await node.rpc("getbestblockhash") == made["hash"], "it was only made"
        assert await node.rpc("submitblock", empty["hex"]) is None
        assert await node.rpc("getbestblockhash") == empty["hash"]
        made = await node.rpc("generateblock", "raw(51)", [])
        coinbase_out = (await node.rpc("getblock", made["hash"], 2))["tx"][0]["vout"][0]
        assert coinbase_out["scriptPubKey"]["hex"] == "51"

    on_node(scenario)


def p2wsh_spends(node, witness_script):
    """Return a transaction that pays to the P2WSH script of OP_TRUE, and one that spends it."""
    funding = payment(node, extra=[TxOut(Amount(0), P2WSH_TRUE)])
    spending = Transaction(
        2, [TxIn(outpoint(funding.txid, 1), witness=(witness_script,))], [pay(0)]
    )
    return [funding, spending]


def test_a_block_is_made_of_transactions_that_the_mempool_refuses(on_node):
    """Bitcoin: generateblock checks the block only, and its coinbase claims no fees."""

    async def scenario(node):
        await node.grow(101)
        made = await node.rpc(
            "generateblock", ADDRESS, [tx.raw.hex() for tx in p2wsh_spends(node, OP_TRUE)]
        )
        block = await node.rpc("getblock", made["hash"], 2)
        first, funding, spending = block["tx"]
        assert first["vout"][0]["value"] == 50, "fees of 1000 grains are left"
        assert funding["fee"] == 0.00001
        assert spending["vin"][0]["txinwitness"] == ["51"]
        assert await node.rpc("getbestblockhash") == made["hash"]

    on_node(scenario)


def test_a_block_is_not_made_of_a_spend_with_a_wrong_witness(on_node):
    async def scenario(node):
        await node.grow(101)
        texts = [tx.raw.hex() for tx in p2wsh_spends(node, b"\x52")]
        reason = "block-script-verify-flag-failed (Witness program hash mismatch)"
        error = {"code": -25, "message": f"TestBlockValidity failed: {reason}"}
        assert await node.rpc_error("generateblock", ADDRESS, texts) == error
        assert await node.rpc("getblockcount") == 101

    on_node(scenario)


def test_a_block_that_cannot_be_made_of_these_transactions(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        await node.pool(tx)
        twice = [id_text(tx.txid)] * 2
        for transactions, code in (
            ([UNKNOWN], -5),
            (["zz"], -22),
            (["z" * 64], -22),
            ([1], -3),
            (twice, -25),
        ):
            assert (await node.rpc_error("generateblock", ADDRESS, transactions))["code"] == code
        assert (await node.rpc_error("generateblock", "bc1q", []))["code"] == -5
        assert (await node.rpc_error("generateblock", "raw(5)", []))["code"] == -5
        assert await node.rpc("getblockcount") == 101

    on_node(scenario)
