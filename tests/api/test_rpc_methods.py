"""JSON-RPC's chain, network, control and help, compared with what Core's clients read."""

import importlib
import inspect
import pkgutil
import time

import pytest

from chain.consensus.params import MAIN, REGTEST
from chain.primitives.address import script_address
from chain.primitives.numbers import id_text
from chain.primitives.script import p2pkh_script, p2sh_script
from chain.service.api import rpc
from chain.service.api.context import ApiContext
from chain.service.api.rpc.methods import METHODS
from chain.service.api.snapshot import NodeSnapshot
from chain.service.api.state.port import ChainView
from chain.service.peers.peer_status import NetTotals
from tests.api.harness import PEER, UNKNOWN, RecordingPeers, payment
from tests.builders import KEY

ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)
NOT_METHODS = {"proposal_result", "poll_id_of", "known_result"}  # of getblocktemplate, hand_on


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
        for height in (4, -1, 2**31 - 1):
            error = {"code": -8, "message": "Block height out of range"}
            assert await node.rpc_error("getblockhash", height) == error

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
        body = {"tx", "coinbase_tx", "size", "strippedsize", "weight"}
        header = {k: v for k, v in one.items() if k not in body}
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


def test_getblock_describes_the_coinbase_at_each_verbosity_as_core_31_does(on_node):
    async def scenario(node):
        coinbase = (await node.mine()).transactions[0]
        told = {
            "version": coinbase.version,
            "locktime": coinbase.lock_time,
            "sequence": coinbase.inputs[0].sequence,
            "coinbase": coinbase.inputs[0].script_sig.hex(),
            "witness": coinbase.inputs[0].witness[0].hex(),
        }
        tip = id_text(node.chain.tip.id)
        for verbosity in (1, 2, 3):
            assert (await node.rpc("getblock", tip, verbosity))["coinbase_tx"] == told
        genesis = await node.rpc("getblock", await node.rpc("getblockhash", 0))
        assert "witness" not in genesis["coinbase_tx"], "it has none"

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
            ("getblockheader", ["x"], -8, "hash must be of length 64 (not 1, for 'x')"),
            ("getblock", ["x"], -8, "blockhash must be of length 64 (not 1, for 'x')"),
            ("getblockstats", ["x"], -8, "hash_or_height must be of length 64 (not 1, for 'x')"),
            ("getrawtransaction", ["x"], -8, "parameter 1 must be of length 64 (not 1, for 'x')"),
            ("getblock", ["ab"], -8, "blockhash must be of length 64 (not 2, for 'ab')"),
            (
                "getblock",
                ["z" * 64],
                -8,
                f"blockhash must be hexadecimal string (not '{'z' * 64}')",
            ),
            ("getmempoolentry", [UNKNOWN], -5, "Transaction not in mempool"),
            ("decoderawtransaction", ["zz"], -22, "TX decode failed"),
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
            ("sendrawtransaction", ["00", -1], -3, "Amount out of range"),
            ("getnetworkhashps", [0], -8, "Invalid nblocks. Must be a positive number or -1."),
            ("getnetworkhashps", [1, 5], -8, "Block does not exist at specified height"),
        ]:
            error = await node.rpc_error(method, *params)
            assert error["code"] == code, (method, error)
            assert error["message"].startswith(message), (method, error)
        no_such = await node.rpc_error("getrawtransaction", UNKNOWN)
        assert no_such["code"] == -5
        assert no_such["message"].startswith("No such mempool or blockchain transaction")

    on_node(scenario)


@pytest.mark.parametrize(
    ("limit", "used", "target"),
    [
        (0, 50, (0, False, True, 0, 0)),
        (100, 74, (100, False, True, 26, 7)),
        (100, 99, (100, False, False, 1, 7)),
        (100, 100, (100, True, False, 0, 7)),
        (100, 101, (100, True, False, 0, 7)),
    ],
)
def test_bytes_are_counted(on_node, limit, used, target):
    totals = NetTotals(
        received_bytes=5,
        sent_bytes=6,
        upload_limit_bytes=limit,
        upload_day_bytes=used,
        upload_day_left_s=7,
        gives_old_blocks=target[2],
    )
    names = (
        "target",
        "target_reached",
        "serve_historical_blocks",
        "bytes_left_in_cycle",
        "time_left_in_cycle",
    )

    class Peers(RecordingPeers):
        def totals(self):
            return totals

    async def scenario(node):
        shown = await node.rpc("getnettotals")
        assert abs(shown.pop("timemillis") - time.time() * 1000) < 60_000
        assert shown == {
            "totalbytesrecv": 5,
            "totalbytessent": 6,
            "uploadtarget": {"timeframe": 86_400} | dict(zip(names, target, strict=True)),
        }

    on_node(scenario, peers=Peers())


def test_a_peer_is_disconnected_by_its_address_or_id(on_node):
    ended = []

    class Peers(RecordingPeers):
        def disconnect(self, link):
            ended.append(link)
            return link == PEER.id

    async def scenario(node):
        node.peers.append(PEER)
        assert await node.rpc("disconnectnode", PEER.address) is None
        assert await node.rpc("disconnectnode", "", PEER.id) is None
        assert ended == [PEER.id, PEER.id]
        unknown = {"code": -29, "message": "Node not found in connected nodes"}
        assert await node.rpc_error("disconnectnode", "192.0.2.1:1") == unknown
        assert await node.rpc_error("disconnectnode", "", 4) == unknown
        for params in ([], [PEER.address, PEER.id]):
            assert (await node.rpc_error("disconnectnode", *params))["code"] == -32602

    on_node(scenario, peers=Peers())


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
        for text in ("", "x" * 100, script_address(KEY.script, MAIN.address_prefixes)):
            assert (await node.rpc("validateaddress", text))["isvalid"] is False

    on_node(scenario)


@pytest.mark.parametrize(
    ("script", "kind", "described"),
    [
        (p2pkh_script(bytes(20)), "pubkeyhash", {"isscript": False, "iswitness": False}),
        (p2sh_script(bytes(20)), "scripthash", {"isscript": True, "iswitness": False}),
        (
            b"\x51\x20" + bytes(32),
            "witness_v1_taproot",
            {
                "isscript": True,
                "iswitness": True,
                "witness_version": 1,
                "witness_program": "00" * 32,
            },
        ),
        (b"\x51\x02\x4e\x73", "anchor", {"isscript": True, "iswitness": True}),
        (
            b"\x52\x02\x01\x02",
            "witness_unknown",
            {"iswitness": True, "witness_version": 2, "witness_program": "0102"},
        ),
    ],
)
def test_addresses_of_every_kind_are_described(on_node, script, kind, described):
    async def scenario(node):
        address = script_address(script, REGTEST.address_prefixes)
        shape = {"isvalid": True, "address": address, "scriptPubKey": script.hex(), **described}
        assert await node.rpc("validateaddress", address) == shape
        decoded = await node.rpc("decodescript", script.hex())
        assert (decoded["type"], decoded["address"]) == (kind, address)
        info = await node.rpc("getdescriptorinfo", f"addr({address})")
        assert info["descriptor"].startswith(f"addr({address})#")
        assert await node.rpc("deriveaddresses", info["descriptor"]) == [address]

    on_node(scenario)


def test_scripts_without_an_address_have_cores_types(on_node):
    async def scenario(node):
        key = KEY.public.hex()
        for script, kind in (
            (f"21{key}ac", "pubkey"),
            (f"5121{key}51ae", "multisig"),
            ("6a0161", "nulldata"),
            ("6a61", "nonstandard"),
            ("51", "nonstandard"),
        ):
            shape = await node.rpc("decodescript", script)
            assert (shape["type"], shape.get("address")) == (kind, None)

    on_node(scenario)


def test_control(on_node):
    async def scenario(node):
        assert await node.rpc("uptime") == 60
        assert "getrpcinfo" in str(await node.rpc("getrpcinfo"))
        state = {"synced": True, "best_block_height": 0}
        indexes = {"txindex": state, "txospenderindex": state}
        assert await node.rpc("getindexinfo") == indexes
        assert await node.rpc("getindexinfo", "txospenderindex") == {"txospenderindex": state}
        assert await node.rpc("getindexinfo", "coinstatsindex") == {}
        assert await node.rpc("stop") == "groat stopping"
        assert node.stopped == [True]

    on_node(scenario)


NODES = {ApiContext, NodeSnapshot, ChainView}


def test_every_function_that_takes_the_node_first_is_a_method():
    """One that is not in its file's METHODS, and a file that methods.py leaves out, is found."""
    listed = {method.function for method in METHODS.values()}
    for info in pkgutil.walk_packages(rpc.__path__, f"{rpc.__name__}."):
        module = importlib.import_module(info.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("_") or function.__module__ != module.__name__:
                continue
            first = next(iter(inspect.signature(function).parameters.values()), None)
            takes_node = first is not None and first.annotation in NODES
            assert takes_node == (function in listed) or name in NOT_METHODS, name


def test_help_knows_every_method(on_node):
    async def scenario(node):
        assert await node.rpc("help", "nosuch") == "help: unknown command: nosuch"
        listed = await node.rpc("help")
        for name, method in METHODS.items():
            assert method.usage in listed.splitlines()
            text = await node.rpc("help", name)
            assert text.startswith(method.usage)
            assert ("\nArguments:\n" in text) == bool(method.parameters)
        assert (await node.rpc("help", "getblock")).endswith(
            "\nArguments:\n"
            "  blockhash: string, required\n"
            "  verbosity or verbose: number or bool, default 1\n"
        )

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


def test_genesis_and_unknown_blocks_cannot_be_invalidated(on_node):
    async def scenario(node):
        genesis = await node.rpc("getblockhash", 0)
        error = await node.rpc_error("invalidateblock", genesis)
        assert error == {"code": -1, "message": "the genesis block cannot be excluded"}
        for method in ("invalidateblock", "reconsiderblock"):
            missing = {"code": -5, "message": "Block not found"}
            assert await node.rpc_error(method, UNKNOWN) == missing

    on_node(scenario)


def test_a_precious_block_is_followed_instead_of_another_of_the_same_work(on_node):
    async def scenario(node):
        await node.grow(101)
        side = node.chain.fork(0)
        tx = payment(node)
        first = await node.mine([tx], fees=1000)
        [second] = side.grow(1, extra=b"second")
        await node.connect(second)
        assert await node.rpc("getbestblockhash") == id_text(first.id)
        assert await node.rpc("preciousblock", id_text(second.id)) is None
        assert await node.rpc("getbestblockhash") == id_text(second.id)
        assert await node.rpc("getrawmempool") == [id_text(tx.txid)]
        assert await node.rpc("preciousblock", id_text(first.id)) is None
        assert await node.rpc("getbestblockhash") == id_text(first.id)
        assert await node.rpc("getrawmempool") == []
        assert await node.rpc("preciousblock", await node.rpc("getblockhash", 3)) is None
        assert await node.rpc("getbestblockhash") == id_text(first.id)
        missing = {"code": -5, "message": "Block not found"}
        assert await node.rpc_error("preciousblock", UNKNOWN) == missing
        assert (await node.rpc_error("preciousblock", "foo"))["code"] == -8

    on_node(scenario)
