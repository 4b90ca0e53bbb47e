"""Spends of every kind by all ways into the mempool, and into a block."""

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.numbers import id_text
from tests.builders import KEY
from tests.node.spends import KINDS, NOT_WRONG, PUBLIC, Coinbases, Wanted

ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)


async def spends(node, makers):
    """Return a transaction of each maker, whose coins are mined first."""
    wanted = Wanted()
    for make in makers:
        make(wanted)
    mined = [(await node.grow(1, script=script))[0] for script in wanted.scripts]
    await node.grow(100)
    coins = Coinbases(mined)
    return [make(coins) for make in makers]


@pytest.mark.parametrize("way", ["sendrawtransaction", "POST /api/tx"])
def test_a_spend_of_every_kind_is_tested_sent_and_mined(on_node, way):
    async def scenario(node):
        transactions = await spends(node, list(KINDS.values()))
        for tx in transactions:
            [tested] = await node.rpc("testmempoolaccept", [tx.raw.hex()])
            assert tested["allowed"], tested
            if way == "sendrawtransaction":
                assert await node.rpc("sendrawtransaction", tx.raw.hex()) == id_text(tx.txid)
            else:
                reply = await node.client.post("/api/tx", content=tx.raw.hex())
                assert reply.text == id_text(tx.txid)
            entry = await node.rpc("getmempoolentry", id_text(tx.txid))
            assert tested["vsize"] == entry["vsize"]
        template = await node.rpc("getblocktemplate", {"rules": ["segwit"]})
        offered = {one["txid"] for one in template["transactions"]}
        assert offered == {id_text(tx.txid) for tx in transactions}
        await node.rpc("generatetoaddress", 1, ADDRESS)
        assert await node.rpc("getrawmempool") == []
        for tx in transactions:
            assert (await node.json(f"/api/tx/{id_text(tx.txid)}/status"))["confirmed"]

    on_node(scenario)


def test_scripts_are_shown_as_core_and_esplora_do(on_node):
    async def scenario(node):
        [p2pkh, tapscript] = await spends(node, [KINDS["p2pkh"], KINDS["p2tr-script"]])
        signature, key = p2pkh.inputs[0].script_sig[1:-34], PUBLIC.hex()
        shown = (await node.rpc("decoderawtransaction", p2pkh.raw.hex()))["vin"][0]
        assert shown["scriptSig"]["asm"] == f"{signature[:-1].hex()}[ALL] {key}"
        assert (await node.rpc("decodescript", "4f0063b168ba"))["asm"] == (
            "-1 0 OP_IF OP_CHECKLOCKTIMEVERIFY OP_ENDIF OP_CHECKSIGADD"
        )
        for tx in (p2pkh, tapscript):
            await node.pool(tx)
        shown = (await node.json(f"/api/tx/{id_text(p2pkh.txid)}"))["vin"][0]
        assert shown["scriptsig_asm"] == (
            f"OP_PUSHBYTES_{len(signature)} {signature.hex()} OP_PUSHBYTES_33 {key}"
        )
        assert shown["prevout"]["scriptpubkey_type"] == "p2pkh"
        shown = (await node.json(f"/api/tx/{id_text(tapscript.txid)}"))["vin"][0]
        assert shown["witness"] == [item.hex() for item in tapscript.inputs[0].witness]

    on_node(scenario)


def test_what_policy_refuses_is_told_and_can_still_be_mined(on_node):
    async def scenario(node):
        transactions = await spends(node, [spend.transaction for spend in NOT_WRONG.values()])
        for tx in transactions:
            [tested] = await node.rpc("testmempoolaccept", [tx.raw.hex()])
            assert not tested["allowed"]
            assert tested["reject-reason"].startswith("mempool-script-verify-flag-failed (")
            error = await node.rpc_error("sendrawtransaction", tx.raw.hex())
            assert error == {"code": -26, "message": tested["reject-reason"]}
        mined = await node.rpc("generateblock", ADDRESS, [tx.raw.hex() for tx in transactions])
        assert await node.rpc("getbestblockhash") == mined["hash"]

    on_node(scenario)
