"""Words, keys and passwords come out of `create` and `show-seed`, and of nothing else."""

import re
import subprocess
import sys

import pytest

from chain.consensus.params import REGTEST
from tests.wallet.conftest import CHEAP, LEGAL
from wallet.keys.account import Keychain, open_account
from wallet.keys.keyfile import seal
from wallet.keys.secret import Secret
from wallet.store.folder import wallet_folder

PASSWORD = "correct horse battery"
PASSPHRASE = "squeamish ossifrage"
STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
PRIVATE_KEY = re.compile("[xt]prv[1-9A-HJ-NP-Za-km-z]{90}")
SECRET = Secret(LEGAL, PASSPHRASE)


def secrets():
    """Every form in which a secret of the wallet could be written down."""
    root = SECRET.root()
    account = root.descend(*open_account(SECRET, REGTEST).origin.path)
    nodes = [root, account, account.descend(0), account.descend(0, 0), account.descend(1, 0)]
    found = [PASSWORD, PASSPHRASE, LEGAL, " ".join(LEGAL.split()[:3])]
    for node in nodes:
        key = node.private_key
        found += [key.hex(), str(key), repr(key), str(int.from_bytes(key, "big"))]
        found += [node.encode(test=True), node.encode(test=False)]
    return found


@pytest.fixture
def sealed(cli, regtest):
    account = open_account(SECRET, REGTEST)
    key_file = seal(SECRET, PASSWORD, network="regtest", account=account.encode(), cost=CHEAP)
    wallet_folder(cli.datadir, REGTEST, "default").create(key_file)
    regtest.mine(account.script(Keychain.RECEIVE, 0), 3)
    regtest.mine(count=100)
    return account


def everything(cli, regtest):
    """Run every command that a sealed wallet has, also in its ways to fail; yield all output."""
    line = PASSWORD + "\n"
    yield cli.run("list")
    for command in ("balance", "history", "utxos", "address", "export"):
        yield cli.run(command)
        yield cli.run(command, "--json")
    sent = cli.run("send", STRANGER, "1", "--yes", "--fee-rate", "2", stdin=line)
    yield sent
    txid = sent.stdout.strip()
    yield cli.run("send", STRANGER, "1", "--dry-run", stdin=line)
    yield cli.run("send", STRANGER, "1", "--yes", stdin=line[1:], code=5)
    yield cli.run("send", STRANGER, "1", stdin=line, code=9)
    bumped = cli.run("bump", txid, "--fee-rate", "9", "--yes", stdin=line)
    yield bumped
    yield cli.run("cpfp", bumped.stdout.strip(), "--fee-rate", "20", "--yes", stdin=line)
    made = cli.run("psbt", "create", STRANGER, "1").stdout.strip()
    signed = cli.run("psbt", "sign", made, stdin=line + "y\n")
    yield signed
    for command in ("show", "finalize"):
        yield cli.run("psbt", command, signed.stdout.strip(), "--json")
    yield cli.run("psbt", "broadcast", signed.stdout.strip(), "--yes")
    coin = cli.json("utxos")[0]
    yield cli.run("freeze", f"{coin['txid']}:{coin['vout']}")
    yield cli.run("label", txid, "coffee")
    yield cli.run("restore", wallet="default", stdin=LEGAL + "\n", code=5)
    yield cli.run("restore", wallet="new", stdin=LEGAL.replace("legal", "eagle") + "\n", code=2)
    yield cli.run("create", "--descriptor", LEGAL, wallet="new", code=2)
    yield cli.run("show-seed", stdin=line[1:], code=5)


def test_no_secret_is_in_any_output_or_file(cli, sealed, regtest):
    forbidden = secrets()
    outputs = [result.output + result.stderr for result in everything(cli, regtest)]
    files = [path for path in cli.datadir.rglob("*") if path.is_file()]
    assert {"keys.json", "state.json", "cache.sqlite"} <= {path.name for path in files}
    contents = [path.read_bytes() for path in files]
    raw = [SECRET.root().private_key, SECRET.root().chain_code]
    for text in forbidden:
        assert not any(text in output for output in outputs), text
        assert not any(text.encode() in content for content in contents), text
    assert not any(PRIVATE_KEY.search(output) for output in outputs)
    assert not any(key in content for key in raw for content in contents)


def test_show_seed_shows_what_create_and_restore_took(cli, sealed):
    shown = cli.json("show-seed", stdin=PASSWORD + "\n")
    assert shown == {"words": LEGAL, "passphrase": PASSPHRASE}


def test_crash_prints_no_local_variables(cli, sealed):
    """A traceback of ours shows code, never values."""
    script = (
        "import sys\nimport wallet.spend.payment\nfrom wallet.command_line import app\n"
        "def broken(*_):\n    raise RuntimeError('broken hardware')\n"
        "wallet.spend.payment.sign = broken\napp(sys.argv[1:])\n"
    )
    flags = ["--network", "regtest", "--datadir", str(cli.datadir), "--node", cli.node]
    done = subprocess.run(
        [sys.executable, "-c", script, *flags, "send", STRANGER, "1", "--yes"],
        input=PASSWORD + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "broken hardware" in done.stderr
    assert not any(text in done.stdout + done.stderr for text in secrets())
    assert not re.search(r"[0-9a-f]{64}", done.stderr)
