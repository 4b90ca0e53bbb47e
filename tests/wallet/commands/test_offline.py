"""What a wallet shows while its node is away: what that last showed, and as of when."""

import sqlite3
from contextlib import closing

import pytest

from chain.primitives.numbers import GRAINS_PER_GROAT
from tests.wallet.conftest import LEGAL
from wallet.keys.account import Keychain

GROAT = GRAINS_PER_GROAT
STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
LOOKS = ["balance", "history", "utxos", "addresses", "info"]


@pytest.fixture
def away(cli, rich, regtest, stub):
    """A wallet with a deep, a shallow and an unconfirmed transaction, whose node went away."""
    regtest.mine(rich.script(Keychain.RECEIVE, 1))
    cli.run("send", STRANGER, "1", "--yes", "--fee-rate", "2")
    cli.run("label", rich.address(Keychain.RECEIVE, 1), "shallow")
    cli.before = {command: cli.json(command) for command in LOOKS}
    stub.is_away = True
    return cli


def without_as_of(value):
    if isinstance(value, list):
        return [without_as_of(each) for each in value]
    return {name: each for name, each in value.items() if name != "as_of"}


@pytest.mark.parametrize("command", LOOKS)
def test_looking_needs_no_node_and_says_as_of_when(away, command):
    done = away.run(command)
    (note,) = done.stderr.splitlines()
    assert note.startswith("groat-wallet: as of 20")
    assert ", block 101: cannot reach a node" in note
    assert done.stdout
    found = away.json(command)
    assert without_as_of(found) == without_as_of(away.before[command])
    for each in found if isinstance(found, list) else [found]:
        assert each["as_of"]["height"] == 101
        assert each["as_of"]["date"] in note
    for each in away.before[command] if isinstance(found, list) else [away.before[command]]:
        assert each["as_of"] is None


def test_what_came_since_is_shown_when_the_node_is_back(away, regtest, stub):
    stub.is_away = False
    regtest.mine()
    assert away.json("history")[0]["confirmations"] == 1
    stub.is_away = True
    (sent, *_) = away.json("history")
    assert (sent["confirmations"], sent["as_of"]["height"]) == (1, 102)


def test_a_payment_sent_before_the_first_look_is_shown(cli, rich, stub):
    cli.run("send", STRANGER, "1", "--yes", "--fee-rate", "2")
    stub.is_away = True
    sent, mined = cli.json("history")
    assert (sent["kind"], mined["kind"]) == ("sent", "mined")
    assert cli.json("balance")["total"] == 50 * GROAT + sent["amount"]


@pytest.mark.parametrize("command", LOOKS)
def test_looking_offline_needs_no_node_of_before_and_names_the_one_whose_view_is_shown(
    away, command
):
    flags = ("--node", "http://127.0.0.1:1/api")
    done = away.run(command, *flags)
    assert f"block 101, as {away.node} gave it: cannot reach" in done.stderr
    found = away.json(command, *flags)
    for each in found if isinstance(found, list) else [found]:
        assert each["as_of"]["node"] == away.node
    assert away.run(command).stderr.count(" gave it: ") == 0, "not lost, and its own"


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_node_that_is_missing_behind_its_proxy_is_away_too(away, stub, status):
    stub.is_away = False
    stub.override["/api/block-height/0"] = (status, b"<html>Bad Gateway</html>")
    done = away.run("balance")
    assert f"block 101: the node at {away.node} answers {status}: a web page" in done.stderr
    assert away.json("balance")["total"] == away.before["balance"]["total"]


@pytest.mark.parametrize(("status", "has_reason"), [(404, False), (502, True)])
def test_a_wallet_restored_while_the_node_is_missing_behind_its_proxy_says_so(
    cli, stub, status, has_reason
):
    stub.override["/api/block-height/0"] = (status, b"nothing here")
    words = ["restore", "--no-password"]
    done = cli.run_any(*words, stdin=LEGAL + "\n")
    assert ("restored, but not scanned for coins" in done.stderr) is has_reason
    assert done.exit_code == (0 if has_reason else 3), "a wrong address of the node is an error"


def test_an_address_is_shown_from_memory_while_the_node_is_missing_behind_its_proxy(away, stub):
    stub.is_away = False
    stub.override["/api/block-height/0"] = (502, b"Bad Gateway")
    done = away.run("address")
    assert done.stdout.startswith("bcrt1")
    assert "from memory" in done.stderr


@pytest.mark.parametrize("table", ["view", "recent", "transactions"])
def test_a_damaged_view_is_no_view(away, table):
    path = away.datadir / "regtest/wallets/default/cache.sqlite"
    with closing(sqlite3.connect(path)) as sql, sql:
        if table == "view":
            sql.execute("DELETE FROM view")
        else:
            sql.execute(f"UPDATE {table} SET raw = x'00'")
    assert "cannot reach" in away.error("balance", code=3)


def test_a_rescan_that_broke_off_leaves_no_half_of_a_view(away, stub):
    cache = away.datadir / "regtest/wallets/default/cache.sqlite"
    with closing(sqlite3.connect(cache)) as sql:
        assert sql.execute("SELECT count(*) FROM view").fetchone() == (1,)
    stub.is_away = False
    stub.override["/api/blocks/tip/hash"] = (200, b"00" * 32)
    away.run("rescan", code=3)
    stub.is_away = True
    assert "cannot reach" in away.error("balance", code=3)


def test_what_spends_still_needs_the_node(away):
    assert "nothing was sent" in away.error("send", STRANGER, "1", "--yes", code=3)


def test_an_incomplete_answer_does_not_replace_a_complete_one(away, stub):
    stub.is_away = False
    stub.has_shared_budget, stub.page = True, 1
    before = away.before["balance"]["total"]
    away.run("balance")
    stub.is_away = True
    assert away.json("balance")["total"] == before


def test_addresses_have_balance_payments_and_label(cli, rich, regtest):
    payee = rich.address(Keychain.RECEIVE, 0)
    cli.run("label", payee, "mining")
    cli.run("send", STRANGER, "1", "--yes", "--fee-rate", "2")
    regtest.mine()
    cli.run("address", "--new")
    receive, new, change = cli.json("addresses")
    assert (receive["address"], receive["label"]) == (payee, "mining")
    assert (receive["payments"], receive["balance"], receive["used"]) == (1, 0, True)
    assert (new["index"], new["used"], new["payments"]) == (1, False, 0)
    assert change["branch"] == "change"
    assert change["balance"] == cli.json("balance")["total"]
    assert cli.json("addresses", "--unused") == [new]
    assert cli.json("addresses", "--funded") == [change]
    assert cli.json("addresses", "--receive") == [receive, new]
    assert cli.json("addresses", "--change") == [change]
    assert "exclude" in cli.error("addresses", "--change", "--receive", code=2)
    assert payee in cli.run("addresses").stdout


def test_a_new_wallet_has_no_addresses_yet(cli):
    cli.make()
    assert cli.json("addresses") == []
    assert cli.run("addresses").stderr == "groat-wallet: no such addresses\n"


def test_info_names_wallet_network_node_and_balance(cli, rich):
    found = cli.json("info")
    assert (found["wallet"], found["network"], found["state"]) == (
        "default",
        "regtest",
        "clear text",
    )
    assert (found["node"], found["height"], found["transactions"]) == (cli.node, 100, 1)
    assert found["total"] == 50 * GROAT
    cli.make(LEGAL, "locked", "secret")
    assert "encrypted" in cli.run("info", wallet="locked").stdout


def test_info_counts_the_addresses_that_addresses_lists(cli, rich, regtest):
    cli.run("send", STRANGER, "1", "--yes", "--fee-rate", "2")
    listed, found = cli.json("addresses"), cli.json("info")
    change = [each for each in listed if each["branch"] == "change"]
    assert (len(listed), len(change)) == (2, 1)
    assert (found["addresses"], found["change_addresses"]) == (1, 1)
    lines = cli.run("info").stdout.splitlines()
    assert any(line.split()[0] == "addresses" and "1, and 1 for change" in line for line in lines)


def test_info_says_what_a_wallet_without_a_password_means(cli, rich):
    assert "no password: anyone who reads the file can spend" in cli.run("info").stdout
