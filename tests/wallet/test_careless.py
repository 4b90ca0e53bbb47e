"""What careless people and scripts do: each gets one line that says what was wrong."""

import json
import os
import resource
import stat
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from chain.consensus.params import MAIN
from chain.primitives.numbers import GRAINS_PER_GROAT
from chain.primitives.transaction import TxOut
from tests.builders import spend
from tests.wallet.conftest import ABANDON, LEGAL
from wallet.command_line import app
from wallet.errors import NodeDownError, NodeError
from wallet.esplora import Esplora
from wallet.keys.account import Keychain
from wallet.store.folder import wallet_folder

GROAT = GRAINS_PER_GROAT
STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


@pytest.mark.parametrize(
    ("words", "stdin", "what"),
    [
        (["create"], b"\xff\n", "password: not UTF-8 text"),
        (["create", "--ask-passphrase"], b"\xff\n", "passphrase: not UTF-8 text"),
        (["restore"], b"abandon \xff\n", "words: not UTF-8 text"),
        (["create"], b"x" * 4097 + b"\n", "password: more than 4096 characters"),
    ],
)
def test_what_is_no_text_on_standard_input_is_named(cli, words, stdin, what):
    assert cli.error(*words, stdin=stdin, code=2) == what
    assert not list(cli.datadir.iterdir())


def test_what_is_no_text_is_named_in_the_c_locale_too(tmp_path):
    """There Python lets wrong bytes in, as surrogates."""
    done = subprocess.run(
        [sys.executable, "-m", "wallet", "--datadir", str(tmp_path), "create"],
        input=b"\xff\n",
        env={"LC_ALL": "C"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == b"groat-wallet: password: not UTF-8 text\n"
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["send", "--target", "0"], "--target: must be 1 or more (see"),
        (["psbt", "combine"], "missing argument: PSBT (see"),
        (["psbt", "nothing"], "no such command: 'nothing' (see"),
        (["nothing"], "no such command: 'nothing' (see"),
        (["label", "a", "b", "c\x1b[31m"], "unexpected argument: c\\x1b[31m (see"),
        (["--password-fd", "x", "balance"], "--password-fd: must be a whole number (see"),
    ],
)
def test_wrong_flag_is_one_line(cli, words, what):
    error = cli.error(*words, code=2)
    assert what in error
    assert "\x1b" not in error


@pytest.mark.parametrize("dashes", [[], ["--"]])
@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["send", STRANGER, "-1"], "an amount must be more than 0: '-1'"),
        (["send", STRANGER, "-.5"], "an amount must be more than 0: '-.5'"),
        (["send", STRANGER, "0"], "an amount must be more than 0: '0'"),
        (["psbt", "create", STRANGER, "-1"], "an amount must be more than 0: '-1'"),
        (["label", "-1", "x"], "'-1': not an address"),
        (["freeze", "-1"], "not a coin: '-1'"),
    ],
)
def test_a_negative_number_is_an_argument_and_no_flag(cli, words, what, dashes):
    first = 2 if words[0] == "psbt" else 1
    assert cli.error(*words[:first], *dashes, *words[first:], code=2).startswith(what)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["send", STRANGER, "1", "--fee-rate", "-1"], "a fee rate must be more than 0: '-1'"),
        (["send", STRANGER, "1", "--target", "-1"], "--target: must be 1 or more"),
        (["send", STRANGER, "1", "--target", "5000"], "--target: must be 1008 or less"),
        (["history", "--since", "-5"], "--since: a height cannot be negative: '-5'"),
        (["history", "--limit", "-5"], "--limit: must be 1 or more"),
        (["restore", "--birthday", "-1"], "--birthday: must be 0 or more"),
        (["rescan", "--from", "-1"], "--from: must be 0 or more"),
        (["address", "--amount", "-1"], "an amount must be more than 0: '-1'"),
        (["balance", "-1"], "unexpected argument: -1"),
    ],
)
def test_a_negative_value_of_a_flag_is_told_as_such(cli, words, what):
    assert cli.error(*words, code=2).startswith(what)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["psbt", "show", "absent.psbt"], "not a PSBT in base64, nor its file: No such file"),
        (["psbt", "sign", "/"], "not a PSBT in base64, nor its file: Is a directory"),
        (["psbt", "show", "n" * 300], "nor its file: File name too long"),
        (["psbt", "show", "cHNidP8!"], "not a PSBT"),
        (["psbt", "combine", "/dev/null"], "not a PSBT"),
        (["psbt", "show", "/dev/zero"], "too long for a PSBT"),
        (["label", "foo", "bar"], "not an address: addresses here start with bcrt1"),
        (["label", STRANGER[:-1] + "x", "bar"], "mistyped address: character 44 is wrong"),
        (["send", "1", STRANGER], "not an address"),
        (["send", "n\x1bo", "1"], "not an address"),
        (["send", STRANGER, "one"], "not an amount in GROAT"),
        (["send", STRANGER, "1", "--fee-rate", "n" * 999], "not a fee rate in grain/vB"),
        (["send", "--data", "0xzz"], "what follows 0x is not hex"),
        (["decode", "nothex"], "not a transaction"),
        (["decode", "00"], "not a transaction"),
        (["broadcast", "nothex"], "not a transaction in hex"),
        (["bump", "nothex"], "not the id of a transaction"),
        (["freeze", "nocoin"], "not a coin"),
        (["balance", "-w", "a/b"], "a wallet's name has 1 to 64 letters"),
        (["balance", "--network", "nonet"], "no such network"),
        (["balance", "--node", "nonode"], "is not the address of a node"),
    ],
)
def test_an_error_names_the_word_that_was_given_in_a_short_form(cli, words, what):
    cli.make()
    error = cli.error(*words, code=2)
    assert what in error
    given = {word[:30].replace("\x1b", "?") for word in words}
    assert any(f"'{word}" in error for word in given), error
    assert len(error) < 300
    assert "\x1b" not in error


@pytest.mark.parametrize("words", [[], ["psbt"]])
def test_no_command_at_all_gets_the_help(words):
    assert "Usage: " in CliRunner().invoke(app, words).output


def test_full_disk_is_one_line_and_nothing_is_sent(cli, rich, regtest):
    """The size limit stands in for a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        error = cli.error("create", "--no-password", wallet="new", code=5)
        sent = cli.error("send", STRANGER, "1", "--yes", "--json", code=5)
        balance = cli.json("balance")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.endswith("new/keys.json: File too large")
    assert sent.endswith("state.json: File too large: nothing was sent")
    assert balance["total"] == 50 * GROAT
    assert not regtest.mempool
    assert not wallet_folder(cli.datadir, regtest.params, "new").exists()


def test_forgotten_network_is_hinted_at(cli):
    cli.make(ABANDON, wallet="savings")
    cli.network = MAIN.name
    error = cli.error("balance", wallet="savings", code=5)
    assert "there is one of network regtest (--network)" in error
    assert "there is one" not in cli.error("balance", wallet="others", code=5)


def test_coins_that_cannot_be_spent_yet_are_named_where_funds_lack(cli, rich, regtest):
    regtest.mine()
    regtest.mine(rich.script(Keychain.RECEIVE, 0))
    coin = regtest.builder.coinbase_coin(2)
    regtest.accept(spend([coin], [TxOut(7 * GROAT, rich.script(Keychain.RECEIVE, 1))]))
    error = cli.error("send", STRANGER, "60", code=6)
    assert "50.00000000 GROAT can be spent now (besides " in error
    assert "(besides 50.00000000 GROAT immature, 7.00000000 GROAT unconfirmed)" in error
    old = next(coin for coin in cli.json("utxos") if coin["spendable"])
    cli.run("freeze", f"{old['txid']}:{old['vout']}")
    error = cli.error("send", STRANGER, "max", code=6)
    assert error.endswith("7.00000000 GROAT unconfirmed, 50.00000000 GROAT frozen)")


@pytest.mark.parametrize(
    ("birthday", "is_warned"), [("0", False), ("1", False), ("2", True), ("37", True), ("99", True)]
)
def test_birthday_that_is_too_late_is_told_and_hides_nothing(
    cli, regtest, account, birthday, is_warned
):
    regtest.mine(account.script(Keychain.RECEIVE, 0), count=60)
    done = cli.run("restore", "--no-password", "--birthday", birthday, "--json", stdin=ABANDON)
    assert json.loads(done.stdout)["transactions"] == 60
    assert (f"before the birthday {birthday}" in done.stderr) == is_warned
    assert cli.json("balance")["total"] == 60 * 50 * GROAT
    cli.error("restore", "--birthday", "-1", code=2, wallet="other")


def test_list_shows_the_others_beside_a_file_that_cannot_be_opened(cli):
    cli.make(ABANDON, "one")
    cli.make(LEGAL, "two")
    path = cli.datadir / "regtest" / "wallets" / "two" / "keys.json"
    path.unlink()
    os.mknod(path, stat.S_IFSOCK | 0o600)  # a socket without a listener
    found = {row["wallet"]: row["state"] for row in cli.json("list")}
    assert found == {"one": "clear text", "two": "No such device or address"}


@pytest.mark.parametrize("words", [["balance"], ["history"], ["export"], ["address"]])
@pytest.mark.parametrize("password", [None, "secret12"])
def test_damaged_keys_are_named_where_no_password_was_asked(cli, words, password):
    cli.make(password=password)
    path = cli.datadir / "regtest" / "wallets" / "default" / "keys.json"
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole.replace(b"e", b"f", 1), b"", b"\0" * 500, b"{}"):
        path.write_bytes(damaged)
        error = cli.error(*words, code=5)
        assert "keys.json is damaged" in error
        assert "restore the wallet from its words" in error
        assert "password" not in error


PAYING = [
    ["send", STRANGER, "1", "--yes", "--json"],
    ["send", STRANGER, "1", "--dry-run"],
    ["bump", "00" * 32, "--fee-rate", "5", "--yes"],
    ["cpfp", "00" * 32, "--fee-rate", "5", "--yes"],
]


@pytest.mark.parametrize("words", PAYING, ids=lambda words: f"{words[0]} {words[-1]}")
def test_no_payment_ends_without_saying_that_nothing_was_sent(cli, rich, words):
    """The node is down from the start, is of another network, or is none."""
    node = cli.node
    for url, code, why in (
        ("http://127.0.0.1:1/api", 3, "cannot reach a node at http://127.0.0.1:1/api"),
        (node.removesuffix("/api") + "/nothing", 3, "the node answers 404"),
    ):
        cli.node = url
        error = cli.error(*words, code=code)
        assert error.startswith(why)
        assert "so nothing was sent" in error


def test_node_that_dies_before_the_payment_reaches_it_means_nothing_sent(
    cli, rich, stub, monkeypatch
):
    def die(*_words):
        raise NodeDownError("cannot reach a node at it")

    monkeypatch.setattr(Esplora, "_post_transaction", die)
    signed = cli.run("send", STRANGER, "1", "--dry-run").stdout.strip()
    for words in (["send", STRANGER, "1", "--yes", "--json"], ["broadcast", signed]):
        error = cli.error(*words, code=3)
        assert error.startswith("cannot reach a node at it, so nothing was sent: start one with")
    assert cli.json("balance")["total"] == 50 * GROAT


def test_node_that_dies_while_it_answers_leaves_the_outcome_open(cli, rich, monkeypatch):
    def die(*_words):
        raise NodeError("the node broke off")

    monkeypatch.setattr(Esplora, "_post_transaction", die)
    error = cli.error("send", STRANGER, "1", "--yes", "--json", code=3)
    assert "it is not known whether the payment" in error
    assert "nothing was sent" not in error
