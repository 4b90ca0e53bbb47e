"""JSON-RPC's methods, compared with what Core's clients read."""

import asyncio

from chain.consensus.params import DEVNET, TEST
from chain.primitives.address import script_address
from chain.primitives.block import Block, decode_block
from chain.primitives.numbers import OutPoint, id_text
from chain.primitives.transaction import Transaction, TxIn, decode_transaction
from chain.service.api.rpc.methods import METHODS
from tests.api.harness import NOW, OTHER, PEER, UNKNOWN, payment, wait_for_listeners
from tests.builders import KEY, assemble, coinbase, commit, pay, spend

ADDRESS = script_address(KEY.script, "bcrt")


def test_chain_information(on_node):
    async def scenario(node):
        await node.grow(3)
        shape = await node.rpc("getblockchaininfo")
        tip = node.chain.tip
        assert shape == {
            "chain": "regtest",
            "blocks": 3,
            "headers": 3,
            "bestblockhash": id_text(tip.id),
            "bits": "207fffff",
            "target": "7fffff" + "0" * 58,
            "difficulty": shape["difficulty"],
            "time": tip.header.time,
            "mediantime": tip.median_time_past,
            "verificationprogress": 1.0,
            "initialblockdownload": False,
            "chainwork": f"{tip.chain_work:064x}",
            "size_on_disk": 0,
            "pruned": False,
            "warnings": [],
        }
        assert await node.rpc("getblockcount") == 3
        assert await node.rpc("getbestblockhash") == id_text(tip.id)
        assert await node.rpc("getblockhash", 3) == id_text(tip.id)
        for height in (4, -1, 2**63):
            assert await node.rpc_error("getblockhash", height) == {
                "code": -8,
                "message": "Block height out of range",
            }

    on_node(scenario)


def test_block_at_each_verbosity(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node, fee=1234)
        block = await node.mine([tx], fees=1234)
        await node.mine()
        block_id = id_text(block.id)
        assert await node.rpc("getblock", block_id, 0) == block.raw.hex()
        assert await node.rpc("getblock", block_id, False) == block.raw.hex()
        one = await node.rpc("getblock", block_id)
        assert one["tx"] == [id_text(t.txid) for t in block.transactions]
        assert (one["confirmations"], one["height"], one["nTx"]) == (2, 102, 2)
        assert (one["size"], one["strippedsize"], one["weight"]) == (
            len(block.raw), block.base_size, block.weight,
        )  # fmt: skip
        assert one["nextblockhash"] == id_text(node.chain.tip.id)
        assert one["previousblockhash"] == id_text(block.header.previous)
        assert (one["versionHex"], one["bits"]) == ("00000004", "207fffff")
        header = {k: v for k, v in one.items() if k not in {"tx", "size", "strippedsize", "weight"}}
        assert await node.rpc("getblockheader", block_id) == header
        assert await node.rpc("getblockheader", block_id, False) == block.header.encode().hex()
        two = await node.rpc("getblock", block_id, 2)
        first, second = two["tx"]
        assert first["vin"][0]["coinbase"] == block.transactions[0].inputs[0].script_sig.hex()
        assert "fee" not in first
        assert (second["hex"], second["fee"]) == (tx.raw.hex(), 0.00001234)
        tip = await node.rpc("getblock", id_text(node.chain.tip.id))
        assert "nextblockhash" not in tip
        genesis = await node.rpc("getblock", await node.rpc("getblockhash", 0), 2)
        assert "previousblockhash" not in genesis
        assert genesis["confirmations"] == 104

    on_node(scenario)


def test_block_that_lost_has_minus_one_confirmations(on_node):
    async def scenario(node):
        await node.grow(2)
        lost = node.chain.fork(1).add(extra=b"lost")
        await node.connect(lost)
        assert (await node.rpc("getblock", id_text(lost.id)))["confirmations"] == -1
        txid = id_text(lost.transactions[0].txid)
        assert (await node.rpc_error("getrawtransaction", txid))["code"] == -5
        shape = await node.rpc("getrawtransaction", txid, 1, id_text(lost.id))
        assert (shape["in_active_chain"], shape["confirmations"]) == (False, 0)

    on_node(scenario)


def test_unknown_things_have_core_s_errors(on_node):
    async def scenario(node):
        for method, params, code, message in [
            ("getblock", [UNKNOWN], -5, "Block not found"),
            ("getblockheader", [UNKNOWN], -5, "Block not found"),
            ("getblock", ["ab"], -8, "blockhash must be of length 64 (not 2, for 'ab')"),
            (
                "getblock",
                ["z" * 64],
                -8,
                f"blockhash must be hexadecimal string (not '{'z' * 64}')",
            ),
            ("getmempoolentry", [UNKNOWN], -5, "Transaction not in mempool"),
            ("decoderawtransaction", ["zz"], -22, "TX decode failed."),
            ("sendrawtransaction", ["00"], -22, "TX decode failed."),
            ("submitblock", [""], -22, "Block decode failed"),
            ("submitblock", ["00" * 80], -22, "Block decode failed"),
            ("submitblock", ["00" * 81], -22, "Block does not start with a coinbase"),
            ("generatetoaddress", [1, "bc1q"], -5, "Error: Invalid address"),
            ("estimatesmartfee", [0], -8, "Invalid conf_target, must be between 1 and 1008"),
            ("estimatesmartfee", [1009], -8, "Invalid conf_target, must be between 1 and 1008"),
            (
                "getblocktemplate",
                [{"rules": []}],
                -8,
                "getblocktemplate must be called with the se",
            ),
            ("getblocktemplate", [{"mode": "other"}], -8, "Invalid mode"),
            ("sendrawtransaction", ["00", -1], -22, "TX decode failed"),
            ("getnetworkhashps", [0], -8, "Invalid nblocks. Must be a positive number or -1."),
            ("getnetworkhashps", [1, 5], -8, "Block does not exist at specified height"),
            ("help", ["nosuch"], -1, "help: unknown command: nosuch"),
        ]:
            error = await node.rpc_error(method, *params)
            assert error["code"] == code, (method, error)
            assert error["message"].startswith(message), (method, error)
        no_such = await node.rpc_error("getrawtransaction", UNKNOWN)
        assert no_such["code"] == -5
        assert no_such["message"].startswith("No such mempool or blockchain transaction")

    on_node(scenario)


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
                    "address": script_address(OTHER.script, "bcrt"),
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
        for n in (1, 7, -1, 2**40):
            assert await node.rpc("gettxout", UNKNOWN, n) is None

    on_node(scenario)


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


def test_blocks_are_not_generated_elsewhere(on_node):
    async def scenario(node):
        address = script_address(KEY.script, "dgroat")
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
        async with asyncio.timeout(10):
            for shape in await asyncio.gather(*polling):
                assert shape["previousblockhash"] == id_text(block.id)
        stale = {**asked, "longpollid": first["longpollid"]}
        async with asyncio.timeout(5):
            await node.rpc("getblocktemplate", stale)
        assert node.context.events.count == 0

    on_node(scenario)


def test_long_poll_tells_of_the_mempool_after_a_while(on_node, monkeypatch):
    monkeypatch.setattr("chain.service.api.rpc.template.FIRST_WAIT_S", 0.1)
    monkeypatch.setattr("chain.service.api.rpc.template.NEXT_WAIT_S", 0.05)

    async def scenario(node):
        await node.grow(101)
        asked = {"rules": ["segwit"]}
        first = await node.rpc("getblocktemplate", asked)
        asked["longpollid"] = first["longpollid"]
        polling = asyncio.create_task(node.rpc("getblocktemplate", asked))
        await asyncio.sleep(0.3)
        assert not polling.done(), "nothing has changed"
        await node.pool(payment(node))
        async with asyncio.timeout(5):
            assert len((await polling)["transactions"]) == 1

    on_node(scenario)


def test_template_elsewhere_needs_peers_and_a_whole_chain(on_node):

    syncing = [True]

    async def scenario(node):
        asked = {"rules": ["segwit"]}
        assert (await node.rpc_error("getblocktemplate", asked))["code"] == -9
        node.peers.append(PEER)
        assert (await node.rpc_error("getblocktemplate", asked))["code"] == -10
        syncing[0] = False
        assert (await node.rpc("getblocktemplate", asked))["height"] == 1

    on_node(scenario, params=TEST, is_syncing=lambda: syncing[0])


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


def test_network_information(on_node):
    async def scenario(node):
        node.peers.append(PEER)
        info = await node.rpc("getnetworkinfo")
        assert (info["version"], info["subversion"]) == (100, "/groat:0.1.0/")
        assert (info["connections"], info["connections_in"]) == (1, 1)
        assert info["relayfee"] == 0.00001
        [peer] = await node.rpc("getpeerinfo")
        assert peer == {
            "id": 3,
            "addr": "192.0.2.1:9444",
            "inbound": True,
            "subver": "/groat:0.1.0/",
            "conntime": NOW - 5,
            "startingheight": 7,
            "synced_headers": 7,
            "bytessent": 10,
            "bytesrecv": 20,
            "pingtime": 0.25,
        }
        assert await node.rpc("getconnectioncount") == 1

    on_node(scenario)


def test_addresses_are_judged(on_node):
    async def scenario(node):
        shape = await node.rpc("validateaddress", ADDRESS.upper())
        assert shape == {
            "isvalid": True,
            "address": ADDRESS,
            "scriptPubKey": KEY.script.hex(),
            "isscript": False,
            "iswitness": True,
            "witness_version": 0,
            "witness_program": KEY.key_hash.hex(),
        }
        for text in ("", "x" * 100, script_address(KEY.script, "groat")):
            assert (await node.rpc("validateaddress", text))["isvalid"] is False

    on_node(scenario)


def test_control(on_node):
    async def scenario(node):
        assert await node.rpc("uptime") == 60
        assert "getrpcinfo" in str(await node.rpc("getrpcinfo"))
        assert await node.rpc("getindexinfo") == {
            "txindex": {"synced": True, "best_block_height": 0}
        }
        assert await node.rpc("stop") == "groat stopping"
        assert node.stopped == [True]

    on_node(scenario)


def test_help_knows_every_method(on_node):
    async def scenario(node):
        listed = await node.rpc("help")
        for name, method in METHODS.items():
            assert method.usage in listed.splitlines()
            assert (await node.rpc("help", name)).startswith(method.usage)

    on_node(scenario)


def test_methods_of_a_wallet_are_not_found(on_node):
    async def scenario(node):
        for name in ("getnewaddress", "sendtoaddress", "listunspent"):
            assert (await node.rpc_error(name))["code"] == -32601

    on_node(scenario)


def test_amounts_on_the_wire_have_eight_decimals(on_node):
    async def scenario(node):
        reply = await node.post_rpc({"method": "getmempoolinfo"})
        assert '"minrelaytxfee":0.00001000,' in reply.text
        assert "e-" not in reply.text

    on_node(scenario)


def test_a_block_that_is_invalidated_gives_its_transactions_back_until_it_is_reconsidered(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        block = await node.mine([tx], fees=1000)
        await node.mine()
        tip, block_id = node.chain.tip, id_text(block.id)
        assert await node.rpc("invalidateblock", block_id) is None
        assert await node.rpc("getblockcount") == 101
        assert await node.rpc("getrawmempool") == [id_text(tx.txid)]
        assert await node.rpc("getchaintips") == [
            {**(await _best_tip(node)), "branchlen": 0, "status": "active"},
            {"height": 103, "hash": id_text(tip.id), "branchlen": 2, "status": "invalid"},
        ]
        assert await node.rpc("submitblock", block.raw.hex()) == "duplicate-invalid"
        [other] = await node.rpc("generatetoaddress", 1, ADDRESS)
        assert await node.rpc("getbestblockhash") == other
        assert await node.rpc("getrawmempool") == []
        assert await node.rpc("reconsiderblock", id_text(tip.id)) is None
        assert await node.rpc("getbestblockhash") == id_text(tip.id)
        assert await node.rpc("getrawmempool") == []
        statuses = [shape["status"] for shape in await node.rpc("getchaintips")]
        assert statuses == ["active", "valid-fork"]

    on_node(scenario)


async def _best_tip(node):
    info = await node.rpc("getblockchaininfo")
    return {"height": info["blocks"], "hash": info["bestblockhash"]}


def test_a_block_is_not_made_again_after_it_was_invalidated(on_node):
    async def scenario(node):
        [first] = await node.rpc("generatetoaddress", 1, ADDRESS)
        await node.rpc("invalidateblock", first)
        [second] = await node.rpc("generatetoaddress", 1, ADDRESS)
        assert await node.rpc("getbestblockhash") == second != first

    on_node(scenario)


def test_genesis_and_unknown_blocks_cannot_be_invalidated(on_node):
    async def scenario(node):
        genesis = await node.rpc("getblockhash", 0)
        error = await node.rpc_error("invalidateblock", genesis)
        assert error == {"code": -1, "message": "the genesis block cannot be left out"}
        for method in ("invalidateblock", "reconsiderblock"):
            missing = {"code": -5, "message": "Block not found"}
            assert await node.rpc_error(method, UNKNOWN) == missing

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

    on_node(scenario)


def test_a_block_that_cannot_be_made_of_these_transactions(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        await node.pool(tx)
        twice = [id_text(tx.txid)] * 2
        for transactions, code in (([UNKNOWN], -5), (["zz"], -22), ([1], -3), (twice, -25)):
            assert (await node.rpc_error("generateblock", ADDRESS, transactions))["code"] == code
        assert (await node.rpc_error("generateblock", "bc1q", []))["code"] == -5
        assert await node.rpc("getblockcount") == 101

    on_node(scenario)
