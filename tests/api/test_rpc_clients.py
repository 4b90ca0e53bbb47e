"""JSON-RPC as clients of other projects use it: their own code, and the calls that they make.

scripts/foreign_clients installs them; what is not there is skipped.
"""

import json

import pytest

from chain.consensus.params import GRAINS_PER_GROAT
from chain.primitives.numbers import id_text
from chain.service.api.rpc.missing_methods import not_found
from tests.api.foreign import (
    ADDRESS,
    CLIENTS,
    PYTHON,
    grow,
    needs_module,
    needs_npm,
    rpc_port,
    seen_by,
)
from tests.api.harness import PASSWORD, PEER, payment

pytestmark = pytest.mark.net
LOGIN = ("__cookie__", PASSWORD)


async def ask(node, folder, program: str, calls: list) -> list | dict:
    """Return what one of the programs in clients/ prints of its calls."""
    command = (PYTHON if program.endswith(".py") else "node", CLIENTS / program)
    async with rpc_port(node) as port:
        return await seen_by(folder, *command, port, *LOGIN, json.dumps(calls))


@needs_module("bitcoin_core_rpc")
def test_bitcoin_core_rpc_calls_and_batches(on_node, tmp_path):
    async def scenario(node):
        txid, raw = await grow(node)
        tip = id_text(node.chain.tip.id)
        calls = [
            ["getblockcount", None],
            ["getblockhash", [102]],
            ["getblockhash", {"height": 102}],
            ["getblockhash", [999]],
            ["nosuch", None],
            ["getblock", {"blockhash": tip, "verbosity": 1}],
            ["getrawtransaction", [txid]],
            ["testmempoolaccept", [[raw]]],
            ["gettxout", ["00" * 32, 0]],
        ]
        seen = await ask(node, tmp_path, "use_core_rpc.py", calls)
        assert seen["batch"] == seen["calls"]
        height, by_place, by_name, far, unknown, block, tx, accepted, missing = seen["batch"]
        assert (height, by_place, by_name, missing) == (102, tip, tip, None)
        assert (far["code"], unknown["code"]) == (-8, -32601)
        assert far["message"] == "Block height out of range"
        assert block["tx"][1] == txid
        assert tx == node.chain.blocks[-1].transactions[1].raw.hex()
        assert accepted[0]["allowed"] is True

    on_node(scenario)


@needs_npm("rpc-bitcoin")
def test_rpc_bitcoin_names_its_arguments(on_node, tmp_path):
    """`verbose` by name, true and false, wherever Core has or had it, and defaults sent as {}."""

    async def scenario(node):
        txid, raw = await grow(node)
        tip, block = id_text(node.chain.tip.id), node.chain.blocks[-1]
        waiting = id_text(payment(node, 2).txid)
        calls = [
            ["getblockcount", None],
            ["getrawtransaction", {"txid": txid, "verbose": True}],
            ["getrawtransaction", {"txid": txid, "verbose": False}],
            ["getrawtransaction", {"txid": txid, "verbose": True, "blockhash": tip}],
            ["getblockheader", {"blockhash": tip, "verbose": True}],
            ["getblockheader", {"blockhash": tip, "verbose": False}],
            ["getblock", {"blockhash": tip, "verbosity": 0}],
            ["getblock", {"blockhash": tip}],
            ["sendrawtransaction", {"hexstring": raw}],
            ["getrawmempool", {"verbose": False}],
            ["getrawmempool", {"verbose": True}],
            ["getblockstats", {"hash_or_height": 102, "stats": ["height", "txs"]}],
            ["getnetworkhashps", {}],
            ["getmemoryinfo", {}],
            ["estimatesmartfee", {"conf_target": 6}],
            ["help", {"command": "getblock"}],
            ["verifychain", {"checklevel": 1, "nblocks": 2}],
            ["getmempoolentry", {"txid": waiting}],
            ["getmempoolancestors", {"txid": waiting, "verbose": True}],
            ["getmempooldescendants", {"txid": waiting, "verbose": False}],
            ["getblockhash", {"height": 999}],
            ["getnewaddress", {}],
        ]
        seen = await ask(node, tmp_path, "use_rpc_bitcoin.cjs", calls)
        assert [one["error"] for one in seen if "error" in one] == [
            {"code": -8, "message": "Block height out of range"},
            {"code": -32601, "message": not_found("getnewaddress")},
        ]
        told = [one.get("result") for one in seen]
        sent = told[8]
        assert sent == waiting
        assert told[0] == 102
        assert told[1]["txid"] == told[3]["txid"] == txid
        assert told[2] == block.transactions[1].raw.hex()
        assert (told[4]["hash"], told[4]["height"]) == (tip, 102)
        assert told[5] == block.raw[:80].hex()
        assert told[6] == block.raw.hex()
        assert told[7]["tx"][1] == txid
        assert (told[9], list(told[10])) == ([sent], [sent])
        assert told[11] == {"height": 102, "txs": 2}
        assert told[13]["locked"]["total"] >= 0
        assert told[15].startswith("getblock ")
        assert told[16] is True
        assert told[17]["depends"] == []
        assert (told[18], told[19]) == ({}, [])

    on_node(scenario)


# What bitcoin-prometheus-exporter (0.7.0 and its main branch of 2024) asks at each scrape, and the
# members that it reads without looking whether they are there.
EXPORTER = [
    (["uptime"], ()),
    (["getmemoryinfo", "stats"], ("locked",)),
    (["getblockchaininfo"], ("blocks", "difficulty", "size_on_disk", "verificationprogress")),
    (["getnetworkinfo"], ("connections", "connections_in", "connections_out", "version",
                          "protocolversion", "warnings")),
    (["getchaintips"], ()),
    (["getmempoolinfo"], ("bytes", "size", "usage", "mempoolminfee", "unbroadcastcount")),
    (["getnettotals"], ("totalbytesrecv", "totalbytessent")),
    (["getrpcinfo"], ("active_commands",)),
    (["getchaintxstats"], ("txcount",)),
    (["getblockstats", "TIP", ["total_size", "total_weight", "totalfee", "txs", "height", "ins",
                               "outs", "total_out"]],
     ("total_size", "total_weight", "totalfee", "txs", "height", "ins", "outs", "total_out")),
    (["listbanned"], ()),
    (["estimatesmartfee", 2], ()),
    (["estimatesmartfee", 20], ()),
    (["getnetworkhashps", -1], ()),
    (["getnetworkhashps", 1], ()),
    (["getnetworkhashps", 120], ()),
    (["getblock", "TIP", 2], ("size", "nTx", "height", "weight", "tx")),
    (["getmininginfo"], ("blocks", "networkhashps")),
    (["getpeerinfo"], ()),
    (["getindexinfo"], ("txindex",)),
]  # fmt: skip


@needs_module("bitcoin")
def test_bitcoin_prometheus_exporter_gets_each_figure(on_node, tmp_path):
    """Through python-bitcoinlib's Proxy, which is what the exporter calls with."""

    async def scenario(node):
        await grow(node)
        node.peers.append(PEER)
        tip = id_text(node.chain.tip.id)
        await node.rpc("setban", "192.0.2.0/24", "add")
        calls = [[tip if word == "TIP" else word for word in call] for call, _ in EXPORTER]
        seen = await ask(node, tmp_path, "use_python_bitcoinlib.py", calls)
        for (call, members), result in zip(EXPORTER, seen, strict=True):
            assert [name for name in members if name not in result] == [], call
        told = {call[0]: result for (call, _), result in zip(EXPORTER, seen, strict=True)}
        assert told["uptime"] == 60
        locked = told["getmemoryinfo"]["locked"]
        assert {"used", "free", "total", "locked", "chunks_used", "chunks_free"} <= set(locked)
        assert told["getnetworkinfo"]["version"] == 310000
        assert told["getnetworkinfo"]["connections_in"] == 1
        assert told["getchaintxstats"]["txcount"] == 104
        assert told["getblockstats"]["totalfee"] == 1000
        assert told["getblockstats"]["total_out"] == 50 * GRAINS_PER_GROAT - 1000
        assert told["getblock"]["nTx"] == 2
        assert len(told["getrpcinfo"]["active_commands"]) == 1
        assert told["listbanned"][0]["address"] == "192.0.2.0/24"
        assert {"ban_created", "banned_until"} <= set(told["listbanned"][0])

    on_node(scenario)


def peers_page(peers: list[dict]) -> dict:
    """Return what btc-rpc-explorer's peers page counts; it fails where a member is missing."""
    rows = [
        (peer["subver"], peer["addr"][: peer["addr"].rindex(":")], peer["services"].lstrip("0"),
         peer["servicesnames"], peer["connection_type"], peer["network"],
         int(peer["lastsend"]), int(peer["lastrecv"]))
        for peer in peers
    ]  # fmt: skip
    return {"agents": [row[0] for row in rows], "ips": [row[1] for row in rows], "rows": rows}


@needs_npm("jayson")
def test_btc_rpc_explorer_shows_its_peers_page(on_node, tmp_path):
    """With the calls it makes at start-up, through jayson, which is what it calls with."""

    async def scenario(node):
        txid, _ = await grow(node)
        node.peers.append(PEER)
        calls = [
            ["getnetworkinfo", []],
            ["getblockchaininfo", []],
            ["getindexinfo", []],
            ["getdeploymentinfo", []],
            ["getpeerinfo", []],
            ["getnettotals", []],
            ["getmempoolinfo", []],
            ["getmininginfo", []],
            ["getrawmempool", [False]],
            ["estimatesmartfee", [6, "CONSERVATIVE"]],
            ["getblockstats", [102]],
            ["getchaintxstats", [100]],
            ["gettxoutsetinfo", []],
            ["getrawtransaction", [txid, 1]],
            ["validateaddress", [ADDRESS]],
            ["uptime", []],
            ["help", []],
            ["getblocktemplate", [{"rules": ["segwit"]}]],
        ]
        answers = await ask(node, tmp_path, "use_jayson.cjs", calls)
        assert [(one, a) for one, a in zip(calls, answers, strict=True) if a.get("error")] == []
        told = dict(zip((one[0] for one in calls), (a["result"] for a in answers), strict=False))
        page = peers_page(told["getpeerinfo"])
        assert page["agents"] == ["/groat:0.1.0/"]
        assert page["ips"] == ["192.0.2.1"]
        assert page["rows"][0][4:6] == ("inbound", "ipv4")
        assert told["getnetworkinfo"]["localservicesnames"]
        assert told["getrawtransaction"]["txid"] == txid
        assert told["getindexinfo"]["txindex"]["synced"] is True
        assert "coinstatsindex" not in told["getindexinfo"], "or it asks for muhash"

    on_node(scenario)
