"""PSBTs on the node: created, updated, analyzed, combined and finalized without keys."""

import base64
import random
from dataclasses import replace

import pytest
from embit import psbt as embit
from embit.ec import PrivateKey

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.numbers import Amount, id_text
from chain.primitives.psbt import Input, Output, Psbt, decode_psbt, parse_psbt
from chain.primitives.transaction import Transaction, TxIn, TxOut
from chain.service.api.rpc.rawtransaction import psbt as psbt_methods
from tests.api.harness import OTHER, payment
from tests.builders import KEY, output_of

DESCRIPTOR = f"wpkh({KEY.public.hex()})"
PAYEE = script_address(OTHER.script, REGTEST.address_prefixes)
BLANK = Psbt(
    Transaction(2, [TxIn(output_of(Transaction(2, [], [])))], [TxOut(Amount(5), OTHER.script)]),
    {},
    ({},),
    ({},),
)


READING = ("decodepsbt", "analyzepsbt", "finalizepsbt", "utxoupdatepsbt")


def with_input(fields, psbt=BLANK):
    return replace(psbt, inputs=({**psbt.inputs[0], **fields},))


async def new_psbt(node, *, amount=49.999, **options):
    """Return a PSBT that spends the first coinbase, as createpsbt makes it."""
    coinbase = node.chain.blocks[0].transactions[0]
    coin = {"txid": id_text(coinbase.txid), "vout": 0}
    call = {"inputs": [coin], "outputs": {PAYEE: amount}, **options}
    reply = await node.post_rpc({"method": "createpsbt", "params": call})
    return reply.json()["result"]


async def updated(node, **options):
    return await node.rpc("utxoupdatepsbt", await new_psbt(node, **options), [DESCRIPTOR])


def signed(text):
    """Return it with a signature by embit, an independent signer."""
    theirs = embit.PSBT.parse(base64.b64decode(text))
    assert theirs.sign_with(PrivateKey(KEY.private)) == 1
    return theirs.to_string()


def test_a_psbt_goes_from_creator_to_the_mempool(on_node):
    async def scenario(node):
        await node.grow(101)
        blank = await new_psbt(node)
        assert embit.PSBT.parse(base64.b64decode(blank)).tx.vout[0].value == 4_999_900_000
        roles = [(await node.rpc("analyzepsbt", blank))["next"]]
        filled = await updated(node)
        told = await node.rpc("analyzepsbt", filled)
        roles.append(told["next"])
        assert told["fee"] == 0.001
        assert told["inputs"] == [
            {
                "has_utxo": True,
                "is_final": False,
                "missing": {"signatures": [KEY.key_hash.hex()]},
                "next": "signer",
            }
        ]
        by_embit = signed(filled)
        told = await node.rpc("analyzepsbt", by_embit)
        roles.append(told["next"])
        kept = await node.rpc("finalizepsbt", by_embit, False)
        assert kept["complete"] is True
        told_last = await node.rpc("analyzepsbt", kept["psbt"])
        roles.append(told_last["next"])
        assert told_last["inputs"] == [{"has_utxo": True, "is_final": True, "next": "extractor"}]
        assert roles == ["updater", "signer", "finalizer", "extractor"]
        done = await node.rpc("finalizepsbt", by_embit)
        assert done == await node.rpc("finalizepsbt", kept["psbt"])
        assert set(done) == {"hex", "complete"}
        vsize = (await node.rpc("decoderawtransaction", done["hex"]))["vsize"]
        assert told_last["estimated_vsize"] == vsize
        assert abs(told["estimated_vsize"] - vsize) <= 1
        assert told_last["estimated_feerate"] == 100_000 * 1000 // vsize / 10**8
        txid = await node.rpc("sendrawtransaction", done["hex"], 0)
        assert await node.rpc("getrawmempool") == [txid]

    on_node(scenario)


def test_a_psbt_is_decoded_as_it_is(on_node):
    async def scenario(node):
        await node.grow(101)
        text = signed(await updated(node))
        told = await node.rpc("decodepsbt", text)
        raw = parse_psbt(text).transaction.raw.hex()
        assert told["tx"] == await node.rpc("decoderawtransaction", raw)
        coinbase = node.chain.blocks[0].transactions[0]
        previous = await node.rpc("decoderawtransaction", coinbase.raw.hex())
        [given] = told.pop("inputs")
        assert given.pop("non_witness_utxo") == previous
        [(key, signature)] = given.pop("partial_signatures").items()
        assert key == KEY.public.hex()
        assert signature.endswith("01")
        derived = {"master_fingerprint": KEY.key_hash[:4].hex(), "path": "m"}
        assert given == {
            "witness_utxo": {
                "amount": 50,
                "scriptPubKey": await script_of(node, KEY.script),
            },
            "bip32_derivs": [{"pubkey": KEY.public.hex(), **derived}],
        }
        assert {name: told[name] for name in told if name != "tx"} == {
            "global_xpubs": [],
            "psbt_version": 0,
            "proprietary": [],
            "unknown": {},
            "outputs": [{}],
            "fee": 0.001,
        }
        final = (await node.rpc("finalizepsbt", text, False))["psbt"]
        [given] = (await node.rpc("decodepsbt", final))["inputs"]
        assert given["final_scriptwitness"] == [signature, key]

    on_node(scenario)


async def script_of(node, script):
    shape = await node.rpc("decodescript", script.hex())
    del shape["p2sh"]
    return {**shape, "hex": script.hex()}


def test_fields_of_every_kind_are_shown(on_node):
    xpub = bytes.fromhex("043587cf") + bytes(41) + KEY.public
    own = b"\xfc" + b"\x03abc" + b"\x07" + b"rest"
    fields = {
        bytes([Input.SIGHASH_TYPE]): b"\x83\x00\x00\x00",
        bytes([Input.REDEEM_SCRIPT]): OTHER.script,
        bytes([Input.WITNESS_SCRIPT]): b"\x51",
        bytes([Input.FINAL_SCRIPTSIG]): b"\x51",
        b"\x0b" + bytes(32): b"preimage",
        b"\x13": b"taproot",
        own: b"value",
        b"\xfcx": b"odd",
    }
    psbt = replace(
        with_input(fields),
        fields={b"\x01" + xpub: b"abcd\x01\x00\x00\x80", own: b"w", b"\xfe": b"z"},
        outputs=({bytes([Output.WITNESS_SCRIPT]): b"\x51", b"\x44": b"q"},),
    )

    async def scenario(node):
        told = await node.rpc("decodepsbt", psbt.text())
        shown = {"identifier": b"abc".hex(), "subtype": 7, "key": b"rest".hex()}
        odd = {"identifier": "", "subtype": 0, "key": b"x".hex(), "value": b"odd".hex()}
        [xpubs] = told["global_xpubs"]
        assert xpubs["xpub"].startswith("tpub")
        assert (xpubs["master_fingerprint"], xpubs["path"]) == (b"abcd".hex(), "m/1h")
        assert told["proprietary"] == [{**shown, "value": b"w".hex()}]
        assert told["unknown"] == {"fe": b"z".hex()}
        [given], [out] = told["inputs"], told["outputs"]
        assert given == {
            "sighash": "SINGLE|ANYONECANPAY",
            "redeem_script": {
                "asm": f"0 {OTHER.key_hash.hex()}",
                "hex": OTHER.script.hex(),
                "type": "witness_v0_keyhash",
            },
            "witness_script": {"asm": "1", "hex": "51", "type": "nonstandard"},
            "final_scriptSig": {"asm": "1", "hex": "51"},
            "sha256_preimages": {bytes(32).hex(): b"preimage".hex()},
            "proprietary": [{**shown, "value": b"value".hex()}, odd],
            "unknown": {"13": b"taproot".hex()},
        }
        assert out["witness_script"]["hex"] == "51"
        assert out["unknown"] == {"44": b"q".hex()}
        assert "fee" not in told

    on_node(scenario)


def test_what_is_no_psbt_is_refused(on_node):
    async def scenario(node):
        for method in READING:
            for text in ("", "x", "cHNidP8", BLANK.text()[:-8]):
                error = await node.rpc_error(method, text)
                assert error["code"] == -22, (method, text)
                assert error["message"].startswith("TX decode failed"), (method, text)
        assert (await node.rpc_error("combinepsbt", [BLANK.text(), "x"]))["code"] == -22

    on_node(scenario)


def test_createpsbt_has_the_choices_of_createrawtransaction_and_a_version(on_node):
    async def scenario(node):
        await node.grow(1)
        for version in (1, 3):
            tx = parse_psbt(await new_psbt(node, version=version, locktime=7)).transaction
            assert (tx.version, tx.lock_time, tx.inputs[0].sequence) == (version, 7, 0xFFFFFFFD)
        for version in (0, 4):
            error = await node.rpc_error("createpsbt", [], [], 0, True, version)
            problem = "Invalid parameter, version out of range(1~3)"
            assert error == {"code": -8, "message": problem}
        empty = decode_psbt(base64.b64decode(await node.rpc("createpsbt", [], {PAYEE: 1})))
        assert (len(empty.inputs), len(empty.outputs)) == (0, 1)
        told = await node.rpc("analyzepsbt", empty.text())
        assert (told["next"], "inputs" in told) == ("extractor", False)
        assert (await node.rpc_error("createpsbt", [{"txid": "x"}], []))["code"] == -8

    on_node(scenario)


def test_a_transaction_is_converted_with_its_signatures_dropped_only_if_allowed(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        error = await node.rpc_error("converttopsbt", tx.raw.hex())
        assert error["code"] == -22
        assert error["message"] == "Inputs must not have scriptSigs and scriptWitnesses"
        blank = await node.rpc("converttopsbt", tx.raw.hex(), True)
        assert parse_psbt(blank).transaction.raw == tx.base_raw
        assert await node.rpc("converttopsbt", tx.base_raw.hex(), False, False) == blank
        assert await node.rpc("converttopsbt", tx.base_raw.hex()) == blank
        nothing = Transaction(2, [], [TxOut(Amount(1), KEY.script)])
        assert parse_psbt(await node.rpc("converttopsbt", nothing.raw.hex())).inputs == ()
        for params in (
            ["00"],
            ["zz"],
            [tx.raw.hex(), True, False],
            [nothing.raw.hex(), True, True],
        ):
            error = {"code": -22, "message": "TX decode failed"}
            assert await node.rpc_error("converttopsbt", *params) == error, params

    on_node(scenario)


def test_psbts_of_one_transaction_are_combined(on_node):
    one = with_input({b"\x51a": b"1", b"\x51b": b"first"})
    two = with_input({b"\x51c": b"2", b"\x51b": b"second"})

    async def scenario(node):
        whole = await node.rpc("combinepsbt", [one.text(), two.text()])
        assert parse_psbt(whole).inputs == ({**two.inputs[0], **one.inputs[0]},)
        assert await node.rpc("combinepsbt", [one.text()]) == one.text()
        tx = Transaction(2, BLANK.transaction.inputs, [TxOut(Amount(6), OTHER.script)])
        other = replace(BLANK, transaction=tx).text()
        problem = "PSBTs not compatible (different transactions)"
        error = {"code": -8, "message": problem}
        assert await node.rpc_error("combinepsbt", [one.text(), other]) == error
        error = {"code": -8, "message": "Parameter 'txs' cannot be empty"}
        assert await node.rpc_error("combinepsbt", []) == error
        assert (await node.rpc_error("combinepsbt", [1]))["code"] == -3
        many = [one.text()] * (psbt_methods.COMBINED_MAX + 1)
        assert (await node.rpc_error("combinepsbt", many))["code"] == -8

    on_node(scenario)


def test_a_wrong_signature_or_another_hash_type_finalizes_nothing(on_node):
    async def scenario(node):
        await node.grow(101)
        good = parse_psbt(signed(await updated(node)))
        key = bytes([Input.PARTIAL_SIG]) + KEY.public
        fields = good.inputs[0]
        other_type = {bytes([Input.SIGHASH_TYPE]): b"\x03\x00\x00\x00"}
        der = bytes.fromhex("3006020101020101") + b"\x01"
        for spoilt in (other_type, {key: der}, {bytes([Input.FINAL_SCRIPTSIG]): b"\x51"}):
            psbt = with_input(spoilt, good)
            done = await node.rpc("finalizepsbt", psbt.text())
            assert done == {"psbt": psbt.text(), "complete": False}
            assert (await node.rpc("analyzepsbt", psbt.text()))["next"] != "extractor"
        assert (await node.rpc("finalizepsbt", with_input(fields, good).text()))["complete"]

    on_node(scenario)


def test_coins_are_filled_in_from_the_mempool_and_from_the_chain(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        await node.pool(tx)
        spend = Transaction(2, [TxIn(output_of(tx))], [TxOut(Amount(5), KEY.script)])
        blank = Psbt(spend, {}, ({},), ({},))
        filled = parse_psbt(await node.rpc("utxoupdatepsbt", blank.text()))
        assert filled.inputs[0] == {
            bytes([Input.NON_WITNESS_UTXO]): tx.raw,
            bytes([Input.WITNESS_UTXO]): tx.outputs[0].encode(),
        }
        other = {"desc": f"wpkh({OTHER.public.hex()})"}
        own = await node.rpc("utxoupdatepsbt", blank.text(), [DESCRIPTOR, other])
        told = await node.rpc("decodepsbt", own)
        assert [i["bip32_derivs"][0]["pubkey"] for i in told["inputs"]] == [OTHER.public.hex()]
        assert [o["bip32_derivs"][0]["pubkey"] for o in told["outputs"]] == [KEY.public.hex()]
        assert await node.rpc("utxoupdatepsbt", BLANK.text()) == BLANK.text(), "of no known coin"
        await node.mine([tx], fees=1000)
        assert parse_psbt(await node.rpc("utxoupdatepsbt", blank.text())) == filled
        lie = with_input({bytes([Input.WITNESS_UTXO]): TxOut(Amount(9), b"").encode()}, blank)
        error = await node.rpc_error("utxoupdatepsbt", lie.text())
        assert error == {"code": -8, "message": "input 0 describes another coin than it spends"}
        assert (await node.rpc_error("utxoupdatepsbt", blank.text(), ["foo"]))["code"] == -5

    on_node(scenario)


def test_a_filled_in_psbt_has_a_limit(on_node, monkeypatch):
    async def scenario(node):
        await node.grow(101)
        blank = await new_psbt(node)
        size = sum(map(len, parse_psbt(await updated(node)).inputs[0].values()))
        monkeypatch.setattr(psbt_methods, "PSBT_BYTES_MAX", size)
        assert await node.rpc("utxoupdatepsbt", blank, [DESCRIPTOR]) == await updated(node)
        monkeypatch.setattr(psbt_methods, "PSBT_BYTES_MAX", size - 1)
        assert (await node.rpc_error("utxoupdatepsbt", blank, [DESCRIPTOR]))["code"] == -8

    on_node(scenario)


P2SH = b"\xa9\x14" + bytes(20) + b"\x87"
P2WSH = b"\x00\x20" + bytes(32)


@pytest.mark.parametrize(
    ("script", "missing"),
    [
        (KEY.script, {"pubkeys": [KEY.key_hash.hex()]}),
        (P2SH, {"redeemscript": "00" * 20}),
        (P2WSH, {"witnessscript": "00" * 32}),
        (b"\x51", None),
    ],
)
def test_what_an_input_lacks_is_told(on_node, script, missing):
    coin = {bytes([Input.WITNESS_UTXO]): TxOut(Amount(1000), script).encode()}

    async def scenario(node):
        told = await node.rpc("analyzepsbt", with_input(coin).text())
        state = {"has_utxo": True, "is_final": False, "next": "updater"}
        assert told["inputs"] == [{**state, "missing": missing} if missing else state]
        assert (told["fee"], told["next"]) == (995 / 10**8, "updater")
        assert "estimated_vsize" not in told

    on_node(scenario)


@pytest.mark.parametrize(
    ("coin", "pays", "error"),
    [
        (TxOut(Amount(1000), b"\x6a"), 5, "Input 0 spends unspendable output"),
        (TxOut(Amount(1000), KEY.script), -1, "Output amount invalid"),
        (TxOut(Amount(1000), KEY.script), 21_000_001 * 10**8, "Output amount invalid"),
    ],
)
def test_a_psbt_that_can_never_be_a_payment_goes_back_to_its_creator(on_node, coin, pays, error):
    tx = Transaction(2, BLANK.transaction.inputs, [TxOut(Amount(pays), OTHER.script)])
    psbt = with_input({bytes([Input.WITNESS_UTXO]): coin.encode()}, replace(BLANK, transaction=tx))

    async def scenario(node):
        told = await node.rpc("analyzepsbt", psbt.text())
        assert told == {"next": "creator", "error": f"PSBT is not valid. {error}"}
        assert "fee" not in await node.rpc("decodepsbt", psbt.text()) or pays == 5

    on_node(scenario)


def test_any_damaged_psbt_is_refused_or_told_of_and_breaks_nothing(on_node):
    rng = random.Random(3)
    xpub = b"\x01\x04\x35\x87\xcf" + bytes(41) + KEY.public
    fields = {
        bytes([Input.SIGHASH_TYPE]): b"\x01\x00\x00\x00",
        bytes([Input.FINAL_SCRIPTSIG]): b"",
        bytes([Input.REDEEM_SCRIPT]): OTHER.script,
        b"\x0a" + bytes(20): b"preimage",
        b"\xfc\x03abc\x07rest": b"value",
    }

    async def scenario(node):
        await node.grow(101)
        whole = parse_psbt(signed(await updated(node)))
        whole = replace(with_input(fields, whole), fields={xpub: b"abcd"})
        final = (await node.rpc("finalizepsbt", signed(await updated(node)), False))["psbt"]
        calls = []
        for raw in [whole.encode()] * 30 + [base64.b64decode(final)] * 15:
            damaged = bytearray(raw)
            for _ in range(rng.randrange(3)):
                damaged[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
            params = [base64.b64encode(damaged).decode()]
            calls += [{"method": method, "params": params} for method in READING]
        errors = [answer["error"] for answer in (await node.post_rpc(calls)).json()]
        assert {error["code"] for error in errors if error} <= {-22, -8}
        assert errors.count(None) > 50

    on_node(scenario)
