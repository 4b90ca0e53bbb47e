"""`groat-wallet send` against a server that validates what it gets."""

import json
import subprocess
import sys

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.numbers import GRAINS_PER_GROAT
from chain.primitives.transaction import decode_transaction
from wallet.keys.account import Keychain
from wallet.store.folder import wallet_folder
from wallet.store.state import PENDING_AGE_S_MAX

GROAT = GRAINS_PER_GROAT
PAYEE = "bcrt1qd7spv5q28348xl4myc8zmh983w5jx32cs707jh"  # the next address of the same wallet
STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
OTHER = "bcrt1qwqdg6squsna38e46795at95yu9atm8azzmyvckulcc7kytlcckxswvvzej"  # P2WSH


def mempool_tx(regtest):
    (tx,) = regtest.mempool.values()
    return tx


def test_send_pays_the_recipient_and_returns_the_change(cli, rich, regtest):
    done = cli.json("send", PAYEE, "1.5", "--fee-rate", "2", "--yes")
    tx = mempool_tx(regtest)
    values = {out.script: out.value for out in tx.outputs}
    assert values[rich.script(Keychain.RECEIVE, 1)] == 150_000_000
    assert values[rich.script(Keychain.CHANGE, 0)] == 50 * GROAT - 150_000_000 - done["fee"]
    assert done["fee"] == regtest.fee_of(tx) >= 2 * tx.vsize
    assert done["fee"] <= 2 * (tx.vsize + 1)
    assert done["txid"] == bytes(reversed(tx.txid)).hex()
    regtest.mine()
    assert cli.json("balance")["trusted"] == 50 * GROAT - done["fee"]


def test_send_signals_replacement_and_locks_to_the_tip(cli, rich, regtest):
    cli.run("send", PAYEE, "1", "--yes")
    tx = mempool_tx(regtest)
    assert {txin.sequence for txin in tx.inputs} == {0xFFFFFFFD}
    assert tx.lock_time == regtest.builder.tip.height
    assert tx.version == 2


def test_dry_run_prints_the_transaction_and_sends_nothing(cli, rich, regtest):
    result = cli.run("send", PAYEE, "1", "--dry-run")
    assert result.stderr.startswith("This would pay\n")
    tx = decode_transaction(bytes.fromhex(result.stdout.strip()))
    assert not regtest.mempool
    regtest.accept(tx)


@pytest.mark.usefixtures("rich")
@pytest.mark.parametrize(("answer", "code", "sent"), [("y\n", 0, 1), ("n\n", 9, 0), ("", 9, 0)])
def test_only_a_yes_sends(cli, answer, code, sent):
    regtest = cli.chain
    result = cli.run("send", PAYEE, "1", stdin=answer, code=code)
    assert len(regtest.mempool) == sent
    assert "1.00000000 GROAT  to bcrt1q" in result.stderr
    assert "grain/vB" in result.stderr


def test_several_recipients_data_and_the_rest(cli, rich, regtest):
    first, second = (rich.address(Keychain.RECEIVE, index) for index in (3, 4))
    done = cli.json(
        *("send", first, "1", second, "max", "--data", "0x68656c6c6f", "--fee-rate", "1", "--yes")
    )
    tx = mempool_tx(regtest)
    assert [out.value for out in tx.outputs] == [GROAT, 0, 49 * GROAT - done["fee"]]
    assert tx.outputs[1].script == b"\x6a\x05hello"
    assert done["change"] == 0
    assert done["amount"] == 50 * GROAT - done["fee"]


def test_data_alone(cli, rich, regtest):
    done = cli.json("send", "--data", "hello", "--yes")
    assert [out.value for out in mempool_tx(regtest).outputs].count(0) == 1
    assert done["amount"] == 0


def test_fee_rate_comes_from_the_node_for_the_target(cli, rich, regtest):
    assert cli.json("send", PAYEE, "1", "--dry-run")["fee_rate"] == "2.5 grain/vB"
    assert cli.json("send", PAYEE, "1", "--dry-run", "--target", "1")["fee_rate"] == "5 grain/vB"
    regtest.estimates = {}
    assert cli.json("send", PAYEE, "1", "--dry-run")["fee_rate"] == "1 grain/vB"


def test_unconfirmed_change_is_spent_and_its_address_never_used_again(cli, rich, regtest):
    for _ in range(3):
        cli.run("send", PAYEE, "1", "--yes")
    scripts = [out.script for tx in regtest.mempool.values() for out in tx.outputs]
    changes = [rich.script(Keychain.CHANGE, index) for index in range(3)]
    assert [scripts.count(script) for script in changes] == [1, 1, 1]
    regtest.mine()
    assert cli.json("balance")["total"] < 50 * GROAT


def test_change_address_of_a_refused_or_dry_payment_is_skipped_or_free(cli, rich, regtest):
    cli.run("send", PAYEE, "1", "--dry-run")
    cli.run("send", PAYEE, "1", "--yes")
    assert rich.script(Keychain.CHANGE, 0) in [o.script for o in mempool_tx(regtest).outputs]


@pytest.mark.usefixtures("rich")
@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        ([PAYEE, "50"], 6, "50.00000000 GROAT can be spent now"),
        ([PAYEE, "20000000"], 6, "not enough"),
        ([PAYEE[:-1] + "j", "1"], 2, "character 44 is wrong"),
        (["groat1qcr8te4kr609gcawutmrza0j4xv80jy8zh9x6ax", "1"], 2, "of network main"),
        ([OTHER, "1"], 2, "not an address: invalid checksum"),
        ([PAYEE, "0.00000293"], 2, "too little"),
        ([PAYEE, "1,5"], 2, "not an amount"),
        ([PAYEE], 2, "pairs"),
        ([], 2, "nothing to send"),
        ([PAYEE, "1", "--fee-rate", "x"], 2, "not a fee rate"),
        ([PAYEE, "1", "--fee-rate", "1", "--target", "1"], 2, "exclude each other"),
        ([PAYEE, "0.00001", "--fee-rate", "1"], 8, "over 10 % of the payment"),
        ([PAYEE, "40", "--fee-rate", "1001"], 8, "fee rate is over 1000 grain/vB"),
        ([PAYEE, "40", "--fee-rate", "90000"], 8, "more than 0.10000000 GROAT"),
        ([PAYEE, "1", "--fee-rate", "0.5"], 7, "min relay fee not met"),
    ],
)
def test_what_cannot_or_should_not_be_sent(cli, words, code, hint):
    assert hint in cli.error("send", *words, "--yes", "--json", code=code)
    assert not cli.chain.mempool


def test_force_pays_an_absurd_fee(cli, rich, regtest):
    done = cli.json("send", PAYEE, "0.00001", "--fee-rate", "1", "--force", "--yes")
    assert done["fee"] == regtest.fee_of(mempool_tx(regtest))


def test_immature_coins_are_not_spent(cli, account):
    cli.make()
    cli.chain.mine(account.script(Keychain.RECEIVE, 0))
    cli.chain.mine(count=98)
    assert "0.00000000 GROAT can be spent" in cli.error("send", PAYEE, "1", "--yes", code=6)
    cli.chain.mine()
    cli.run("send", PAYEE, "1", "--yes")


def test_password_is_asked_only_when_it_comes_to_signing(cli, account, regtest):
    cli.make(password="secret")
    assert "not enough" in cli.error("send", PAYEE, "1", "--yes", code=6)
    regtest.mine(account.script(Keychain.RECEIVE, 0))
    regtest.mine(count=99)
    assert "wrong password" in cli.run("send", PAYEE, "1", "--yes", stdin="no\n", code=5).stderr
    cli.run("send", PAYEE, "1", stdin="secret\ny\n")
    assert len(regtest.mempool) == 1


def test_coins_of_a_payment_whose_answer_was_lost_stay_taken(cli, rich, stub, regtest):
    stub.override["/api/tx"] = (502, b"bad gateway")
    assert "answers 502" in cli.error("send", PAYEE, "30", "--yes", "--json", code=3)
    assert cli.json("balance")["total"] < 50 * GROAT
    del stub.override["/api/tx"]
    assert "not enough" in cli.error("send", PAYEE, "30", "--yes", code=6)
    assert not regtest.mempool


def test_coins_of_a_refused_payment_are_free_again(cli, rich, stub):
    stub.override["/api/tx"] = (400, b"no\x1b[2J thanks")
    error = cli.error("send", PAYEE, "30", "--yes", "--json", code=7)
    assert "refused the transaction: no?[2J thanks" in error
    assert cli.json("balance")["total"] == 50 * GROAT
    del stub.override["/api/tx"]
    cli.run("send", PAYEE, "30", "--yes")


def test_payment_that_the_node_never_shows_is_forgotten_in_time(cli, rich, stub, regtest):
    stub.override["/api/tx"] = (502, b"bad gateway")
    cli.run("send", PAYEE, "30", "--yes", code=3)
    path = cli.datadir / "regtest" / "wallets" / "default" / "state.json"
    table = json.loads(path.read_text())
    table["pending"][0][0] -= PENDING_AGE_S_MAX + 1
    path.write_text(json.dumps(table))
    assert cli.json("balance")["trusted"] == 50 * GROAT
    del stub.override["/api/tx"]
    cli.run("send", PAYEE, "30", "--yes")
    scripts = [out.script for out in mempool_tx(regtest).outputs]
    assert rich.script(Keychain.CHANGE, 1) in scripts, "its change address may be known to others"


@pytest.mark.parametrize("count", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_parallel_sends_do_not_take_the_same_coins(cli, account, regtest, count):
    cli.make()
    regtest.mine(account.script(Keychain.RECEIVE, 0), 6)
    regtest.mine(count=100)
    command = [sys.executable, "-m", "wallet", "--network", "regtest", "--node", cli.node, "--yes"]
    flags = ["--datadir", str(cli.datadir), "send", PAYEE, "10", "--fee-rate", "2"]
    command = [*command[:-1], *flags, "--yes"]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(count)]
    ends = [(process.communicate(timeout=100)[1], process.returncode) for process in running]
    assert [code for _, code in ends] == [0] * count, ends
    spent = [txin.outpoint for tx in regtest.mempool.values() for txin in tx.inputs]
    assert len(regtest.mempool) == count
    assert len(spent) == len(set(spent))
    fees = sum(regtest.fee_of(tx) for tx in regtest.mempool.values())
    regtest.mine()
    assert cli.json("balance")["total"] == 300 * GROAT - fees  # PAYEE is the wallet's own


def test_change_address_of_a_payment_in_doubt_is_not_used_again(cli, rich, stub, regtest):
    regtest.mine(rich.script(Keychain.RECEIVE, 0))
    regtest.mine(count=99)
    stub.override["/api/tx"] = (502, b"bad gateway")
    cli.run("send", PAYEE, "30", "--yes", code=3)
    del stub.override["/api/tx"]
    cli.run("send", PAYEE, "30", "--yes")
    scripts = [out.script for out in mempool_tx(regtest).outputs]
    assert rich.script(Keychain.CHANGE, 1) in scripts
    assert rich.script(Keychain.CHANGE, 0) not in scripts


@pytest.mark.parametrize("word", ["max", "all"])
def test_everything_left_has_two_names(cli, rich, regtest, word):
    done = cli.json("send", STRANGER, word, "--fee-rate", "2", "--yes")
    assert done["amount"] + done["fee"] == 50 * GROAT
    assert done["change"] == 0


def test_a_payment_request_for_all_is_refused(cli, rich):
    error = cli.error("send", f"bitcoin:{STRANGER}?amount=all", code=2)
    assert "names no amount but 'all'" in error


def test_a_payment_sent_with_a_label_has_it_in_the_history(cli, rich):
    done = cli.json("send", STRANGER, "1", "--yes", "--label", "tea")
    assert done["label"] == "tea"
    assert cli.json("history")[0]["label"] == "tea"


@pytest.mark.parametrize("flags", [["--dry-run"], []])
def test_a_payment_that_was_not_sent_leaves_no_label(cli, rich, stub, flags):
    stub.override["/api/tx"] = (400, b"no")
    cli.run("send", STRANGER, "1", "--yes", "--label", "tea", *flags, code=0 if flags else 7)
    assert wallet_folder(cli.datadir, REGTEST, "default").state().labels == {}


def test_a_label_that_is_none_is_refused_before_anything_is_asked(cli, rich):
    error = cli.error("send", STRANGER, "1", "--label", "x" * 101, code=2)
    assert "at most 100" in error
