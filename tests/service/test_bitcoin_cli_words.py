"""What bitcoin-cli's users type is answered with groat's word for it."""

import http.server
import re
import threading
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from chain.cli.bitcoin_cli_flags import _known
from chain.cli.commands import app
from chain.service.api.rpc.methods import METHODS
from chain.service.api.rpc.missing_methods import LACKED, WALLET_COMMANDS, not_found
from tests.api.core_rpc_table import CORE
from wallet.command_line import app as wallet

HIDDEN = {  # from Core's help: for its own tests
    "addconnection",
    "addpeeraddress",
    "echoipc",
    "echojson",
    "estimaterawfee",
    "getaddrmaninfo",
    "getorphantxs",
    "getrawaddrman",
    "mockscheduler",
    "sendmsgtopeer",
}


def test_a_wallet_method_names_a_command_that_the_wallet_has():
    assert not WALLET_COMMANDS.keys() & METHODS.keys()
    commands = typer.main.get_command(wallet).commands
    known = {*commands, *(f"psbt {name}" for name in commands["psbt"].commands)}
    assert set(WALLET_COMMANDS.values()) - {None} <= known - {"psbt"}
    assert not_found("getbalance") == (
        "Method not found: getbalance is a wallet method, and the node holds no keys; "
        "use groat-wallet balance"
    )
    assert not_found("nosuch") == "Method not found"


def test_a_wallet_method_that_no_command_does_says_so():
    without = [method for method, command in WALLET_COMMANDS.items() if command is None]
    assert {"signmessage", "importprivkey", "abandontransaction"} <= set(without)
    for method in without:
        assert not_found(method) == (
            f"Method not found: {method} is a wallet method, and the node holds no keys; "
            "groat-wallet has no command for it"
        )


def test_a_method_that_a_node_lacks_says_why_and_the_page_lists_it():
    assert not LACKED.keys() & {*METHODS, *WALLET_COMMANDS}
    assert CORE.keys() - METHODS - WALLET_COMMANDS.keys() - LACKED.keys() == HIDDEN
    page = (Path(__file__).parents[2] / "docs" / "rpc.md").read_text()
    (listed,) = re.findall(r"Of the others it lacks (.*?);", page, re.DOTALL)
    assert re.findall(r"`(\w+)`", listed) == sorted(LACKED)
    assert not_found("pruneblockchain") == (
        "Method not found: groat has no pruneblockchain: the node keeps every block"
    )
    commands = typer.main.get_command(app).commands
    for why in LACKED.values():
        for word in re.findall(r"\b(?<!/)[a-z]+psbt\b|sendrawtransaction|decodescript", why):
            assert word in METHODS
        for command in re.findall(r"groat ([a-z]+)", why):
            assert command in commands


def _rpc(tmp_path, *words, text=""):
    where = ["--network", "regtest", "--datadir", str(tmp_path)]
    done = CliRunner().invoke(app, ["rpc", *where, *words, "getblockcount"], input=text)
    return done.exit_code, done.stderr


def test_a_call_without_an_answer_or_a_login_names_the_address_that_was_given(tmp_path):
    url = "http://127.0.0.1:1/"
    code, said = _rpc(tmp_path, "--api", url)
    assert code == 1
    assert said.startswith(f"groat: no answer from {url} (")
    assert said.endswith("; is a node's API at this --api?\n")
    assert "cookie" not in said


def test_https_where_plain_http_is_spoken_is_named(tmp_path):
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"https://127.0.0.1:{server.server_port}"
    (tmp_path / "cookie").write_text("user:password")
    code, said = _rpc(tmp_path, "--api", url, "--cookie", str(tmp_path / "cookie"))
    server.shutdown()
    server.server_close()
    assert code == 1
    assert f"no answer from {url} (TLS failed: plain HTTP is spoken there)" in said


def test_a_user_without_a_password_is_told_that_it_is_missing(tmp_path):
    assert _rpc(tmp_path, "--user", "x") == (
        2,
        "groat: --user needs a password: standard input has none\n",
    )


def test_a_build_that_is_none_is_a_wrong_flag():
    done = CliRunner().invoke(app, ["bench", "miner", "--build", "axv2"])
    assert (done.exit_code, done.stderr) == (
        2,
        "groat: --build 'axv2' is not one of avx512, sha, avx2, plain; did you mean avx2?\n",
    )


@pytest.mark.parametrize(
    ("flag", "instead"),
    [
        ("-getinfo", "groat status"),
        ("-netinfo", "groat status --peers"),
        ("-rpcport=39445", "--api HOST:PORT"),
        ("-regtest", "--network regtest"),
        ("--regtest", "--network regtest"),
        ("-noregtest", "--network regtest"),
        ("-rpcwait", "--rpc-wait"),
        ("-conf=/etc/b.conf", "--datadir DIR, in which groat.toml is"),
        ("-datadir=/tmp", "--datadir DIR"),
    ],
)
@pytest.mark.parametrize("before", [[], ["--network", "regtest"], ["--named", "--api=[::1]:1"]])
def test_a_flag_of_bitcoin_cli_names_what_stands_for_it(before, flag, instead):
    words = [flag, "getblockcount"] if before or flag.startswith("--") else ["echo", "x", flag]
    done = CliRunner().invoke(app, ["rpc", *before, *words])
    name = flag.split("=")[0]
    assert (done.exit_code, done.stderr) == (
        2,
        f"groat: {name} is bitcoin-cli's: use {instead} (see groat rpc --help)\n",
    )


_dashed = st.builds(str.__add__, st.sampled_from(["-", "--", "---"]), st.text(max_size=8)).filter(
    lambda word: _known(word.split("=")[0]) is None
)
_negative = st.floats(max_value=-1).map(str) | st.integers(max_value=-1).map(str)


@given(arguments=st.lists(_dashed | _negative | st.just("--") | st.just("--api="), max_size=3))
@pytest.mark.parametrize("before", [[], ["--"], ["--named"], ["--network", "regtest", "--"]])
def test_arguments_that_begin_with_a_dash_reach_the_method_as_they_are(before, arguments):
    words = ["echo", "-1", *arguments]
    with typer.main.get_command(app).commands["rpc"].make_context("rpc", [*before, *words]) as made:
        assert made.params["words"] == words


@pytest.mark.parametrize("argument", ["-regtest", "-rpcwait", "-conf=x", "--named", "-h"])
def test_behind_two_dashes_even_a_flag_of_bitcoin_cli_is_an_argument(argument):
    words = ["echo", argument]
    with typer.main.get_command(app).commands["rpc"].make_context("rpc", ["--", *words]) as made:
        assert made.params["words"] == words
