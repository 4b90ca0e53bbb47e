"""Terminals whose encoding lacks a character: the command answers all the same."""

import os
import subprocess
import sys

import pytest

from tests.wallet.conftest import ABANDON

LABEL = "café ☕ чай"


def run(module, encoding, *words):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)


@pytest.fixture
def wallet(cli, rich):
    cli.run("label", cli.json("utxos")[0]["txid"], LABEL)
    flags = ["--network", "regtest", "--datadir", str(cli.datadir), "--node", cli.node]
    return lambda encoding, *words: run("wallet", encoding, *flags, *words)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
@pytest.mark.parametrize(
    "words",
    [["history"], ["utxos"], ["address", "--qr"], ["--help"], ["label", "00" * 32, LABEL]],
    ids=" ".join,
)
def test_what_cannot_be_shown_is_replaced(wallet, encoding, words):
    done = wallet(encoding, *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert done.stdout.decode(encoding)


def test_label_is_shown_as_far_as_it_can_be(wallet):
    assert "café ? ???".encode("latin-1") in wallet("latin-1", "history").stdout


def test_qr_code_is_drawn_in_spaces_where_there_are_no_blocks(wallet):
    shown = wallet("ascii", "address", "--qr").stdout
    assert b"?" not in shown
    assert b"\x1b[7m  \x1b[0m" in shown or b"\x1b[49m" in shown


@pytest.mark.parametrize("words", [["--help"], ["node", "--api", "é☕"]], ids=" ".join)
def test_node_command_replaces_what_it_cannot_show(words):
    done = run("chain", "ascii", *words)
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"UnicodeEncodeError" not in done.stderr


def test_words_need_no_terminal_encoding(cli):
    """Nothing that the wallet prints of itself is outside ASCII."""
    assert cli.run("restore", "--no-password", stdin=ABANDON).stdout.isascii()
