"""PSBTs between a watching wallet, a signing one, BDK and embit."""

import base64
from dataclasses import replace

import bdkpython as bdk
import pytest
from embit import bip32, bip39
from embit import psbt as embit

from chain.primitives.key_origin import HARDENED, Origin
from chain.primitives.numbers import GRAINS_PER_GROAT, Amount, id_text, outpoint
from chain.primitives.psbt import Input, Output, Psbt, origin_field, origins, parse_psbt, signatures
from chain.primitives.transaction import Transaction, TxIn, TxOut, decode_transaction
from tests.builders import KEY, spend
from tests.wallet.commands.test_send import mempool_tx
from tests.wallet.conftest import ABANDON, LEGAL
from wallet.keys.account import Keychain

GROAT = GRAINS_PER_GROAT
STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


def make(cli, *words, wallet="eye"):
    """Return an unsigned PSBT of 1 GROAT to STRANGER."""
    return cli.json("psbt", "create", STRANGER, "1", "--fee-rate", "2", *words, wallet=wallet)


def bdk_wallet():
    secret = bdk.DescriptorSecretKey(bdk.NetworkKind.TEST, bdk.Mnemonic.from_string(ABANDON), None)
    kinds = (bdk.KeychainKind.EXTERNAL, bdk.KeychainKind.INTERNAL)
    outside, inside = (bdk.Descriptor.new_bip84(secret, k, bdk.NetworkKind.TEST) for k in kinds)
    return bdk.Wallet(outside, inside, bdk.Network.REGTEST, bdk.Persister.new_in_memory())


def test_watch_sign_and_send_on_three_machines(cli, rich, eye, regtest):
    made = make(cli)
    assert (made["complete"], made["signatures"], made["proved"]) == (False, 0, True)
    node, cli.node = cli.node, "http://127.0.0.1:1/api"  # the machine with the keys is offline
    signed = cli.json("psbt", "sign", made["psbt"], "--yes")
    assert (signed["complete"], signed["signatures"]) == (True, 1)
    cli.node = node
    sent = cli.json("psbt", "broadcast", signed["psbt"], "--yes", wallet=eye)
    tx = mempool_tx(regtest)
    assert id_text(tx.txid) == sent["txid"] == made["txid"]
    assert made["fee"] == regtest.fee_of(tx) >= 2 * tx.vsize
    assert made["fee_rate"] == "2 grain/vB"
    regtest.mine()
    assert cli.json("balance", wallet=eye)["total"] == 49 * GROAT - made["fee"]


def test_created_psbt_says_all_that_a_signer_wants(cli, rich, eye):
    made = make(cli, "--data", "hello")
    psbt = parse_psbt(made["psbt"])
    (fields,) = psbt.inputs
    assert psbt.proves_coin(0)
    assert bytes([Input.WITNESS_UTXO]) in fields
    way = (HARDENED + 84, HARDENED + 1, HARDENED, 0, 0)
    fingerprint = bytes.fromhex("73c5da0a")
    ((key, origin),) = origins(fields, Input.BIP32_DERIVATION).items()
    assert key == rich.public_key(Keychain.RECEIVE, 0)
    assert origin == Origin(fingerprint, way)
    marked = [origins(each, Output.BIP32_DERIVATION) for each in psbt.outputs]
    change = [value for value in marked if value]
    assert change == [{rich.public_key(Keychain.CHANGE, 0): Origin(fingerprint, (*way[:3], 1, 0))}]
    assert [out["change"] for out in made["outputs"]].count(True) == 1
    assert not signatures(fields)


def test_two_psbts_have_two_change_addresses(cli, rich, eye):
    addresses = [out["address"] for _ in range(2) for out in make(cli)["outputs"] if out["change"]]
    assert len(set(addresses)) == 2


def test_bdk_signs_what_we_made(cli, rich, eye, regtest):
    theirs = bdk.Psbt(make(cli)["psbt"])
    assert bdk_wallet().sign(theirs)
    cli.run("psbt", "broadcast", theirs.serialize(), "--yes", wallet=eye)
    assert len(regtest.mempool) == 1


def test_embit_signs_what_we_made(cli, rich, eye, regtest):
    theirs = embit.PSBT.parse(base64.b64decode(make(cli)["psbt"]))
    assert theirs.sign_with(bip32.HDKey.from_seed(bip39.mnemonic_to_seed(ABANDON))) == 1
    done = cli.json("psbt", "finalize", theirs.to_string(), wallet=eye)
    regtest.accept(decode_transaction(bytes.fromhex(done["hex"])))
    assert theirs.fee() == done["fee"]


def bdk_psbt(regtest, account):
    """Return a PSBT that BDK made of a payment to the account's first address."""
    regtest.mine()
    coin = regtest.builder.coinbase_coin(2)
    payment = spend([coin], [TxOut(Amount(10 * GROAT), account.script(Keychain.RECEIVE, 0))])
    regtest.accept(payment)
    wallet = bdk_wallet()
    wallet.reveal_next_address(bdk.KeychainKind.EXTERNAL)
    wallet.apply_unconfirmed_txs(
        [bdk.UnconfirmedTx(tx=bdk.Transaction(payment.raw), last_seen=1_700_000_000)]
    )
    script = bdk.Address(STRANGER, bdk.Network.REGTEST).script_pubkey()
    builder = bdk.TxBuilder().add_recipient(script, bdk.Amount.from_sat(GROAT))
    return builder.fee_rate(bdk.FeeRate.from_sat_per_vb(3)).finish(wallet)


def test_we_sign_what_bdk_made(cli, account, regtest):
    cli.make()
    regtest.mine(count=100)
    theirs = bdk_psbt(regtest, account)
    shown = cli.json("psbt", "show", theirs.serialize())
    assert [each["ours"] for each in shown["inputs"]] == [True]
    assert sorted(out["change"] for out in shown["outputs"]) == [False, True]
    assert shown["fee"] == theirs.fee()
    signed = cli.json("psbt", "sign", theirs.serialize(), "--yes")["psbt"]
    assert bdk.Psbt(signed).finalize().could_finalize
    ours = cli.json("psbt", "finalize", signed)
    bdk_tx = bdk.Psbt(signed).finalize().psbt.extract_tx()
    assert bytes(bdk_tx.serialize()).hex() == ours["hex"]
    cli.run("psbt", "broadcast", signed, "--yes")
    assert len(regtest.mempool) == 2


def test_psbt_from_a_file_its_bytes_or_standard_input(cli, rich, eye, tmp_path):
    text = make(cli)["psbt"]
    as_text, as_bytes = tmp_path / "a.psbt", tmp_path / "b.psbt"
    as_text.write_text(text + "\n")
    as_bytes.write_bytes(base64.b64decode(text))
    expected = cli.json("psbt", "show", text)
    for name in (str(as_text), str(as_bytes)):
        assert cli.json("psbt", "show", name) == expected
    assert cli.json("psbt", "show", "-", stdin=text + "\n") == expected
    cli.make(LEGAL, wallet="locked", password="secret")
    assert cli.json("psbt", "sign", "-", stdin=f"{text}\ny\n")["signatures"] == 1


@pytest.mark.parametrize("text", ["", "x", "cHNidP8", "/nowhere", "a\x00b", "-"])
def test_what_is_no_psbt_is_one_line(cli, text):
    cli.make()
    for command in ("show", "sign", "finalize", "broadcast", "combine"):
        assert "not a PSBT" in cli.error("psbt", command, text, code=2)


def test_psbt_without_inputs_is_refused_in_one_line(cli):
    cli.make()
    nothing = Psbt(Transaction(2, [], [TxOut(Amount(1), KEY.script)]), {}, (), ({},)).text()
    for command in ("show", "sign", "finalize", "combine"):
        assert "no inputs" in cli.error("psbt", command, nothing, code=2)


def test_show_says_what_it_pays_in_plain_words(cli, rich, eye):
    made = make(cli, "--data", "hello")
    text = cli.run("psbt", "show", made["psbt"]).stdout
    for words in (
        f"1.00000000 GROAT  to {STRANGER}",
        "for everyone to read: hello",
        "to the miner (2 grain/vB",
        "(change of this wallet, verified)",
        "It spends 1 of this wallet's coins, 50.00000000 GROAT.",
        "0 of 1 inputs are signed: not complete.",
    ):
        assert words in text
    cli.make(LEGAL, wallet="other")
    text = cli.run("psbt", "show", made["psbt"], wallet="other").stdout
    assert "verified" not in text
    assert "1 of its 1 inputs are not this wallet's" in text


def test_change_that_only_claims_to_be_ours_is_shown_as_a_payment(cli, rich, eye):
    """A thief exchanges the change's script and leaves the derivation that marks it."""
    psbt = parse_psbt(make(cli)["psbt"])
    (at,) = [index for index, fields in enumerate(psbt.outputs) if fields]
    outputs = list(psbt.transaction.outputs)
    outputs[at] = TxOut(outputs[at].value, KEY.script)
    old = psbt.transaction
    stolen = replace(psbt, transaction=Transaction(old.version, old.inputs, outputs, old.lock_time))
    shown = cli.json("psbt", "show", stolen.text())
    assert not any(out["ours"] for out in shown["outputs"])
    assert "verified" not in cli.run("psbt", "show", stolen.text()).stdout


def test_amounts_without_proof_are_said_to_be_so(cli, rich, eye):
    psbt = parse_psbt(make(cli)["psbt"])
    proof = bytes([Input.NON_WITNESS_UTXO])
    fields = {key: value for key, value in psbt.inputs[0].items() if key != proof}
    claimed = replace(psbt, inputs=(fields,)).text()
    assert "claimed, not proved" in cli.run("psbt", "show", claimed).stdout
    assert not cli.json("psbt", "show", claimed)["proved"]
    nothing = replace(psbt, inputs=({},)).text()
    assert "unknown fee" in cli.run("psbt", "show", nothing).stdout
    assert "it has no input of this wallet to sign" in cli.error("psbt", "sign", nothing, code=2)


@pytest.mark.usefixtures("rich")
def test_psbt_with_an_absurd_fee_is_refused_by_every_role(cli, eye, regtest):
    words = ["psbt", "create", STRANGER, "0.0001", "--fee-rate", "100"]
    assert "--force" in cli.error(*words, code=8, wallet=eye)
    made = cli.json(*words, "--force", wallet=eye)["psbt"]
    assert "--force" in cli.error("psbt", "sign", made, "--yes", code=8)
    signed = cli.json("psbt", "sign", made, "--yes", "--force")["psbt"]
    assert "--force" in cli.error("psbt", "broadcast", signed, "--yes", code=8)
    assert not regtest.mempool


def test_psbt_that_creates_money_is_refused(cli, rich, eye):
    psbt = parse_psbt(make(cli)["psbt"])
    old = psbt.transaction
    outputs = [TxOut(Amount(51 * GROAT), out.script) for out in old.outputs]
    wrong = replace(psbt, transaction=Transaction(old.version, old.inputs, outputs, old.lock_time))
    assert "pays out more" in cli.error("psbt", "sign", wrong.text(), "--yes", code=2)


@pytest.mark.parametrize("kind", [2, 3, 0x81, 0])
def test_signature_of_another_kind_is_refused(cli, rich, eye, kind):
    psbt = parse_psbt(make(cli)["psbt"])
    asked = {**psbt.inputs[0], bytes([Input.SIGHASH_TYPE]): kind.to_bytes(4, "little")}
    error = cli.error(
        "psbt", "sign", replace(psbt, inputs=(asked,)).text(), "--yes", "--json", code=2
    )
    assert "a hash type other than SIGHASH_ALL" in error


def test_only_a_yes_signs_or_sends(cli, rich, eye, regtest):
    made = make(cli)["psbt"]
    refused = cli.run("psbt", "sign", made, stdin="n\n", code=9)
    assert refused.stdout == ""
    assert "1.00000000 GROAT" in refused.stderr
    signed = cli.run("psbt", "sign", made, stdin="y\n").stdout.strip()
    cli.run("psbt", "broadcast", signed, stdin="n\n", code=9)
    assert not regtest.mempool
    assert cli.run("psbt", "broadcast", signed, stdin="y\n").stdout.strip() in map(
        id_text, regtest.mempool
    )


def test_unsigned_or_wrongly_signed_psbt_is_not_sent(cli, rich, eye, regtest):
    made = make(cli)["psbt"]
    for command in ("finalize", "broadcast"):
        assert "lacks a signature" in cli.error("psbt", command, made, code=2)
    psbt = parse_psbt(cli.json("psbt", "sign", made, "--yes")["psbt"])
    ((public, signature),) = signatures(psbt.inputs[0]).items()
    worse = signature[:-2] + bytes([signature[-2] ^ 1]) + signature[-1:]
    fields = {**psbt.inputs[0], bytes([Input.PARTIAL_SIG]) + public: worse}
    wrong = replace(psbt, inputs=(fields,))
    shown = cli.json("psbt", "show", wrong.text())
    assert shown["signatures"] == 0
    assert "lacks a signature" in cli.error("psbt", "broadcast", wrong.text(), code=2)
    final = parse_psbt(cli.json("psbt", "finalize", psbt.text())["psbt"])
    witness = bytes([Input.FINAL_SCRIPTWITNESS])
    broken = {**final.inputs[0], witness: final.inputs[0][witness].replace(signature, worse)}
    error = cli.error("psbt", "broadcast", replace(final, inputs=(broken,)).text(), code=2)
    assert "not valid" in error
    assert not regtest.mempool


def two_party_psbt(chain, first, second):
    """Return a PSBT that spends a coin of each of two accounts."""
    chain.mine(second.script(Keychain.RECEIVE, 0))
    chain.mine(count=99)
    coins = [entry[0] for entry in chain.confirmed.values()]
    coins = [
        (tx, account)
        for tx in coins
        for account in (first, second)
        if tx.outputs[0].script == account.script(Keychain.RECEIVE, 0)
    ]
    inputs, fields = [], []
    for tx, account in coins:
        inputs.append(TxIn(outpoint(tx.txid, 0)))
        place = (Keychain.RECEIVE, 0)
        way = origin_field(6, account.public_key(*place), account.key_origin(*place))
        fields.append({bytes([0]): tx.raw} | dict([way]))
    unsigned = Transaction(2, inputs, [TxOut(Amount(100 * GROAT - 1000), KEY.script)])
    return Psbt(unsigned, {}, tuple(fields), ({},))


def test_two_signers_combine(cli, rich, regtest):
    other = cli.make(LEGAL, wallet="other")
    text = two_party_psbt(regtest, rich, other).text()
    halves = [cli.json("psbt", "sign", text, "--yes", wallet=w) for w in ("default", "other")]
    assert [half["signatures"] for half in halves] == [1, 1]
    assert "1 of its 2 inputs are not" in cli.run("psbt", "show", text).stdout
    assert "lacks a signature" in cli.error("psbt", "finalize", halves[0]["psbt"], code=2)
    both = cli.json("psbt", "combine", *(half["psbt"] for half in halves))
    assert both["complete"]
    theirs = bdk.Psbt(halves[0]["psbt"]).combine(bdk.Psbt(halves[1]["psbt"]))
    assert parse_psbt(theirs.serialize()) == parse_psbt(both["psbt"])
    cli.run("psbt", "broadcast", both["psbt"], "--yes")
    assert len(regtest.mempool) == 1


def test_psbts_of_different_payments_do_not_combine(cli, rich, eye):
    texts = [make(cli)["psbt"] for _ in range(2)]
    assert "different transactions" in cli.error("psbt", "combine", *texts, code=2)
    assert cli.json("psbt", "combine", texts[0], texts[0])["psbt"] == texts[0]


def test_sign_again_and_sign_after_finalizing_change_nothing(cli, rich, eye):
    signed = cli.json("psbt", "sign", make(cli)["psbt"], "--yes")["psbt"]
    assert cli.json("psbt", "sign", signed, "--yes")["psbt"] == signed
    done = cli.json("psbt", "finalize", signed)["psbt"]
    assert cli.json("psbt", "sign", done, "--yes")["psbt"] == done
    assert cli.json("psbt", "finalize", done)["psbt"] == done


def test_own_coin_is_found_without_any_hint_where_its_key_is(cli, rich, eye):
    psbt = parse_psbt(make(cli)["psbt"])
    bare = {key: value for key, value in psbt.inputs[0].items() if key[0] != Input.BIP32_DERIVATION}
    assert cli.json("psbt", "sign", replace(psbt, inputs=(bare,)).text(), "--yes")["complete"]


def test_watching_wallet_does_not_sign(cli, rich, eye):
    error = cli.error("psbt", "sign", make(cli)["psbt"], code=5, wallet=eye)
    assert "watch-only wallet" in error
    assert error.endswith("sign with the wallet that has them")


def test_psbt_of_named_coins_and_of_everything(cli, rich, eye):
    coin = cli.json("utxos")[0]
    name = f"{coin['txid']}:{coin['vout']}"
    made = cli.json("psbt", "create", STRANGER, "max", "--from", name, wallet=eye)
    assert made["outputs"][0]["amount"] + made["fee"] == 50 * GROAT
    cli.run("freeze", name, wallet=eye)
    cli.error("psbt", "create", STRANGER, "1", code=6, wallet=eye)
