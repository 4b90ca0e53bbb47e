"""PSBTs made by somebody who wants the signer's coins."""

from dataclasses import replace

import pytest

from chain.primitives.numbers import GRAINS_PER_GROAT, Amount, id_text
from chain.primitives.psbt import Input, Output, origin_field, parse_psbt
from chain.primitives.transaction import Transaction, TxOut
from tests.wallet.psbt.test_cosign import STRANGER, make
from wallet.keys.account import Keychain

GROAT = GRAINS_PER_GROAT


def without_proof(psbt):
    proof = bytes([Input.NON_WITNESS_UTXO])
    fields = ({k: v for k, v in each.items() if k != proof} for each in psbt.inputs)
    return replace(psbt, inputs=tuple(fields))


def test_two_lies_about_amounts_do_not_make_a_fee_that_nobody_saw(cli, rich, regtest):
    """Each PSBT understates another coin; a signature of each makes one transaction of a huge fee.

    That is why what own coins are worth must be proved (CVE-2020-14199).
    """
    regtest.mine(rich.script(Keychain.RECEIVE, 1))
    regtest.mine(count=99)
    coins = [f"{coin['txid']}:{coin['vout']}" for coin in cli.json("utxos")]
    flags = ["--from", coins[0], "--from", coins[1], "--fee-rate", "2"]
    made = cli.json("psbt", "create", STRANGER, "max", *flags)
    psbt = parse_psbt(made["psbt"])
    witness_utxo = bytes([Input.WITNESS_UTXO])
    outputs = [TxOut(Amount(51 * GROAT - 1000), out.script) for out in psbt.transaction.outputs]
    old = psbt.transaction
    cheat = replace(psbt, transaction=Transaction(2, old.inputs, outputs, old.lock_time))
    for at in range(2):
        fields = list(without_proof(cheat).inputs)
        script = psbt.coin(at).script
        fields[at] = {**fields[at], witness_utxo: TxOut(Amount(GROAT), script).encode()}
        text = replace(cheat, inputs=tuple(fields)).text()
        assert cli.json("psbt", "show", text)["fee"] == 1000, "it looks harmless"
        assert "claimed, not proved" in cli.error("psbt", "sign", text, "--yes", code=8)
    assert cli.json("psbt", "sign", without_proof(psbt).text(), "--yes", "--force")["complete"]


def far_change(psbt, account, index):
    """Return the PSBT with its change at another address of the account, marked as such."""
    (at,) = [at for at, fields in enumerate(psbt.outputs) if fields]
    outputs, fields = list(psbt.transaction.outputs), list(psbt.outputs)
    place = (Keychain.CHANGE, index)
    outputs[at] = TxOut(outputs[at].value, account.script(*place))
    way = origin_field(
        Output.BIP32_DERIVATION, account.public_key(*place), account.key_origin(*place)
    )
    fields[at] = dict([way])
    old = psbt.transaction
    changed = Transaction(old.version, old.inputs, outputs, old.lock_time)
    return replace(psbt, transaction=changed, outputs=tuple(fields)).text()


@pytest.mark.parametrize(("index", "code"), [(19, 0), (20, 8), (2**31 - 1, 8)])
def test_change_where_a_restored_wallet_would_not_look_takes_force(cli, rich, eye, index, code):
    """Whoever made the PSBT knows the number and could sell it."""
    text = far_change(parse_psbt(make(cli)["psbt"]), rich, index)
    result = cli.run("psbt", "sign", text, "--yes", code=code)
    assert ("would not find it" in result.stderr) == bool(code)
    assert ("verified" in cli.run("psbt", "show", text).stdout) != bool(code)
    assert cli.json("psbt", "sign", text, "--yes", "--force")["complete"]
    cli.run("balance")


def test_signer_without_a_node_keeps_up_with_the_addresses_that_it_signed_for(cli, rich, eye):
    psbt = parse_psbt(make(cli)["psbt"])
    for index, is_warned in ((19, False), (38, True)):
        done = cli.run("psbt", "sign", far_change(psbt, rich, index), "--yes")
        assert (f"change address {index} is over 20 behind" in done.stderr) == is_warned
    cli.run("psbt", "sign", far_change(psbt, rich, 59), "--yes", code=8)


def test_psbts_that_contradict_each_other_about_a_coin_do_not_combine(cli, rich, eye):
    psbt = parse_psbt(make(cli)["psbt"])
    lie = TxOut(Amount(GROAT), psbt.coin(0).script).encode()
    (fields,) = without_proof(psbt).inputs
    liar = replace(psbt, inputs=({**fields, bytes([Input.WITNESS_UTXO]): lie},))
    for texts in ((liar.text(), psbt.text()), (psbt.text(), liar.text())):
        if texts[0] == liar.text():
            assert "contradict" in cli.error("psbt", "combine", *texts, code=2)
        else:
            assert cli.json("psbt", "combine", *texts)["psbt"] == psbt.text(), "the first counts"


def test_finalized_input_with_a_wrong_witness_is_not_called_signed(cli, rich, eye):
    signed = cli.json("psbt", "sign", make(cli)["psbt"], "--yes")["psbt"]
    final = parse_psbt(cli.json("psbt", "finalize", signed)["psbt"])
    assert cli.json("psbt", "show", final.text())["complete"]
    witness = bytes([Input.FINAL_SCRIPTWITNESS])
    for garbage in (b"\x01\x00", b"\x02\x00\x00", b"\x02\x01\x30\x21" + bytes(33)):
        wrong = replace(final, inputs=({**final.inputs[0], witness: garbage},))
        assert not cli.json("psbt", "show", wrong.text())["complete"]


def test_psbt_that_spends_a_coin_twice_is_not_signed(cli, rich, eye):
    psbt = parse_psbt(make(cli)["psbt"])
    old = psbt.transaction
    doubled = Transaction(old.version, old.inputs * 2, old.outputs, old.lock_time)
    twice = replace(psbt, transaction=doubled, inputs=psbt.inputs * 2)
    error = cli.error("psbt", "sign", twice.text(), "--yes", "--force", code=2)
    assert "bad-txns-inputs-duplicate" in error


def test_watching_wallet_makes_bump_and_child_for_the_signer(cli, rich, eye, regtest):
    first = cli.json("send", STRANGER, "1", "--fee-rate", "2", "--yes")["txid"]
    made = cli.json("bump", first, "--fee-rate", "9", "--unsigned", wallet=eye)
    assert not made["complete"]
    signed = cli.json("psbt", "sign", made["psbt"], "--yes")["psbt"]
    sent = cli.json("psbt", "broadcast", signed, "--yes", wallet=eye)["txid"]
    assert list(map(id_text, regtest.mempool)) == [sent]
    made = cli.json("cpfp", sent, "--fee-rate", "20", "--unsigned", wallet=eye)
    signed = cli.json("psbt", "sign", made["psbt"], "--yes")["psbt"]
    cli.run("psbt", "broadcast", signed, "--yes", wallet=eye)
    assert len(regtest.mempool) == 2
