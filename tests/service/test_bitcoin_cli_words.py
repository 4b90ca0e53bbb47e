"""What bitcoin-cli's users type is answered with groat's word for it."""

import pytest
import typer
from typer.testing import CliRunner

from chain.commands import app
from chain.service.api.rpc.methods import METHODS
from chain.service.api.rpc.wallet_methods import WALLET_COMMANDS, not_found
from wallet.__main__ import app as wallet


def test_a_wallet_method_names_a_command_that_the_wallet_has():
    assert not WALLET_COMMANDS.keys() & METHODS.keys()
    known = {*typer.main.get_command(wallet).commands, "--help"}
    assert set(WALLET_COMMANDS.values()) <= known
    assert not_found("getbalance") == (
        "Method not found: getbalance is a wallet method, and the node holds no keys; "
        "use groat-wallet balance"
    )
    assert not_found("nosuch") == "Method not found"


@pytest.mark.parametrize(
    ("flag", "instead"),
    [
        ("-getinfo", "groat status"),
        ("-netinfo", "groat status --peers"),
        ("-rpcport=39445", "--api HOST:PORT"),
        ("-regtest", "--network regtest"),
    ],
)
def test_a_flag_of_bitcoin_cli_names_what_stands_for_it(flag, instead):
    done = CliRunner().invoke(app, ["rpc", flag, "getblockcount"])
    name = flag.split("=")[0]
    assert (done.exit_code, done.stderr) == (
        2,
        f"groat: {name} is bitcoin-cli's: use {instead} (see groat rpc --help)\n",
    )
