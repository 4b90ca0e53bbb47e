"""JSON-RPC: the scripts of descriptors, and createrawtransaction."""

from decimal import Decimal

from chain.consensus.params import DEVNET, REGTEST
from chain.primitives.address import script_address
from chain.primitives.descriptor import checksum
from chain.primitives.numbers import id_text
from chain.primitives.transaction import decode_transaction
from chain.service.api.rpc import descriptors
from tests.api.harness import OTHER, UNKNOWN, payment
from tests.builders import KEY

ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)


def test_the_coins_of_descriptors_are_found(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        await node.mine([tx], fees=1000)
        value = tx.outputs[0].value
        raw = f"raw({OTHER.script.hex()})"
        told = await node.rpc("scantxoutset", "start", [raw, {"desc": raw, "range": 5}])
        assert told == {
            "success": True,
            "txouts": 1,
            "height": 102,
            "bestblock": id_text(node.chain.tip.id),
            "unspents": [
                {
                    "txid": id_text(tx.txid),
                    "vout": 0,
                    "scriptPubKey": OTHER.script.hex(),
                    "desc": f"{raw}#{checksum(raw)}",
                    "amount": value / 10**8,
                    "coinbase": False,
                    "height": 102,
                    "blockhash": id_text(node.chain.tip.id),
                    "confirmations": 1,
                }
            ],
            "total_amount": value / 10**8,
        }
        found = await node.rpc("scantxoutset", "start", [f"addr({ADDRESS})"])
        assert len(found["unspents"]) == 101
        key = f"wpkh({KEY.public.hex()})"
        assert await node.rpc("scantxoutset", "start", [f"{key}#{checksum(key)}"]) == found
        assert await node.rpc("scantxoutset", "status") is None
        assert await node.rpc("scantxoutset", "abort") is False

    on_node(scenario)


def test_what_cannot_be_scanned_is_told(on_node):
    async def scenario(node):
        for params, code, message in [
            (["begin"], -8, "Invalid action 'begin'"),
            (["start"], -1, "scanobjects argument is required for the start action"),
            (["start", [1]], -8, "Scan object needs to be either a string or an object"),
            (["start", [{}]], -8, "Scan object needs to be either a string or an object"),
            (["start", ["addr(x)"] * 101], -8, "scanobjects must hold at most 100 descriptors"),
            (["start", [f"addr({ADDRESS})#89f8spxm"]], -5, "mistyped descriptor"),
            (["start", ["addr(x)"]], -5, "Error: Invalid address"),
            (["start", ["tr(x)"]], -5, "'tr(x)' is not a valid descriptor function"),
            (["start", ["raw(" + "0" * 20_000 + ")"]], -5, "descriptor too long"),
        ]:
            error = await node.rpc_error("scantxoutset", *params)
            assert error["code"] == code, error
            assert error["message"].startswith(message), error

    on_node(scenario)


def test_a_scan_lists_so_many_coins_of_all_scripts_together(on_node, monkeypatch):
    async def scenario(node):
        monkeypatch.setattr(descriptors, "SCANNED_COINS_MAX", 2)
        for script in ("51", "52"):
            await node.rpc("generatetodescriptor", 1, f"raw({script})")
        found = await node.rpc("scantxoutset", "start", ["raw(51)", "raw(52)"])
        assert len(found["unspents"]) == 2
        await node.rpc("generatetodescriptor", 1, "raw(52)")
        error = await node.rpc_error("scantxoutset", "start", ["raw(51)", "raw(52)"])
        assert error["code"] == -8
        assert error["message"].startswith("more than 2 coins, or ")

    on_node(scenario)


def test_a_scan_lists_so_many_bytes_of_scripts(on_node, monkeypatch):
    async def scenario(node):
        monkeypatch.setattr(descriptors, "SCANNED_BYTES_MAX", 10)
        long = f"raw({'51' * 4})"
        for script, blocks in [("raw(51)", 2), (long, 2)]:
            await node.rpc("generatetodescriptor", blocks, script)
        found = await node.rpc("scantxoutset", "start", ["raw(51)", long])
        assert len(found["unspents"]) == 4
        await node.rpc("generatetodescriptor", 1, "raw(51)")
        error = await node.rpc_error("scantxoutset", "start", ["raw(51)", long])
        assert error["code"] == -8

    on_node(scenario)


def test_one_scan_goes_on_at_a_time(on_node):
    async def scenario(node):
        with node.context.limits.scanning:
            error = await node.rpc_error("scantxoutset", "start", ["raw(51)"])
        assert error["code"] == -8
        assert error["message"].startswith("Scan already in progress")
        for scanned, succeeds in [("raw(5)", False), ("raw(51)", True)]:
            method = node.rpc if succeeds else node.rpc_error
            assert await method("scantxoutset", "start", [scanned]), "a failed one is over too"

    on_node(scenario)


def test_blocks_are_generated_to_a_descriptor_on_regtest(on_node):
    async def scenario(node):
        [block_id] = await node.rpc("generatetodescriptor", 1, f"addr({ADDRESS})")
        block = await node.rpc("getblock", block_id, 2)
        assert block["tx"][0]["vout"][0]["scriptPubKey"]["hex"] == KEY.script.hex()

    on_node(scenario)


def test_blocks_are_generated_to_a_descriptor_nowhere_else(on_node):
    async def scenario(node):
        error = await node.rpc_error("generatetodescriptor", 1, "raw(51)")
        assert error == {"code": -1, "message": "blocks are generated on regtest only"}

    on_node(scenario, params=DEVNET)


def test_a_transaction_is_made_of_what_is_listed(on_node):
    async def scenario(node):
        spent = {"txid": UNKNOWN, "vout": 7}
        outputs = [{ADDRESS: 0.1}, {"data": "c0ffee"}]
        text = await node.rpc("createrawtransaction", [spent], outputs)
        tx = decode_transaction(bytes.fromhex(text))
        assert (tx.version, tx.lock_time) == (2, 0)
        assert id_text(tx.inputs[0].outpoint[:32]) == UNKNOWN
        assert tx.inputs[0].outpoint[32:] == (7).to_bytes(4, "little")
        assert [out.value for out in tx.outputs] == [10_000_000, 0]
        assert tx.outputs[0].script == KEY.script
        assert tx.outputs[1].script.hex() == "6a03c0ffee"
        as_object = {ADDRESS: "0.10000000", "data": "c0ffee"}
        assert await node.rpc("createrawtransaction", [spent], as_object) == text
        for given, locktime, replaceable, sequence in [
            (spent, 0, True, 0xFFFFFFFD),
            (spent, 0, False, 0xFFFFFFFF),
            (spent, 5, False, 0xFFFFFFFE),
            ({**spent, "sequence": 9}, 5, True, 9),
        ]:
            params = [[given], outputs, locktime, replaceable]
            made = decode_transaction(
                bytes.fromhex(await node.rpc("createrawtransaction", *params))
            )
            assert (made.inputs[0].sequence, made.lock_time) == (sequence, locktime)

    on_node(scenario)


def test_a_transaction_of_nonsense_is_not_made(on_node):
    async def scenario(node):
        spent, paid = {"txid": UNKNOWN, "vout": 0}, {ADDRESS: 1}
        final = {**spent, "sequence": 0xFFFFFFFE}
        for params, code, message in [
            ([[{"vout": 0}], paid], -3, "JSON value of type null is not of expected type string"),
            ([[{"txid": UNKNOWN}], paid], -8, "Invalid parameter, missing vout key"),
            ([[{"txid": "00", "vout": 0}], paid], -8, "txid must be of length 64"),
            ([[{**spent, "vout": -1}], paid], -8, "Invalid parameter, vout cannot be negative"),
            ([[{**spent, "vout": 2**31}], paid], -1, "JSON integer out of range"),
            ([[{**spent, "sequence": -1}], paid], -8, "Invalid parameter, sequence number is out"),
            ([[final], paid], -8, "Invalid parameter combination: Sequence number(s) contradict"),
            ([[7], paid], -3, "JSON value of type number is not of expected type object"),
            ([[spent], paid, -1], -8, "Invalid parameter, locktime out of range"),
            ([[spent], [paid, paid]], -8, f"Invalid parameter, duplicated address: {ADDRESS}"),
            ([[spent], [{"data": "00"}] * 2], -8, "Invalid parameter, duplicate key: data"),
            ([[spent], [{}]], -8, "Invalid parameter, key-value pair must contain exactly one"),
            ([[spent], ["x"]], -8, "Invalid parameter, key-value pair not an object as expected"),
            ([[spent], {"data": "0"}], -8, "Data must be hexadecimal string (not '0')"),
            ([[spent], {"data": "00" * 256}], -8, "data must have at most 255 bytes"),
            ([[spent], {"x": 1}], -5, "Invalid address: x"),
            ([[spent], {ADDRESS: None}], -3, "Amount is not a number or string"),
            ([[spent], {ADDRESS: "1,5"}], -3, "Invalid amount"),
            ([[spent], {ADDRESS: -1}], -3, "Amount out of range"),
            ([[{}] * 10_001, paid], -8, "at most 10000 inputs and as many outputs"),
        ]:
            error = await node.rpc_error("createrawtransaction", *params)
            assert error["code"] == code, error
            assert error["message"].startswith(message), error

    on_node(scenario)


def test_a_made_transaction_pays_in_whole_grains(on_node):
    async def scenario(node):
        smallest = float(Decimal("0.00000001"))
        text = await node.rpc("createrawtransaction", [], {ADDRESS: smallest})
        assert text.endswith(KEY.script.hex() + "00000000")
        error = await node.rpc_error("createrawtransaction", [], {ADDRESS: 0.000000001})
        assert error == {"code": -3, "message": "Invalid amount"}

    on_node(scenario)
