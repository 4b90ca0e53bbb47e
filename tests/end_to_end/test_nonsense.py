"""What makes no sense gets one clear line and the right status, never a traceback."""

import os
import re
import socket
import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from chain.cli.commands import app
from tests.end_to_end.processes import CLEAN, PLAIN, NodeProcess, WalletCommand

pytestmark = pytest.mark.net
_NOT_CLEAN = os.environ.keys() - CLEAN.keys()
SOMEBODY = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"


def groat(*arguments: str, stdin: bytes = b"") -> tuple[int, list[str]]:
    """Run `groat` in this process and return its exit status and what it said on standard error.

    It does not start anything here: loading all its parts anew would take most of the time.
    """
    done = CliRunner(env=dict.fromkeys(_NOT_CLEAN)).invoke(app, arguments, input=stdin)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, [line for line in done.stderr.splitlines() if line]


def groat_process(*arguments: str, stdin: bytes = b"") -> tuple[int, list[str]]:
    """Do as `groat`, with a process."""
    command = [sys.executable, "-m", "chain", *arguments]
    done = subprocess.run(
        command, input=stdin, capture_output=True, env=CLEAN, timeout=60, check=False
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode, [line for line in done.stderr.decode().splitlines() if line]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    running = NodeProcess(tmp_path_factory.mktemp("node")).start()
    running.mine(3, SOMEBODY)
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.errors()


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["node", "--network", "moon"], 2, "groat: network 'moon' is not one of"),
        (["node", "--p2p", "127.0.0.1:70000"], 2, "groat: setting p2p: port 70000 is over 65535"),
        (["node", "--api", "nowhere"], 2, "groat: setting api: 'nowhere' is not HOST:PORT"),
        (["node", "--mine", "bc1q"], 2, "groat: setting mine: not an address"),
        (
            ["node", "--network", "regtest", "--rpc-auth", "me"],
            2,
            "groat: setting rpc_auth: must be",
        ),
        (["import", "no-such-file"], 1, "groat: no-such-file: No such file or directory"),
        (["check"], 1, "groat: there is no ledger"),
        (["export", "-"], 1, "groat: there is no ledger"),
        (["status", "--api", "127.0.0.1:1"], 1, "groat: no node answers at http://127.0.0.1:1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_that_makes_no_sense(tmp_path, arguments, code, line):
    if "--p2p" not in arguments and arguments[0] == "node":
        arguments = [*arguments, "--p2p", "127.0.0.1:0"]
    if "--api" not in arguments and arguments[0] == "node":
        arguments = [*arguments, "--api", "127.0.0.1:0"]
    run = groat_process if arguments == ["check"] else groat
    got, lines = run(*arguments, "--datadir", str(tmp_path))
    assert got == code
    assert lines[-1].startswith(line), lines


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--datadir"],
        ["import"],
        ["export"],
        ["bench", "import"],
        ["simulate", "--scenario"],
        ["network", "new", "x", "--output"],
        ["network", "show"],
        ["mine", "--node", "http://127.0.0.1:1", "--cookie", "x", "--address"],
        ["node", "--debug"],
    ],
    ids=" ".join,
)
def test_an_error_is_one_printable_line_whatever_it_quotes(tmp_path, monkeypatch, arguments):
    """A terminal obeys escape sequences, and a newline forges a line."""
    monkeypatch.chdir(tmp_path)
    code, lines = groat(*arguments, "a\nb\x1b[2J\u202ec")
    assert code in {1, 2}
    [line] = lines
    assert line.startswith("groat: ")
    assert line.isprintable()


def test_a_port_that_is_taken(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        for flag, other in (("--p2p", "--api"), ("--api", "--p2p")):
            code, lines = groat_process(
                "node",
                "--network",
                "regtest",
                "--datadir",
                str(tmp_path),
                flag,
                where,
                other,
                "127.0.0.1:0",
            )
            assert code == 1
            assert f"{where}: Address already in use; {flag} HOST:PORT" in lines[-1], lines


def test_a_second_process_on_one_folder(node):
    code, lines = groat_process(
        "import", "-", "--network", "regtest", "--datadir", str(node.folder)
    )
    assert code == 1
    assert "another process" in lines[-1]
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\x01" * 40, "magic"),
        (b"\xfa\xbf\xb5\xda\x10\x00\x00\x00half", "ends|cut|truncated|missing"),
    ],
)
def test_a_block_file_that_is_none(tmp_path, content, line):
    code, lines = groat(
        "import", "-", "--network", "regtest", "--datadir", str(tmp_path), stdin=content
    )
    assert code == 1
    assert re.search(line, lines[-1]), lines


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/api/block/zz", 400, "Invalid hash string"),
        ("/api/block/" + "00" * 32, 404, "Block not found"),
        ("/api/block-height/x", 400, "Invalid"),
        ("/api/block-height/99", 404, "Block not found"),
        ("/api/tx/12", 400, "Invalid hash string"),
        ("/api/tx/" + "ab" * 32, 404, "Transaction not found"),
        ("/api/address/bcrt1qqq", 400, "Invalid"),
        (
            "/api/address/bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            400,
            "Address on invalid network",
        ),
        ("/api/nothing", 404, "endpoint does not exist"),
        ("/block/zz", 404, ""),
        ("/address/zz", 404, ""),
    ],
)
def test_a_request_that_makes_no_sense(node, path, status, text):
    reply = node.get(path)
    assert reply.status_code == status
    assert text in reply.text
    assert "Traceback" not in reply.text


@pytest.mark.parametrize("body", ["", "zz", "00", "0100000000000000000000"])
def test_a_transaction_that_is_none(node, body):
    reply = httpx.post(node.api + "/api/tx", content=body, **PLAIN)
    assert reply.status_code == 400
    assert "\n" not in reply.text.strip()


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("submitblock", ["zz"], -22),
        ("submitblock", [], -1),
        ("sendrawtransaction", ["00"], -22),
        ("getblockhash", [99], -8),
        ("getblock", ["ab" * 32], -5),
        ("generatetoaddress", [1, "x"], -5),
        ("nothing", [], -32601),
    ],
)
def test_a_remote_call_that_makes_no_sense(node, method, params, code):
    user, _, password = (node.folder / "regtest" / ".cookie").read_text().partition(":")
    body = {"id": 1, "method": method, "params": params}
    reply = httpx.post(node.api + "/", json=body, auth=(user, password), **PLAIN)
    assert reply.json()["error"]["code"] == code
    assert reply.status_code == (404 if code == -32601 else 500)


@pytest.fixture(scope="module")
def wallet(node, tmp_path_factory):
    """An empty wallet: no payment here may change it."""
    made = WalletCommand(tmp_path_factory.mktemp("wallet"), node)
    made.run("create", "--no-password")
    return made


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["send", "bcrt1qnonsense", "1", "--yes"], 2, "not an address|address"),
        (["send", SOMEBODY, "lots", "--yes"], 2, "lots"),
        (["send", SOMEBODY, "1", "--yes"], 6, "enough|GROAT"),
    ],
)
def test_a_payment_that_makes_no_sense(wallet, arguments, code, text):
    done = wallet.run(*arguments, check=False)
    assert done.returncode == code, done.stderr
    assert re.search(text, done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1
