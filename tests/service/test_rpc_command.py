"""`groat rpc`: what is text and what is JSON, what is printed, and how it ends."""

import fcntl
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from chain.api_address import API_ADDRESS_NAME, published_api_address, running_api_address
from chain.cli.commands import app
from chain.endpoint import Endpoint
from chain.service.api.rpc.methods import METHODS
from chain.service.api.rpc.missing_methods import not_found
from chain.service.api.strict_json import read_json
from chain.service.miner.json_rpc import RpcResponseError
from chain.service.readers.serve import OtherSchemaError
from chain.service.rpc_command import (
    ArgumentTypes,
    RpcArgumentError,
    RpcCallError,
    RpcPlan,
    call_node,
    error_text,
    exit_status,
    method_names,
    shown,
    types_of,
)
from chain.settings import load_settings
from scripts.lib import rpc_page
from tests.end_to_end.processes import CLEAN, NodeProcess
from tests.patience import PATIENCE_S

ADDRESS = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"
ROWS = [row for method in METHODS.values() for row in method.conversions]
TYPES = types_of(read_json(json.dumps(ROWS).encode()))


@pytest.mark.parametrize(
    ("method", "place", "text", "value"),
    [
        ("getblock", 0, "12", "12"),
        ("getblock", "blockhash", "true", "true"),
        ("getblock", 1, "true", True),
        ("getblock", "verbose", "false", False),
        ("getblockstats", 0, "00ff", "00ff"),
        ("getblockstats", 1, '["txs"]', ["txs"]),
        ("nosuch", 0, "word", "word"),
        ("nosuch", 0, '"7"', "7"),
    ],
)
def test_the_nodes_signatures_say_what_is_text_and_what_is_json(method, place, text, value):
    assert TYPES.value(method, place, text) == value
    assert ArgumentTypes().value("echo", 0, "null") is None


def test_a_number_keeps_its_digits():
    assert shown(TYPES.value("echo", 0, "0.10000000000000000001")) == "0.10000000000000000001"


@pytest.mark.parametrize("text", ["[1", '{"a"}', '"x', "[1e400, NaN]"])
def test_what_begins_as_json_and_is_none_is_named(text):
    with pytest.raises(RpcArgumentError, match="getblockstats: argument 2 is not JSON"):
        TYPES.value("getblockstats", 1, text)


@given(
    st.recursive(
        st.integers() | st.text() | st.none() | st.booleans(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_types_of_any_answer_are_some_types(rows):
    assert types_of(rows).value("m", 0, "x") == "x"


def test_results_are_printed_as_bitcoin_cli_prints_them():
    assert shown(None) == ""
    assert shown("a\nb") == "a\nb"
    assert shown(True) == "true"
    assert shown({}) == "{\n}"
    assert shown([]) == "[\n]"
    assert shown({"a": [1, {}], "b": "c"}) == (
        '{\n  "a": [\n    1,\n    {\n    }\n  ],\n  "b": "c"\n}'
    )


@pytest.mark.parametrize(
    ("code", "status"), [(-8, 8), (-1, 1), (-32601, 89), (-255, 255), (-256, 1), (0, 1)]
)
def test_the_exit_status_is_the_codes_size_and_never_that_of_success(code, status):
    assert exit_status(RpcResponseError(code, "x")) == status


def test_the_address_of_a_running_node_is_found_and_that_of_a_killed_one_is_not(tmp_path):
    endpoint = Endpoint("::1", 65_535)
    with published_api_address(tmp_path, endpoint):
        assert running_api_address(tmp_path) == endpoint
        assert (tmp_path / API_ADDRESS_NAME).stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []
    (tmp_path / API_ADDRESS_NAME).write_text("127.0.0.1:1\n")  # nobody holds it
    assert running_api_address(tmp_path) is None
    with published_api_address(tmp_path, endpoint):  # takes it over
        assert running_api_address(tmp_path) == endpoint


def test_a_client_that_looks_for_a_node_does_not_keep_it_from_naming_its_address(tmp_path):
    endpoint = Endpoint("127.0.0.1", 4711)
    file = tmp_path / API_ADDRESS_NAME
    file.touch()
    with file.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.02, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        with published_api_address(tmp_path, endpoint):
            assert running_api_address(tmp_path) == endpoint


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_in_the_place_of_an_address_counts_as_missing(tmp_path, make):
    make(tmp_path / API_ADDRESS_NAME)
    assert running_api_address(tmp_path) is None


def test_a_hostile_nodes_error_cannot_move_the_cursor_and_keeps_its_lines():
    text = error_text(RpcResponseError(-1, "a\n\tb \x1b]0;x\x07\u202e\x9b"))
    assert text == "error code: -1\nerror message:\na\n\tb ?]0;x???"


@pytest.mark.parametrize("text", ["", "x", ":1", "h:0", "h:65536", "h:-1", "h:1e3", "\xff", "h"])
def test_an_address_file_of_other_content_counts_as_missing(tmp_path, text):
    with published_api_address(tmp_path, Endpoint("h", 1)):
        (tmp_path / API_ADDRESS_NAME).write_text(text)
        assert running_api_address(tmp_path) is None


def groat_rpc(node: NodeProcess, *words: str, text: str = "") -> tuple[int, str, str]:
    """Run `groat rpc`; return its exit status, output and errors."""
    command = [sys.executable, "-m", "chain", "rpc", "--network", "regtest"]
    command += ["--datadir", str(node.folder), *words]
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, env=CLEAN, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.net
def test_rpc_finds_a_node_with_port_0_by_its_folder_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("chain.service.rpc_command._HELP_TIMEOUT_S", PATIENCE_S)
    node = NodeProcess(tmp_path / "node").start()
    try:
        code, text, _ = groat_rpc(node, "generatetoaddress", "2", ADDRESS)
        assert (code, len(json.loads(text))) == (0, 2)
        assert groat_rpc(node, "--stdin", "getblockhash", text="9\n") == (
            8,
            "",
            "error code: -8\nerror message:\nBlock height out of range\n",
        )
        assert (
            groat_rpc(node, "--named", "getblockhash", "height=0")[1]
            == node.rpc("getblockhash", 0) + "\n"
        )
        code, _, errors = groat_rpc(node, "getblockcount", "--api", "x")
        assert (code, errors) == (
            2,
            "groat: --api is after the method: write flags before getblockcount\n",
        )
        _, _, errors = groat_rpc(node, "getblockcount", "--help")
        assert errors.endswith("; groat rpc help getblockcount explains the method\n")
        settings = load_settings({"network": "regtest", "datadir": str(node.folder)})
        assert {"getblockcount", "help", "stop"} < set(method_names(settings, None)) <= set(METHODS)
        code, _, errors = groat_rpc(node, "pruneblockchain", "1")
        assert (code, errors.splitlines()[-1]) == (89, not_found("pruneblockchain"))
        code, _, errors = groat_rpc(node, "getblokcount")
        assert (code, errors) == (
            89,
            "error code: -32601\nerror message:\nMethod not found; did you mean getblockcount?\n",
        )
        cookie = tmp_path / "cookie"
        shutil.copy(node.folder / "regtest" / ".cookie", cookie)
        password = cookie.read_text().partition(":")[2]
        login = ("--user", "__cookie__", "--api", node.api)
        assert groat_rpc(node, *login, "getblockcount", text=f"{password}\n") == (0, "2\n", "")
        assert groat_rpc(node, *login, "getblockcount", text="wrong\n")[0] == 1
        node.kill()
        code, _, errors = groat_rpc(node, "getblockcount")
        assert code == 1
        assert errors.count("\n") == 1
        # Then the default port is asked, where somebody else's node may be.
        assert "is a node running" in errors or "no node runs with this" in errors
        assert groat_rpc(node, "--rpc-wait-timeout", "0.1", "getblockcount")[0] == 1
        assert (Path(node.folder) / "regtest" / API_ADDRESS_NAME).exists()
        node.api = ""
        node.start()
        assert groat_rpc(node, "getblockcount") == (0, "2\n", "")
    finally:
        assert node.stop() == 0
    assert not (Path(node.folder) / "regtest" / API_ADDRESS_NAME).exists()


@pytest.fixture
def other_node():
    """A node that refuses so many logins, as another one on the default port does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.server.refused -= 1
            self.send_response(401 if self.server.refused >= 0 else 200)
            self.end_headers()
            self.wfile.write(b'{"result": 7, "error": null, "id": 0}')

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("waits", "is_found", "problem"),
    [
        (True, False, None),
        (False, False, "; no node runs with this --network and --datadir: it is another one's"),
        (True, True, ""),
        (False, True, ""),
    ],
)
def test_rpc_wait_is_not_ended_by_another_node_on_the_default_port(
    other_node, monkeypatch, waits, is_found, problem
):
    monkeypatch.setattr("chain.service.rpc_command._RETRY_S", 0.001)
    other_node.refused = 2
    url = f"http://127.0.0.1:{other_node.server_address[1]}/"
    plan = RpcPlan(
        url=lambda: url, login=lambda: ("a", "b"), is_found=lambda: is_found, waits=waits
    )
    if problem is None:
        assert shown(call_node(plan, ["getblockcount"])) == "7"
        assert other_node.refused == -1
        return
    with pytest.raises(RpcCallError) as caught:
        call_node(plan, ["getblockcount"])
    assert str(caught.value) == f"{url} refuses the user or password{problem}"


def test_the_help_gives_the_exit_codes_that_the_commands_end_with():
    page = get_command(app)
    for text in (page.epilog, page.commands["rpc"].help):
        for code, status in re.findall(r"-(\d+) gives (\d+)", text):
            assert exit_status(RpcResponseError(-int(code), "x")) == int(status)
        assert "-32601 gives 89" in text
    assert f" {OtherSchemaError.exit_code} the database has another groat's schema" in page.epilog


def test_the_page_of_the_methods_is_what_the_code_says():
    page = rpc_page.PAGE.read_text()
    listed = page.split(rpc_page.START)[1].split(rpc_page.END)[0]
    assert listed == "\n" + rpc_page.methods_text(), "run scripts/rpc_page --write"
    assert listed.count("\n### ") == len(METHODS)
