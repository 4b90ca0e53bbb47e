"""Change addresses: counted by the chain, so that the words alone find every coin (bdk#1577)."""

import json
import os
import signal
import subprocess
import sys

import pytest

from chain.primitives.numbers import GRAINS_PER_GROAT, id_text
from chain.primitives.psbt import parse_psbt
from chain.primitives.transaction import TxOut
from tests.builders import KEY, spend
from tests.wallet.conftest import ABANDON
from wallet.history.scan import GAP_LIMIT, LOOK_AHEAD
from wallet.keys.account import Keychain
from wallet.store.state import HOLD_AGE_S_MAX, PENDING_AGE_S_MAX, State, load_state, save_state

GROAT = GRAINS_PER_GROAT
STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
SEND = ("send", STRANGER, "0.5", "--fee-rate", "2", "--yes")
DRAFT = ("psbt", "create", STRANGER, "0.5", "--fee-rate", "2")


def index_of(account, outputs):
    """Return which change address the outputs pay to."""
    places = {account.script(Keychain.CHANGE, at): at for at in range(2 * LOOK_AHEAD)}
    (index,) = (places[out.script] for out in outputs if out.script in places)
    return index


def drafted(cli, account):
    return index_of(account, parse_psbt(cli.json(*DRAFT)["psbt"]).transaction.outputs)


def sent(cli, account, regtest):
    txid = cli.json(*SEND)["txid"]
    return index_of(account, regtest.mempool[bytes.fromhex(txid)[::-1]].outputs)


def state_path(cli):
    return cli.datadir / "regtest" / "wallets" / "default" / "state.json"


def assert_restored_equals(cli, name="again"):
    cli.run("restore", "--no-password", wallet=name, stdin=ABANDON)
    for command in ("balance", "history", "utxos"):
        assert cli.json(command, wallet=name) == cli.json(command)


@pytest.mark.parametrize(
    "count", [20, *(pytest.param(at, marks=pytest.mark.slow) for at in (19, 45))]
)
def test_words_find_the_change_of_a_payment_after_many_abandoned_drafts(cli, rich, regtest, count):
    for _ in range(count):
        cli.run(*DRAFT)
    index = sent(cli, rich, regtest)
    assert index < GAP_LIMIT
    regtest.mine()
    assert_restored_equals(cli)
    assert cli.json("balance", wallet="again")["total"] > 49 * GROAT


def test_open_drafts_share_no_change_address_up_to_the_gap_limit(cli, rich):
    indexes = [drafted(cli, rich) for _ in range(GAP_LIMIT)]
    assert indexes == list(range(GAP_LIMIT))
    result = cli.run(*DRAFT)
    assert f"the next {GAP_LIMIT} change addresses are all taken" in result.stderr
    assert index_of(rich, parse_psbt(result.stdout).transaction.outputs) == 0, "the oldest draft's"


def test_draft_holds_its_change_address_for_two_weeks(cli, rich):
    assert [drafted(cli, rich) for _ in range(2)] == [0, 1]
    table = json.loads(state_path(cli).read_text())
    assert [index for index, _ in table["held"]] == [0, 1]
    table["held"][0][1] -= HOLD_AGE_S_MAX + 1
    state_path(cli).write_text(json.dumps(table))
    assert drafted(cli, rich) == 0


def test_refused_payment_gives_its_change_address_back(cli, rich, stub, regtest):
    stub.override["/api/tx"] = (400, b"no")
    for _ in range(3):
        cli.run(*SEND, code=7)
    stub.override.clear()
    assert json.loads(state_path(cli).read_text())["held"] == []
    assert sent(cli, rich, regtest) == 0


@pytest.mark.usefixtures("rich")
@pytest.mark.parametrize("answer", ["n\n", ""])
def test_payment_that_nobody_confirmed_holds_no_change_address(cli, answer):
    cli.run(*SEND[:-1], stdin=answer, code=9)
    cli.run(*SEND, "--dry-run")
    assert not state_path(cli).exists()


def test_unsigned_cpfp_holds_an_address_within_the_gap(cli, rich, regtest):
    regtest.mine()
    incoming = spend([regtest.builder.coinbase_coin(2)], outputs_of(rich))
    regtest.accept(incoming)
    indexes = []
    for _ in range(3):
        words = ("cpfp", id_text(incoming.txid), "--fee-rate", "90", "--unsigned", "--force")
        indexes.append(index_of(rich, parse_psbt(cli.json(*words)["psbt"]).transaction.outputs))
    assert indexes == [0, 1, 2]
    assert sent(cli, rich, regtest) == 3


def outputs_of(account):
    return [
        TxOut(7 * GROAT, account.script(Keychain.RECEIVE, 1)),
        TxOut(43 * GROAT - 1000, KEY.script),
    ]


@pytest.mark.parametrize("is_taken", [False, True])
def test_kill_between_broadcast_and_answer_loses_nothing(cli, rich, regtest, stub, is_taken):
    command = [sys.executable, "-m", "wallet", "--network", "regtest", "--node", cli.node]
    running, post = [], stub.post

    def post_and_kill(path, body):
        answer = post(path, body) if is_taken else (200, b"")
        os.kill(running[0], signal.SIGKILL)
        return answer

    stub.post = post_and_kill
    with subprocess.Popen([*command, "--datadir", str(cli.datadir), *SEND]) as process:
        running.append(process.pid)
    assert process.returncode == -signal.SIGKILL
    stub.post = post
    assert len(regtest.mempool) == is_taken
    table = json.loads(state_path(cli).read_text())
    table["pending"][0][0] -= PENDING_AGE_S_MAX + 1
    state_path(cli).write_text(json.dumps(table))
    assert sent(cli, rich, regtest) == 1
    assert len(regtest.mempool) == 1 + is_taken
    regtest.mine()
    assert_restored_equals(cli)


@pytest.mark.slow
def test_change_address_that_the_chain_lost_counts_no_longer(cli, rich, regtest, stub):
    """Twenty payments that a reorganisation drops, one that stays: the words must find that."""
    for _ in range(GAP_LIMIT + 1):
        cli.run(*SEND)
    stub.chain = regtest.fork(0)
    table = json.loads(state_path(cli).read_text())
    table["pending"], table["held"], table["remembered"] = [], [], []
    state_path(cli).write_text(json.dumps(table))
    assert sent(cli, rich, stub.chain) == 0


def test_words_find_change_that_was_put_beyond_the_gap_limit(cli, rich, regtest):
    """By an earlier groat, or another program with the same words."""
    point, coin = regtest.builder.coinbase_coin(1)
    far = rich.script(Keychain.CHANGE, GAP_LIMIT + LOOK_AHEAD - 1)
    cli.run("balance")
    regtest.mine()
    draft = cli.json(*DRAFT)
    assert parse_psbt(draft["psbt"]).transaction.inputs[0].outpoint == point
    regtest.coins.pop(point)  # what a wallet signs is tried elsewhere: only the outputs matter here
    payment = spend([(point, coin)], [TxOut(10 * GROAT, KEY.script), TxOut(39 * GROAT, far)])
    regtest.confirmed[payment.txid] = (payment, 50, 1, regtest.builder.tip.id)
    regtest._remember(payment)
    cli.run("restore", "--no-password", wallet="again", stdin=ABANDON)
    assert cli.json("balance", wallet="again")["total"] == 39 * GROAT
    assert cli.json("balance", wallet="again")["total"] == 39 * GROAT, "and the next look, too"


def test_counts_of_an_earlier_groat_are_still_looked_at(cli, rich, regtest):
    """It counted change addresses by attempts: they may hold coins."""
    cli.run("balance")
    old = {"version": 2, "handed_out": [0, 70], "used": [1, 0], "pending": []}
    state_path(cli).write_text(json.dumps(old))
    regtest.mine(rich.script(Keychain.CHANGE, 69))
    assert cli.json("balance")["total"] == 100 * GROAT


def test_held_addresses_survive_their_file(tmp_path):
    state = State()
    state.hold_change(3, 1000)
    state.hold_change(1, 2000)
    save_state(tmp_path / "state.json", state)
    assert load_state(tmp_path / "state.json") == state
    assert state.known(Keychain.CHANGE) == 4
    assert state.known(Keychain.RECEIVE) == 0


def test_only_so_many_addresses_are_held(monkeypatch):
    monkeypatch.setattr("wallet.store.state._HELD_MAX", 2)
    state = State()
    for index in range(3):
        state.hold_change(index, 1000 + index)
    assert list(state.held) == [1, 2]
