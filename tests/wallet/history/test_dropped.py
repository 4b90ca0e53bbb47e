"""What the node showed once and shows no longer."""

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.numbers import GRAINS_PER_GROAT, Height, id_text
from chain.primitives.transaction import TxOut
from tests.builders import KEY, spend
from tests.wallet.history.test_book import PLACES, foreign, seen
from tests.wallet.history.test_cache import fork_of
from wallet.commands.history import _notes
from wallet.history.book import Book
from wallet.history.dropped import DEEP, REMEMBERED_AGE_S_MAX, dropped_transactions, remember
from wallet.keys.account import Keychain
from wallet.store.files import locked

GROAT = GRAINS_PER_GROAT
STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


def gone(cli):
    return [
        line
        for line in cli.json("history", "--dropped")
        if line["status"] in {"dropped", "replaced"}
    ]


def test_replaced_payment_stays_in_history_and_names_the_other(cli, rich, regtest):
    first = cli.json("send", STRANGER, "1", "--yes")["txid"]
    cli.run("history")
    second = cli.json("bump", first, "--fee-rate", "20", "--yes")["txid"]
    (line,) = gone(cli)
    assert (line["txid"], line["status"]) == (first, "replaced")
    assert line["replaced_by"] == second
    assert line["amount"] < -GROAT
    result = cli.run("history")
    assert "replaced" in result.stdout
    assert f"{first} was replaced by {second}" in result.stderr
    assert cli.json("balance")["total"] == sum(
        line["amount"] for line in cli.json("history") if line["status"] != "replaced"
    )


def test_payments_of_a_dropped_branch_stay_in_history(cli, rich, regtest, stub):
    regtest.mine(rich.script(Keychain.RECEIVE, 0), 3)
    assert len(cli.json("history")) == 4
    assert gone(cli) == []
    stub.chain = fork_of(regtest, back=2)
    stub.chain.mine(count=3)
    lines = gone(cli)
    assert [(line["status"], line["amount"]) for line in lines] == [("dropped", 50 * GROAT)] * 2
    assert {line["coinbase"] for line in lines} == {True}
    assert cli.json("balance")["total"] == 100 * GROAT
    assert "2 mined transactions are no longer in the chain" in cli.run("history").stderr
    stub.chain = regtest
    assert gone(cli) == [], "the first branch won in the end"


def test_rewards_of_a_dropped_branch_are_one_line_and_fill_no_limit(cli, rich, regtest, stub):
    regtest.mine(rich.script(Keychain.RECEIVE, 0), 9)
    cli.run("history")
    stub.chain = fork_of(regtest, back=7)
    stub.chain.mine(count=8)
    assert {line["status"] for line in cli.json("history", "--limit", "3")} == {"confirmed"}
    assert len(cli.json("history", "--limit", "3")) == 3
    told = cli.run("history", "--limit", "3")
    assert "dropped" not in told.stdout
    assert told.stderr == (
        "groat-wallet: 7 mined transactions are no longer in the chain: "
        "groat-wallet history --dropped shows them\n"
    )
    assert cli.run("history", "--kind", "received").stderr == "groat-wallet: no payments\n"
    shown = cli.run("history", "--dropped")
    assert shown.stdout.count("dropped") == 7
    assert len(shown.stderr.splitlines()) == 1
    assert "the 7 shown as dropped are no longer in the chain" in shown.stderr


def test_incoming_payment_that_its_sender_took_back_is_shown(cli, rich, regtest):
    regtest.mine()
    coin = regtest.builder.coinbase_coin(2)
    first = spend([coin], [TxOut(GROAT, rich.script(Keychain.RECEIVE, 1))], sequence=1)
    regtest.accept(first)
    assert cli.json("balance")["untrusted_pending"] == GROAT
    del regtest.mempool[first.txid]
    regtest.accept(spend([coin], [TxOut(49 * GROAT, KEY.script)]))
    (line,) = gone(cli)
    assert (line["txid"], line["status"]) == (id_text(first.txid), "dropped")


def test_look_waits_for_no_command_that_spends(cli, rich, regtest):
    regtest.mine(rich.script(Keychain.RECEIVE, 0))
    with locked(cli.datadir / "regtest" / "wallets" / "default" / "lock"):
        assert cli.json("balance")["total"] == 100 * GROAT
    assert not (cli.datadir / "regtest" / "wallets" / "default" / "state.json").exists()
    cli.run("balance")
    assert (cli.datadir / "regtest" / "wallets" / "default" / "state.json").exists()


def test_nothing_is_written_when_nothing_is_new(cli, rich, regtest):
    regtest.mine(rich.script(Keychain.RECEIVE, 0))
    cli.run("balance")
    path = cli.datadir / "regtest" / "wallets" / "default" / "state.json"
    before = path.stat().st_ino
    cli.run("history")
    assert path.stat().st_ino == before


@pytest.mark.parametrize(("confirmations", "kept"), [(DEEP - 1, 1), (DEEP, 0)])
def test_only_what_may_still_vanish_is_remembered(confirmations, kept):
    book = Book([seen(foreign(9), Height(1))], PLACES, Height(confirmations), REGTEST)
    assert len(remember({}, book, 1000)) == kept


@pytest.mark.parametrize(
    ("age", "kept"), [(REMEMBERED_AGE_S_MAX, 1), (REMEMBERED_AGE_S_MAX + 1, 0)]
)
def test_it_is_forgotten_in_time(age, kept):
    full = Book([seen(foreign(9))], PLACES, Height(1), REGTEST)
    empty = Book([], PLACES, Height(1), REGTEST)
    memory = remember({}, full, 1000)
    later = remember(memory, empty, 1000 + age)
    assert len(later) == len(dropped_transactions(later, empty)) == kept
    assert dropped_transactions(memory, full) == []


def test_the_oldest_of_too_many_are_forgotten(monkeypatch):
    monkeypatch.setattr("wallet.history.dropped.REMEMBERED_MAX", 2)
    empty = Book([], PLACES, Height(1), REGTEST)
    memory = {}
    for number in range(3):
        book = Book([seen(foreign(9, number=number))], PLACES, Height(1), REGTEST)
        memory = remember(memory, book, 1000 + number)
    assert [each.remembered.seen_at for each in dropped_transactions(memory, empty)] == [1002, 1001]


def test_replaced_payments_stand_behind_what_replaced_them(cli, rich, regtest):
    first = cli.json("send", STRANGER, "1", "--fee-rate", "2", "--yes")["txid"]
    cli.run("history")
    second = cli.json("bump", first, "--fee-rate", "5", "--yes")["txid"]
    cli.run("history")
    third = cli.json("bump", second, "--fee-rate", "9", "--yes")["txid"]
    shown = [line["txid"] for line in cli.json("history", "--limit", "3")]
    assert shown[0] == third
    assert set(shown[1:]) == {first, second}
    regtest.mine()
    last = cli.json("send", STRANGER, "2", "--fee-rate", "2", "--yes")["txid"]
    shown = [line["txid"] for line in cli.json("history", "--limit", "4")]
    assert shown[:2] == [last, third]
    assert set(shown[2:]) == {first, second}


def test_many_payments_of_one_status_are_a_few_lines_and_a_count():
    lines = [{"txid": f"{number}", "status": "replaced", "replaced_by": "x"} for number in range(9)]
    assert list(_notes(lines, [])) == [
        "0 was replaced by x",
        "1 was replaced by x",
        "2 was replaced by x",
        "the same of 6 more shown as replaced: see --json",
    ]
