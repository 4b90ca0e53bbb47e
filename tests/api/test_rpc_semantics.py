"""JSON-RPC: the semantics of arguments on which clients of Core rely."""

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.numbers import id_text
from chain.primitives.script import op_return
from chain.primitives.transaction import TxOut, decode_base_transaction, decode_transaction
from tests.api.harness import OTHER, UNKNOWN, payment
from tests.builders import KEY, pay

ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)
DEAR = {
    "code": -25,
    "message": "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)",
}


async def named(node, method, **params):
    """Return the reply object of a call with named arguments."""
    return (await node.post_rpc({"id": 1, "method": method, "params": params})).json()


def test_verbosity_has_two_names_and_is_hex_from_zero_down(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        block = await node.mine([tx], fees=1000)
        block_id, txid = id_text(block.id), id_text(tx.txid)
        for name in ("verbosity", "verbose"):
            for value in (0, -1, -(2**31), False):
                told = await named(node, "getblock", blockhash=block_id, **{name: value})
                assert told["result"] == block.raw.hex()
                told = await named(node, "getrawtransaction", txid=txid, **{name: value})
                assert told["result"] == tx.raw.hex()
            for value in (1, True):
                told = await named(node, "getblock", blockhash=block_id, **{name: value})
                assert told["result"]["tx"][1] == txid
                told = await named(node, "getrawtransaction", txid=txid, **{name: value})
                assert "fee" not in told["result"]
                assert "prevout" not in told["result"]["vin"][0]
        assert (await named(node, "getblock", blockhash=block_id))["result"]["tx"][1] == txid
        assert (await named(node, "getrawtransaction", txid=txid))["result"] == tx.raw.hex()

    on_node(scenario)


def test_a_block_shows_fees_from_2_on_and_prevouts_from_3_on(on_node):
    async def scenario(node):
        await node.grow(101)
        block = await node.mine([payment(node)], fees=1000)
        for verbosity, has_prevout in ((2, False), (3, True), (4, True), (2**31 - 1, True)):
            first, second = (await node.rpc("getblock", id_text(block.id), verbosity))["tx"]
            assert "fee" not in first
            assert second["fee"] == 0.00001
            assert ("prevout" in second["vin"][0]) == has_prevout

    on_node(scenario)


RATES = ["0.10", "1e-1", "0.1000000000000", 0.1, "0", 0, "0.99999999"]


def test_rates_and_amounts_are_taken_as_text_and_as_numbers(on_node):
    async def scenario(node):
        await node.grow(103)
        for at, rate in enumerate(RATES):
            tx = payment(node, at % 3 + 1, fee=2000 + at * 5000)
            [told] = await node.rpc("testmempoolaccept", [tx.raw.hex()], rate)
            assert told["allowed"], rate
        for method in ("sendrawtransaction", "submitpackage"):
            burning = payment(node, 1, extra=[TxOut(1, op_return(b"x"))])
            raw = burning.raw.hex() if method == "sendrawtransaction" else [burning.raw.hex()]
            for burnt in ("0.000000009", "0.1e-8", [], True):
                assert (await node.rpc_error(method, raw, "0.1", burnt))["code"] == -3, burnt
            for burnt in ("0", 0, "0.00", 0.0):
                assert (await node.rpc_error(method, raw, None, burnt))["code"] == -25, burnt
        assert await node.rpc("sendrawtransaction", burning.raw.hex(), "1e-1", "1e-8")
        for rate in ("1", 1, "1.00000000", 21_000_000):
            error = await node.rpc_error("sendrawtransaction", burning.raw.hex(), rate)
            assert error["code"] == -8

    on_node(scenario)


def test_a_transaction_that_waits_is_sent_again_whatever_rate_is_the_highest(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node, fee=50_000)
        raw, least = tx.raw.hex(), "0.00000001"
        assert await node.rpc_error("sendrawtransaction", raw, least) == DEAR
        assert await node.rpc("sendrawtransaction", raw) == id_text(tx.txid)
        assert await node.rpc("sendrawtransaction", raw, least) == id_text(tx.txid)
        assert node.sent_txs == [tx, tx]
        await node.mine([tx], fees=50_000)
        assert (await node.rpc_error("sendrawtransaction", raw, least))["code"] == -27

    on_node(scenario)


def test_what_is_no_block_is_none_even_if_its_header_is_known(on_node):
    async def scenario(node):
        await node.grow(2)
        raw = node.chain.blocks[0].raw
        failed = {"code": -22, "message": "Block decode failed"}
        for data in (raw[:80], raw[:-1], raw + b"\0", raw[:79], b""):
            assert await node.rpc_error("submitblock", data.hex()) == failed
        assert await node.rpc("submitblock", raw.hex()) == "duplicate"

    on_node(scenario)


NO_INPUTS = [
    {ADDRESS: 1},
    [{ADDRESS: 0.00000256}],
    {"data": "00"},
    {"data": "c0ffee", ADDRESS: "21000000"},
    [{ADDRESS: "0.00000001"}, {"data": "ff" * 80}],
    [],
]


def test_what_is_made_without_inputs_is_read_back(on_node):
    async def scenario(node):
        for outputs in NO_INPUTS:
            text = await node.rpc("createrawtransaction", [], outputs)
            told = await node.rpc("decoderawtransaction", text)
            assert told == await node.rpc("decoderawtransaction", text, False)
            assert (told["vin"], len(told["vout"])) == ([], len(outputs))
            assert told["size"] == told["vsize"] == len(text) // 2
            assert decode_base_transaction(bytes.fromhex(text)).raw.hex() == text

    on_node(scenario)


def test_iswitness_says_how_a_transaction_is_read(on_node):
    failed = {"code": -22, "message": "TX decode failed"}

    async def scenario(node):
        await node.grow(101)
        signed = payment(node)
        for how in ((), (None,), (True,)):
            told = await node.rpc("decoderawtransaction", signed.raw.hex(), *how)
            assert told["hash"] == id_text(signed.wtxid)
        assert await node.rpc_error("decoderawtransaction", signed.raw.hex(), False) == failed
        bare = signed.base_raw.hex()
        for how in (None, True, False):
            told = await node.rpc("decoderawtransaction", bare, how)
            assert (told["hash"], told["size"]) == (id_text(signed.txid), len(bare) // 2)
        made = await node.rpc("createrawtransaction", [], {ADDRESS: 1})
        assert await node.rpc_error("decoderawtransaction", made, True) == failed
        assert (await node.rpc_error("sendrawtransaction", made))["code"] == -22

    on_node(scenario)


def test_null_inside_an_input_is_the_same_as_missing(on_node):
    async def scenario(node):
        spent = {"txid": UNKNOWN, "vout": 0}
        wanted = await node.rpc("createrawtransaction", [spent], {ADDRESS: 1})
        again = await node.rpc("createrawtransaction", [{**spent, "sequence": None}], {ADDRESS: 1})
        assert again == wanted
        no_vout = {"code": -8, "message": "Invalid parameter, missing vout key"}
        for vout in ({}, {"vout": None}, {"vout": "0"}):
            given = [{"txid": UNKNOWN, **vout}]
            assert await node.rpc_error("createrawtransaction", given, {ADDRESS: 1}) == no_vout
        error = await node.rpc_error("createrawtransaction", [{**spent, "sequence": "1"}], {})
        assert error["code"] == -3

    on_node(scenario)


def test_null_inside_other_objects_is_the_same_as_missing(on_node):
    async def scenario(node):
        await node.grow(1)
        asked = {"rules": ["segwit"], "mode": None, "longpollid": None, "capabilities": None}
        assert (await node.rpc("getblocktemplate", asked))["height"] == 2
        for output, text in [
            ({"txid": UNKNOWN, "vout": None}, "Missing vout"),
            ({"txid": None, "vout": 0}, "Missing txid"),
            ({"txid": UNKNOWN, "vout": 0, "n": 0}, "Unexpected key n"),
            (
                {"txid": UNKNOWN, "vout": "0"},
                "JSON value of type string for field vout is not of expected type number",
            ),
        ]:
            error = {"code": -3, "message": text}
            assert await node.rpc_error("gettxspendingprevout", [output]) == error
        missing = {"code": -8, "message": "Invalid parameter, outputs are missing"}
        assert await node.rpc_error("gettxspendingprevout", []) == missing
        scanned = {"desc": f"addr({ADDRESS})", "range": None}
        assert (await node.rpc("scantxoutset", "start", [scanned]))["success"]
        error = await node.rpc_error("scantxoutset", "start", [{**scanned, "range": [2, 1]}])
        assert error["code"] == -8

    on_node(scenario)


def test_a_transaction_has_the_version_that_was_asked_for(on_node):
    async def scenario(node):
        made = [{"txid": UNKNOWN, "vout": 0}], {ADDRESS: 1}, 0, True
        for version in (1, 2, 3, None):
            text = await node.rpc("createrawtransaction", *made, version)
            assert decode_transaction(bytes.fromhex(text)).version == (version or 2)
        for version in (0, 4, 2**32 - 1):
            error = {"code": -8, "message": "Invalid parameter, version out of range(1~3)"}
            assert await node.rpc_error("createrawtransaction", *made, version) == error

    on_node(scenario)


def test_the_mode_of_an_estimate_is_one_of_core_s_and_conservative_asks_for_more(on_node):
    async def scenario(node):
        await node.grow(112)
        for height in range(1, 12):  # more than a block's worth
            await node.pool(payment(node, height, fee=4 * 10**6, extra=[pay(1000, OTHER)] * 3000))
        soon, later = [await node.rpc("estimatesmartfee", target) for target in (1, 2)]
        assert soon["feerate"] > later["feerate"]
        for mode in ("unset", "economical", "ECONOMICAL", None):
            assert await node.rpc("estimatesmartfee", 2, mode) == later
        assert await node.rpc("estimatesmartfee", 2, "CONSERVATIVE") == {**soon, "blocks": 2}
        assert await node.rpc("estimatesmartfee", 1, "conservative") == soon
        known = '"unset", "economical", "conservative"'
        problem = f"Invalid estimate_mode parameter, must be one of: {known}"
        for mode in ("", "fast"):
            error = await node.rpc_error("estimatesmartfee", 6, mode)
            assert error == {"code": -8, "message": problem}

    on_node(scenario)


def test_figures_of_all_coins_at_another_height_need_an_index(on_node):
    async def scenario(node):
        await node.grow(2)
        now = await node.rpc("gettxoutsetinfo", "none")
        for index in (True, False):
            assert await node.rpc("gettxoutsetinfo", "none", None, index) == now
        problem = "Querying specific block heights requires coinstatsindex"
        for place in (1, now["bestblock"]):
            error = await node.rpc_error("gettxoutsetinfo", "none", place)
            assert error == {"code": -8, "message": problem}

    on_node(scenario)


def test_stop_answers_after_a_while_that_is_bounded(on_node, monkeypatch):
    monkeypatch.setattr("chain.service.api.rpc.control.STOP_WAIT_MAX_MS", 5)

    async def scenario(node):
        for wait in (None, 0, -1, 5, 2**31 - 1):
            assert await node.rpc("stop", wait) == "groat stopping"
        assert node.stopped == [True] * 5

    on_node(scenario)


def test_a_template_needs_its_request(on_node):
    async def scenario(node):
        error = await node.rpc_error("getblocktemplate")
        assert error["code"] == -1
        assert error["message"].startswith("getblocktemplate template_request\n")
        for rules in ({}, {"rules": None}, {"rules": "segwit"}, {"rules": ["csv"]}):
            assert (await node.rpc_error("getblocktemplate", rules))["code"] == -8
        assert (await node.rpc_error("getblocktemplate", {"rules": [["segwit"]]}))["code"] == -3

    on_node(scenario)
