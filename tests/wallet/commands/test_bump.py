"""bump, cpfp and broadcast against a server that demands what BIP125 demands."""

from dataclasses import replace

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.numbers import GRAINS_PER_GROAT, id_text, outpoint
from chain.primitives.transaction import Transaction, TxOut, decode_transaction
from tests.builders import KEY, spend
from tests.wallet.commands.test_send import mempool_tx
from tests.wallet.conftest import LEGAL
from wallet.keys.account import Keychain

GROAT = GRAINS_PER_GROAT
STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


def outputs_to_others(tx, account):
    own = {account.script(branch, index) for branch in Keychain for index in range(5)}
    return [out for out in tx.outputs if out.script not in own]


def pay(cli, *words):
    return cli.json("send", *words, "--fee-rate", "2", "--yes")


def stranger_coin(chain):
    """A mature coin of KEY's, beside those of the wallet."""
    chain.mine()
    return chain.builder.coinbase_coin(2)


def rate_of(regtest, *txs):
    return sum(map(regtest.fee_of, txs)) / sum(tx.vsize for tx in txs)


def test_bump_takes_the_fee_from_the_change_and_pays_others_the_same(cli, rich, regtest):
    first = pay(cli, STRANGER, "1", "--data", "hello")
    before = mempool_tx(regtest)
    done = cli.json("bump", first["txid"], "--fee-rate", "10", "--yes")
    after = mempool_tx(regtest)
    assert after.txid != before.txid
    assert done["replaces"] == first["txid"]
    assert outputs_to_others(after, rich) == outputs_to_others(before, rich)
    assert 10 <= rate_of(regtest, after) < 10.1
    assert done["change"] == first["change"] - (done["fee"] - first["fee"])
    changes = [out.script for out in after.outputs if out.value == done["change"]]
    assert changes == [rich.script(Keychain.CHANGE, 0)], "the change address stays"
    assert {i.outpoint for i in after.inputs} == {i.outpoint for i in before.inputs}
    assert {i.sequence for i in after.inputs} == {0xFFFFFFFD}


def test_bump_twice_and_confirm(cli, rich, regtest):
    txid = pay(cli, STRANGER, "1")["txid"]
    for rate in ("5", "9"):
        done = cli.json("bump", txid, "--fee-rate", rate, "--yes")
        txid = done["txid"]
    regtest.mine()
    assert cli.json("balance")["total"] == 49 * GROAT - done["fee"]
    assert "confirmed already" in cli.error("bump", txid, "--fee-rate", "20", code=2)


def test_bump_adds_coins_when_the_change_does_not_suffice(cli, rich, regtest):
    regtest.mine(rich.script(Keychain.RECEIVE, 1))
    regtest.mine(count=99)
    first = pay(cli, STRANGER, "49.9999")
    done = cli.json("bump", first["txid"], "--fee-rate", "100", "--yes")
    tx = mempool_tx(regtest)
    assert len(tx.inputs) == 2
    assert [out.value for out in outputs_to_others(tx, rich)] == [4_999_990_000]
    assert done["change"] > 49 * GROAT
    assert rate_of(regtest, tx) >= 100


def test_bump_without_change_makes_some(cli, rich, regtest):
    regtest.mine(rich.script(Keychain.RECEIVE, 1))
    regtest.mine(count=99)
    coin = cli.json("utxos")[0]
    name = f"{coin['txid']}:{coin['vout']}"
    first = pay(cli, STRANGER, "max", "--from", name)
    done = cli.json("bump", first["txid"], "--fee-rate", "5", "--yes")
    assert first["change"] == 0
    assert done["amount"] == first["amount"]
    assert done["change"] > 0


def test_bump_drops_change_that_became_dust(cli, rich, regtest):
    first = pay(cli, STRANGER, "49.99998500")
    assert first["change"] > 1000
    done = cli.json("bump", first["txid"], "--fee-rate", "10", "--yes")
    assert done["change"] == 0
    assert len(mempool_tx(regtest).outputs) == 1
    assert done["fee"] == 1500


def test_bump_adds_no_unconfirmed_coins(cli, rich, regtest):
    """BIP125, rule 2; the change of another payment would be enough."""
    regtest.mine(rich.script(Keychain.RECEIVE, 1))
    regtest.mine(count=99)
    names = [f"{coin['txid']}:{coin['vout']}" for coin in cli.json("utxos")]
    first = pay(cli, STRANGER, "max", "--from", names[0])
    pay(cli, STRANGER, "1", "--from", names[1])
    words = ["bump", first["txid"], "--fee-rate", "5", "--yes"]
    assert "not enough" in cli.error(*words, code=6)
    regtest.mempool.pop(bytes.fromhex(first["txid"])[::-1])
    regtest.mine()
    regtest.accept(decode_transaction(bytes.fromhex(first["hex"])))
    assert cli.json(*words)["change"] > 0, "confirmed, it may"


@pytest.mark.usefixtures("rich")
def test_bump_without_the_means_is_refused_and_the_payment_stays(cli, regtest):
    first = pay(cli, STRANGER, "max")
    assert "do not pay a fee" in cli.error(
        "bump", first["txid"], "--fee-rate", "5", "--yes", code=6
    )
    assert list(map(id_text, regtest.mempool)) == [first["txid"]]


@pytest.mark.usefixtures("rich")
@pytest.mark.parametrize(
    ("rate", "code", "hint"),
    [
        ("2", 2, "at least 3 grain/vB"),
        ("2.9", 2, "at least 3 grain/vB"),
        ("0", 2, "more than 0"),
        ("x", 2, "grain/vB"),
        ("1001", 8, "--force"),
    ],
)
def test_bump_at_a_wrong_rate_is_refused(cli, rate, code, hint):
    txid = pay(cli, STRANGER, "1")["txid"]
    assert hint in cli.error("bump", txid, "--fee-rate", rate, "--yes", code=code)


@pytest.mark.usefixtures("rich")
def test_bump_over_a_tenth_of_the_payment_takes_force(cli, regtest):
    txid = pay(cli, STRANGER, "0.0001")["txid"]
    words = ["bump", txid, "--fee-rate", "20", "--yes"]
    assert "over 10 % of the payment" in cli.error(*words, code=8)
    cli.run(*words, "--force")
    assert rate_of(regtest, mempool_tx(regtest)) >= 20


@pytest.mark.usefixtures("rich")
def test_bump_says_what_it_does_and_only_a_yes_sends(cli, regtest):
    txid = pay(cli, STRANGER, "1")["txid"]
    asked = cli.run("bump", txid, "--fee-rate", "10", stdin="n\n", code=9).stderr
    for words in (f"replaces {txid}", f"1.00000000 GROAT  to {STRANGER}", "10 grain/vB"):
        assert words in asked
    tried = cli.run("bump", txid, "--fee-rate", "10", "--dry-run")
    assert f"This would replace {txid} and pay\n" in tried.stderr
    tx = decode_transaction(bytes.fromhex(tried.stdout))
    assert list(map(id_text, regtest.mempool)) == [txid]
    regtest.accept(tx)
    assert mempool_tx(regtest) == tx


def test_bump_of_what_is_not_an_own_lone_payment_is_refused(cli, rich, regtest):
    coin = stranger_coin(regtest)
    others = spend([coin], [TxOut(GROAT, rich.script(Keychain.RECEIVE, 1))])
    regtest.accept(others)
    unknown = cli.error("bump", "00" * 32, "--fee-rate", "9", code=2)
    assert "has no transaction" in unknown
    error = cli.error("bump", id_text(others.txid), "--fee-rate", "9", code=2)
    assert "cpfp" in error
    parent = pay(cli, STRANGER, "1")["txid"]
    child = pay(cli, STRANGER, "2")["txid"]
    error = cli.error("bump", parent, "--fee-rate", "9", code=2)
    assert f"{child} spends from {parent}" in error


def test_child_pays_for_a_payment_that_came(cli, rich, regtest):
    coin = stranger_coin(regtest)
    rest = TxOut(49 * GROAT - 141, KEY.script)
    parent = spend([coin], [TxOut(GROAT, rich.script(Keychain.RECEIVE, 1)), rest])
    regtest.accept(parent)
    assert rate_of(regtest, parent) == 1
    done = cli.json("cpfp", id_text(parent.txid), "--fee-rate", "30", "--yes")
    child = list(regtest.mempool.values())[-1]
    assert [txin.outpoint for txin in child.inputs] == [outpoint(parent.txid, 0)]
    assert 30 <= rate_of(regtest, parent, child) < 30.2
    assert [out.script for out in child.outputs] == [rich.script(Keychain.CHANGE, 0)]
    assert done["amount"] == 0
    assert done["parent"] == id_text(parent.txid)
    again = pay(cli, STRANGER, "1")
    assert again["change"] > 0
    scripts = [out.script for tx in regtest.mempool.values() for out in tx.outputs]
    assert scripts.count(rich.script(Keychain.CHANGE, 0)) == 1, "no address twice"


def test_child_pays_for_grandparents_too(cli, rich, regtest):
    first = pay(cli, STRANGER, "1")["txid"]
    second = pay(cli, STRANGER, "1")["txid"]
    cli.run("cpfp", second, "--fee-rate", "50", "--yes")
    assert 50 <= rate_of(regtest, *regtest.mempool.values()) < 50.2
    assert first != second


def test_child_counts_a_parent_of_two_inputs_once(cli, rich, regtest):
    own = rich.address(Keychain.RECEIVE, 1)
    pay(cli, own, "20")
    coins = [f"{coin['txid']}:{coin['vout']}" for coin in cli.json("utxos")]
    assert len(coins) == 2
    flags = ["--from", coins[0], "--from", coins[1]]
    both = pay(cli, rich.address(Keychain.RECEIVE, 2), "max", *flags)
    cli.run("cpfp", both["txid"], "--fee-rate", "50", "--yes")
    assert 50 <= rate_of(regtest, *regtest.mempool.values()) < 50.2


def test_child_takes_more_coins_if_the_payment_is_small(cli, rich, regtest):
    coin = stranger_coin(regtest)
    rest = TxOut(50 * GROAT - 1000 - 141, KEY.script)
    parent = spend([coin], [TxOut(1000, rich.script(Keychain.RECEIVE, 1)), rest])
    regtest.accept(parent)
    cli.run("cpfp", id_text(parent.txid), "--fee-rate", "30", "--yes")
    child = list(regtest.mempool.values())[-1]
    assert len(child.inputs) == 2
    assert 30 <= rate_of(regtest, parent, child) < 30.2


@pytest.mark.usefixtures("rich")
def test_child_that_makes_no_sense_is_refused(cli, regtest):
    txid = pay(cli, STRANGER, "1")["txid"]
    everything = cli.json("utxos")
    assert "pays 2" in cli.error("cpfp", txid, "--fee-rate", "2", code=2)
    assert "no transaction" in cli.error("cpfp", "00" * 32, "--fee-rate", "9", code=2)
    regtest.mine()
    assert "confirmed already" in cli.error("cpfp", txid, "--fee-rate", "9", code=2)
    last = pay(cli, STRANGER, "max")["txid"]
    assert "pays nothing to this wallet" in cli.error("cpfp", last, "--fee-rate", "9", code=2)
    assert len(everything) == 1


@pytest.mark.usefixtures("rich")
def test_child_summary_names_both_rates(cli):
    txid = pay(cli, STRANGER, "1")["txid"]
    asked = cli.run("cpfp", txid, "--fee-rate", "30", stdin="n\n", code=9).stderr
    assert "30 grain/vB instead of 2" in asked
    assert txid in asked


def test_broadcast_of_a_transaction_made_before(cli, rich, regtest):
    raw = cli.run("send", STRANGER, "1", "--dry-run").stdout.strip()
    for _ in range(2):
        sent = cli.json("broadcast", raw)
        assert list(map(id_text, regtest.mempool)) == [sent["txid"]]
    cli.run("history")
    assert cli.json("broadcast", sent["txid"])["txid"] == sent["txid"]


@pytest.mark.usefixtures("rich")
def test_broadcast_of_nonsense_is_refused(cli):
    for text in ("zz", "00", "", "00" * 31):
        assert "not a transaction" in cli.error("broadcast", text, code=2)
    assert "has no transaction" in cli.error("broadcast", "00" * 32, code=2)
    coin = stranger_coin(cli.chain)
    tx = spend([coin], [TxOut(51 * GROAT, KEY.script)])
    assert "bad-txns-in-belowout" in cli.error("broadcast", tx.raw.hex(), code=7)


def test_payment_in_doubt_is_sent_once_more_by_its_id(cli, rich, stub, regtest):
    stub.override["/api/tx"] = (502, b"bad gateway")
    error = cli.error("send", STRANGER, "30", "--yes", "--json", code=3)
    (line,) = [line for line in cli.json("history") if not line["confirmations"]]
    assert line["status"] == "sent"
    assert line["txid"] in error
    shown = cli.run("history")
    assert " not seen yet sent " in " ".join(shown.stdout.split()), "the date column says no kind"
    assert f"{line['txid']} was sent, but the node has not shown it yet" in shown.stderr
    del stub.override["/api/tx"]
    cli.run("broadcast", line["txid"])
    assert list(map(id_text, regtest.mempool)) == [line["txid"]]
    assert cli.json("history")[0]["status"] == "unconfirmed"


def test_another_wallet_cannot_bump(cli, rich, regtest):
    txid = pay(cli, STRANGER, "1")["txid"]
    cli.make(LEGAL, wallet="other")
    assert "has no transaction" in cli.error(
        "bump", txid, "--fee-rate", "9", code=2, wallet="other"
    )


def test_bump_whose_answer_was_lost_stands_in_for_the_payment(cli, rich, stub, regtest):
    first = pay(cli, STRANGER, "1")
    stub.override["/api/tx"] = (502, b"bad gateway")
    cli.run("bump", first["txid"], "--fee-rate", "10", "--yes", code=3)
    del stub.override["/api/tx"]
    shown = [line for line in cli.json("history") if not line["confirmations"]]
    assert [line["txid"] for line in shown] == [first["txid"]], "the node has that one still"
    regtest.mempool.clear()
    shown = [line for line in cli.json("history") if not line["confirmations"]]
    assert [line["status"] for line in shown] == ["sent", "replaced"]
    cli.run("broadcast", shown[0]["txid"])
    assert rate_of(regtest, mempool_tx(regtest)) >= 10


def test_refused_bump_leaves_the_payment_pending(cli, rich, stub, regtest):
    first = pay(cli, STRANGER, "1")
    stub.override["/api/tx"] = (400, b"insufficient fee, rejecting replacement")
    cli.run("bump", first["txid"], "--fee-rate", "10", "--yes", code=7)
    regtest.mempool.clear()
    (line,) = [line for line in cli.json("history") if not line["confirmations"]]
    assert (line["txid"], line["status"]) == (first["txid"], "sent")


@pytest.mark.usefixtures("rich")
def test_bump_and_child_of_a_replaced_payment_name_the_other(cli):
    first = pay(cli, STRANGER, "1")["txid"]
    second = cli.json("bump", first, "--fee-rate", "9", "--yes")["txid"]
    for command in ("bump", "cpfp"):
        error = cli.error(command, first, "--fee-rate", "30", code=2)
        assert error == f"{first} was replaced by {second}"


@pytest.mark.usefixtures("rich")
def test_child_tells_its_own_fee_rate(cli, regtest):
    txid = pay(cli, STRANGER, "1")["txid"]
    done = cli.json("cpfp", txid, "--fee-rate", "30", "--yes")
    child = list(regtest.mempool.values())[-1]
    assert float(done["fee_rate"].split()[0]) == pytest.approx(rate_of(regtest, child), rel=0.02)


def test_child_of_a_payment_that_a_reorganisation_undoes_meanwhile(cli, rich, stub, regtest):
    """The scan saw it in a block, the question about its ancestors did not."""
    txid = pay(cli, STRANGER, "1")["txid"]
    regtest.mine()
    stub.override[f"/api/tx/{txid}/status"] = (200, b'{"confirmed": false}')
    assert "not enough" in cli.error("cpfp", txid, "--fee-rate", "30000000", "--force", code=6)


def test_payment_that_the_server_made_up_is_not_bumped(cli, rich, stub, regtest):
    """It takes the coins of a real one to the server's own address; to bump it would sign that."""
    pay(cli, STRANGER, "1")
    real = mempool_tx(regtest)
    outputs = [replace(out, script=KEY.script) for out in real.outputs]
    forged = Transaction(real.version, real.inputs, outputs, real.lock_time)
    regtest.mempool = {forged.txid: forged}
    for _ in range(2):
        error = cli.error("bump", id_text(forged.txid), "--fee-rate", "9", "--yes", code=2)
        assert "not signed by this wallet" in error
        unsigned = [replace(txin, witness=()) for txin in forged.inputs]
        bare = Transaction(real.version, unsigned, outputs, real.lock_time)
        regtest.mempool = {bare.txid: bare}


@pytest.mark.parametrize(("estimate", "picked"), [(3, 7), (40, 40)])
def test_bump_picks_the_nodes_rate_and_at_least_5_more(cli, rich, regtest, estimate, picked):
    first = pay(cli, STRANGER, "1")["txid"]
    regtest.estimates = {"6": estimate}
    done = cli.run("bump", first, "--yes")
    tx = mempool_tx(regtest)
    assert done.stdout.strip() == id_text(tx.txid)
    assert picked <= rate_of(regtest, tx) < picked + 0.2
    assert f"({picked}" in done.stderr


def spent_by_its_recipient(cli, regtest, fee, *, generations=1):
    """A payment to KEY with a chain of KEY's transactions, each of `fee`, that spend from it."""
    parent = pay(cli, script_address(KEY.script, REGTEST.address_prefixes), "1")
    tx = mempool_tx(regtest)
    (index,) = [at for at, out in enumerate(tx.outputs) if out.script == KEY.script]
    point, value = outpoint(tx.txid, index), GROAT
    for _ in range(generations):
        value -= fee
        child = spend([(point, regtest.outputs[point])], [TxOut(value, KEY.script)])
        regtest.accept(child)
        point = outpoint(child.txid, 0)
    return parent["txid"]


@pytest.mark.parametrize("generations", [1, 3])
def test_bump_without_a_rate_pays_the_fees_of_what_spends_from_the_payment(
    cli, rich, regtest, generations
):
    txid = spent_by_its_recipient(cli, regtest, 1_000, generations=generations)
    replaced = sum(map(regtest.fee_of, regtest.mempool.values()))
    done = cli.run("bump", txid, "--yes")
    tx = mempool_tx(regtest)
    assert regtest.fee_of(tx) >= replaced + tx.vsize
    count = {1: "1 transaction of others that spends", 3: "3 transactions of others that spend"}
    assert count[generations] in done.stderr


def test_bump_at_a_rate_below_what_it_drops_names_the_least_that_does(cli, rich, regtest):
    txid = spent_by_its_recipient(cli, regtest, 1_000)
    error = cli.error("bump", txid, "--fee-rate", "9", "--yes", code=2)
    assert "at least 10.093 grain/vB: it drops 1 transaction of others" in error
    below = cli.error("bump", txid, "--fee-rate", "10.08", "--yes", code=2)
    assert below == error
    cli.run("bump", txid, "--fee-rate", "10.093", "--yes")
    assert len(regtest.mempool) == 1


def test_bump_by_a_server_without_outspends_goes_on_as_if_nobody_spent(cli, rich, regtest, stub):
    txid = pay(cli, STRANGER, "1")["txid"]
    stub.lacks.add("outspends")
    cli.run("bump", txid, "--fee-rate", "9", "--yes")
    assert rate_of(regtest, mempool_tx(regtest)) >= 9


@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b"[1]",
        b'[{"spent": true}]',
        b'[{"spent": true, "txid": "x"}]',
        b'[{"spent": true, "txid": "%s"}]' % (b"0" * 64),
    ],
)
def test_bump_does_not_believe_a_spender_that_does_not_exist(cli, rich, regtest, stub, answer):
    txid = pay(cli, STRANGER, "1")["txid"]
    stub.override[f"/api/tx/{txid}/outspends"] = (200, answer)
    cli.error("bump", txid, "--fee-rate", "9", "--yes", code=3)
    assert list(map(id_text, regtest.mempool)) == [txid]


def test_bump_does_not_believe_a_spender_that_spends_something_else(cli, rich, regtest, stub):
    other = spend([stranger_coin(regtest)], [TxOut(GROAT, KEY.script)])
    regtest.accept(other)
    txid = pay(cli, STRANGER, "1")["txid"]
    listed = b'[{"spent": true, "txid": "%s"}]' % id_text(other.txid).encode()
    stub.override[f"/api/tx/{txid}/outspends"] = (200, listed)
    error = cli.error("bump", txid, "--fee-rate", "9", "--yes", code=3)
    assert "does not spend" in error


def test_bump_for_a_target_takes_its_estimate(cli, rich, regtest):
    first = pay(cli, STRANGER, "1")["txid"]
    regtest.estimates = {"1": 90, "6": 10}
    cli.run("bump", first, "--yes", "--target", "1")
    assert rate_of(regtest, mempool_tx(regtest)) >= 90
    error = cli.error("bump", first, "--target", "1", "--fee-rate", "9", code=2)
    assert "exclude each other" in error


def test_bumps_without_a_rate_can_follow_one_another(cli, rich, regtest):
    txid = pay(cli, STRANGER, "1")["txid"]
    for _ in range(3):
        txid = cli.json("bump", txid, "--yes")["txid"]
    assert rate_of(regtest, mempool_tx(regtest)) >= 17


def test_cpfp_picks_a_rate_too(cli, rich, regtest):
    parent = pay(cli, STRANGER, "1")
    cli.run("cpfp", parent["txid"], "--yes")
    assert 7 <= rate_of(regtest, *regtest.mempool.values()) < 7.3


def test_a_label_goes_with_the_payment_to_its_replacement(cli, rich):
    first = pay(cli, STRANGER, "1", "--label", "tea")["txid"]
    second = cli.json("bump", first, "--yes")["txid"]
    labels = {line["txid"]: line["label"] for line in cli.json("history")}
    assert labels[second] == labels[first] == "tea"
