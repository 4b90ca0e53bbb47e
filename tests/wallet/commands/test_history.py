"""The kinds of payments, and what `history` can be cut down to."""

import csv
import fcntl
import os
import struct
import subprocess
import sys
import termios

import pytest

from chain.primitives.numbers import GRAINS_PER_GROAT
from wallet.keys.account import Keychain

STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
GROAT = GRAINS_PER_GROAT


@pytest.fixture
def busy(cli, rich, regtest):
    """A wallet that mined, received and sent: the newest first, in blocks 103, 102, 101 and 1."""
    regtest.mine(rich.script(Keychain.RECEIVE, 1))
    cli.run("send", STRANGER, "1", "--yes", "--fee-rate", "2")
    regtest.mine()
    other = cli.make(
        "legal winner thank year wave sausage worth useful legal winner thank yellow", "b"
    )
    regtest.mine(other.script(Keychain.RECEIVE, 0))
    return cli


def test_every_line_has_its_kind(busy):
    lines = busy.json("history")
    assert [(line["kind"], line["height"]) for line in lines] == [
        ("sent", 102),
        ("immature", 101),
        ("mined", 1),
    ]
    rows = busy.run("history").stdout.splitlines()[2:]
    assert [row.split()[2] for row in rows] == ["sent", "immature", "mined"]


@pytest.mark.parametrize("kinds", [["sent"], ["mined"], ["immature", "mined"], ["received"]])
def test_history_of_some_kinds(busy, kinds):
    flags = [word for kind in kinds for word in ("--kind", kind)]
    assert {line["kind"] for line in busy.json("history", *flags)} == set(kinds) - {"received"}


def test_a_received_payment_is_named_so(cli, rich):
    payee = cli.json("address", "--new")["address"]
    cli.make("legal winner thank year wave sausage worth useful legal winner thank yellow", "b")
    shop = cli.json("address", wallet="b")["address"]
    cli.run("send", shop, "2", "--yes", "--fee-rate", "2")
    assert [line["kind"] for line in cli.json("history", wallet="b")] == ["received"]
    assert payee != shop


def test_an_unknown_kind_is_one_line_that_names_the_kinds(cli):
    error = cli.run("history", "--kind", "spent", code=2).stderr
    assert len(error.splitlines()) == 1
    assert "'spent' is not one of received, sent, mined, immature" in error


@pytest.mark.parametrize(
    ("since", "heights"),
    [
        ("102", [102]),
        ("101", [102, 101]),
        ("103", []),
        ("2011-02-02", [102, 101, 1]),
        ("2200-01-01", []),
    ],
)
def test_history_since_a_day_or_a_block(busy, since, heights):
    assert [line["height"] for line in busy.json("history", "--since", since)] == heights


def test_history_since_the_second_of_a_block_holds_that_block(busy):
    line = busy.json("history")[0]
    assert [each["height"] for each in busy.json("history", "--since", line["date"])] == [102]


def test_what_waits_is_newer_than_every_day(cli, rich):
    cli.run("send", STRANGER, "1", "--yes", "--fee-rate", "2")
    assert [line["height"] for line in cli.json("history", "--since", "2200-01-01")] == [None]


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "9" * 10, "-5", "\u0665"])
def test_a_since_that_is_neither_is_refused(cli, since):
    cli.make()
    assert "--since" in cli.error("history", f"--since={since}", code=2)


def test_comma_separated_history_has_all_payments_and_exact_amounts(busy):
    busy.run("label", busy.json("history")[0]["txid"], 'tea, "green"')
    text = busy.run("history", "--csv").stdout
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["kind"] for row in rows] == ["sent", "immature", "mined"]
    assert rows[0]["amount"].startswith("-1.0000")
    assert rows[0]["label"] == 'tea, "green"'
    assert rows[1]["amount"] == "50.00000000"
    assert rows[2]["txid"] == busy.json("history")[2]["txid"]
    assert len(busy.run("history", "--csv", "--limit", "1").stdout.splitlines()) == 2


def test_an_empty_history_in_csv_is_its_head(cli):
    cli.make()
    assert cli.run("history", "--csv").stdout.startswith("date,kind,amount")
    assert "exclude each other" in cli.error("history", "--csv", "--json", code=2)


def test_an_empty_table_is_a_note_and_no_output(cli):
    cli.make()
    done = cli.run("utxos")
    assert (done.stdout, done.stderr) == ("", "groat-wallet: no coins\n")


@pytest.mark.slow
@pytest.mark.parametrize("columns", [70, 80, 100])
@pytest.mark.parametrize("command", ["history", "utxos"])
def test_no_id_and_no_amount_is_broken_on_a_terminal(busy, command, columns):
    lines = on_terminal(busy, columns, command)
    assert max(map(len, lines)) <= columns
    values = busy.json(command)
    for each in values:
        assert any(each["txid"] in line for line in lines)
        assert any(f"{abs(each['amount']) / GROAT:.8f}" in line for line in lines)


def on_terminal(cli, columns, *words):
    terminal, device = os.openpty()
    fcntl.ioctl(device, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    flags = ["--network", "regtest", "--datadir", str(cli.datadir), "--node", cli.node]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "wallet", *flags, *words]
    subprocess.run(command, stdout=device, stdin=device, env=environment, timeout=60, check=True)
    os.close(device)
    data = b""
    try:
        while part := os.read(terminal, 65536):
            data += part
    except OSError:  # Linux: nobody writes any more
        pass
    os.close(terminal)
    return data.decode().splitlines()
