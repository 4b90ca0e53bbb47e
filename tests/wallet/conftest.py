"""What the wallet's tests share: a chain, a server over it, and a wallet on disk."""

import json
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from chain.consensus.params import NETWORKS, REGTEST
from chain.primitives.extended_key import ExtendedKey
from tests.wallet.esplora_stub import RegtestChain, serving
from wallet.command_line import app
from wallet.keys.account import Keychain, open_account
from wallet.keys.keyfile import Cost, seal
from wallet.keys.secret import Secret
from wallet.store.folder import wallet_folder

ABANDON = "abandon " * 11 + "about"
LEGAL = "legal winner thank year wave sausage worth useful legal winner thank yellow"
CHEAP = Cost(log2_n=4)  # the commands cannot set it: only code that calls `seal` can
COST = seal.__kwdefaults__["cost"]  # what the commands take, where no test makes it cheap


@dataclass
class Cli:
    """The command line on one data directory and one node."""

    datadir: Path
    node: str
    chain: RegtestChain
    network: str = "regtest"

    def run(self, *words, stdin="", wallet="default", code=0):
        """Run a command, check its exit code, and return typer's result."""
        result = self.run_any(*words, stdin=stdin, wallet=wallet)
        assert result.exit_code == code, (words, result.output, result.exception)
        return result

    def run_any(self, *words, stdin="", wallet="default"):
        """Run a command and return typer's result."""
        flags = ["--network", self.network, "--datadir", str(self.datadir), "--node", self.node]
        result = CliRunner().invoke(app, [*flags, "-w", wallet, *words], input=stdin)
        assert "Traceback" not in result.output
        return result

    def json(self, *words, **how):
        """Run a command with --json and return what it printed."""
        return json.loads(self.run(*words, "--json", **how).stdout)

    def error(self, *words, code, **how):
        """Run a command that fails and return its one line on standard error."""
        lines = self.run(*words, code=code, **how).stderr.strip().splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("groat-wallet: ")
        return lines[0].removeprefix("groat-wallet: ")

    def make(self, words=ABANDON, wallet="default", password=None):
        """Write a wallet as `restore` does, but with a cheap password; return its account."""
        params = NETWORKS[self.network]
        secret = Secret(words)
        account = open_account(secret, params)
        key_file = seal(secret, password, network=params.name, account=account.encode(), cost=CHEAP)
        wallet_folder(self.datadir, params, wallet).create(key_file)
        return account


@pytest.fixture(scope="session", autouse=True)
def _cheap_keys():
    """Passwords cost little, and no key is derived twice from the same key in one process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(seal.__kwdefaults__, "cost", CHEAP)
        patched.setattr(ExtendedKey, "child", cache(ExtendedKey.child))
        patched.setattr(Secret, "root", cache(Secret.root))
        yield


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    """A server in the same process needs no time to recover."""
    monkeypatch.setattr("wallet.esplora._WAIT_S", 0.0)


_get_command = cache(get_command)


@pytest.fixture(autouse=True)
def _commands_made_once(monkeypatch):
    """Typer's runner would make all of them again for each run."""
    monkeypatch.setattr("typer.testing._get_command", _get_command)


@pytest.fixture
def regtest():
    return RegtestChain()


@pytest.fixture
def stub(regtest):
    with serving(regtest) as running:
        yield running


@contextmanager
def without_socket(stub):
    """Have this process reach the stub without a socket inside the block.

    That leaves out the half of all work that is httpcore's and the stub's HTTP; processes, and the
    tests of `Esplora` itself, do it.
    """
    by_socket = httpx.HTTPTransport.handle_request

    def handle_request(self, request):
        if (request.url.host, request.url.port) == stub.server.server_address:
            if stub.is_away:
                raise httpx.ConnectError("nobody listens")
            return stub.respond(request)
        return by_socket(self, request)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(httpx.HTTPTransport, "handle_request", handle_request)
        yield


@pytest.fixture
def cli(tmp_path, stub):
    """The command line; what is run in this process reaches the stub without a socket."""
    with without_socket(stub):
        yield Cli(tmp_path, stub.url, stub.chain)


@pytest.fixture
def account():
    """The account of ABANDON on regtest, without any file."""
    return open_account(Secret(ABANDON), REGTEST)


@pytest.fixture
def rich(cli, regtest):
    """A wallet without password that owns one mature coinbase coin of 50 GROAT."""
    account = cli.make()
    regtest.mine(account.script(Keychain.RECEIVE, 0))
    regtest.mine(count=99)
    return account


@pytest.fixture
def eye(cli, rich):
    """A watch-only wallet "eye" of the account of the wallet `rich`."""
    cli.run("create", "--descriptor", cli.json("export")["descriptor"], wallet="eye")
    return "eye"
