"""`groat status` asks whatever answers: no answer of a stranger's is a traceback."""

import gc
import http.server
import json
import ssl
import threading

import pytest
import typer

from chain.api_address import published_api_address
from chain.cli.commands import app
from chain.endpoint import Endpoint
from chain.service.http.tls_context import tls_context
from chain.service.miner.json_rpc import RpcClient, RpcFailure, UnavailableError, UnreachableError
from chain.service.remote import (
    RemoteError,
    fetch_peers,
    fetch_status,
    peers_table,
    readable,
    silence_of,
)

STATUS = {
    "network": "main",
    "height": 1,
    "peers": 1,
    "tip_time": 1,
    "sync_progress": 0.5,
    "hashes_per_second": 0.0,
    "uptime_s": 1,
    "mempool_bytes": 1,
    "mempool_vsize": 1,
}
DEEP = b"[" * 100_000


@pytest.fixture(scope="module")
def server():
    """A server that answers everything with `server.body`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(self.server.status)
            self.end_headers()
            self.wfile.write(self.server.body)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        running.status = 200
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", DEEP, b"1" * 5000])
def test_what_is_no_status_ends_in_one_line(server, body):
    server.body = body
    with pytest.raises(RemoteError, match="is not the API of a groat node") as caught:
        fetch_status(Endpoint(*server.server_address))
    assert len(str(caught.value).splitlines()) == 1


def test_a_status_is_taken_up_to_a_megabyte(server):
    server.body = json.dumps({"a": "x" * 999_991}).encode()
    assert len(server.body) == 1_000_000
    assert fetch_status(Endpoint(*server.server_address))["a"]
    server.body += b" "
    with pytest.raises(RemoteError, match="is not the API"):
        fetch_status(Endpoint(*server.server_address))


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "50.0%"),
        ({"peers": 0, "hashes_per_second": 1.0}, "mining without peers"),
        ({"peers": 0, "mining": "on"}, "mining without peers"),
        (
            {"peers": 0, "hashes_per_second": 1.0, "mining": "waiting: x"},
            "waiting for peers",
        ),
        ({"peers": 0, "network": "regtest"}, "50.0%"),
        ({"peers": 0, "network": "regtest", "height": 0}, "waiting for peers"),
        ({"height": 0}, "50.0%"),
        ({"peers": 0, "hashes_per_second": 0.0}, "waiting for peers"),
        ({"peers": 0, "height": 0, "hashes_per_second": 1.0}, "waiting for peers"),
    ],
)
def test_a_node_without_peers_is_not_said_to_be_in_sync(changes, shown):
    assert readable(STATUS | changes)["sync_progress"] == shown


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"mining": "off"}, "off"),
        ({"mining": "on", "hashes_per_second": 2.5e6}, "2.50 MH/s"),
        ({"mining": "waiting: no peers yet"}, "waiting: no peers yet"),
        ({}, "0.00 MH/s"),
    ],
)
def test_a_status_says_whether_the_node_mines_and_why_not(said, shown):
    assert readable(STATUS | said)["mining"] == shown


@pytest.mark.parametrize(
    ("age", "is_silent"),
    [(0, False), (5.0, False), (5.1, True), (90_061, True), (1e300, True), ("x", False)],
)
def test_a_node_is_silent_after_five_seconds_without_a_heartbeat(server, age, is_silent):
    server.body = json.dumps({"status": "ok", "node_age_s": age}).encode()
    said = silence_of(Endpoint(*server.server_address))
    assert (said is not None) is is_silent
    assert age != 90_061 or "silent for 1 day, 1:01:01: these are the last values" in said


def run_status(*words):
    command = typer.main.get_command(app)
    with pytest.raises(SystemExit) as ended:
        command.main(["status", "--network", "regtest", *words], prog_name="groat")
    return ended.value.code


@pytest.mark.parametrize("flags", [(), ("--peers",), ("--peers", "--json")])
def test_status_says_that_it_shows_another_node_than_the_data_directorys(
    server, tmp_path, monkeypatch, capsys, flags
):
    monkeypatch.delenv("GROAT_API", raising=False)
    endpoint = Endpoint(*server.server_address)
    server.body = json.dumps([] if flags else STATUS | {"node_age_s": 0}).encode()
    (tmp_path / "groat.toml").write_text(f'api = "{endpoint}"\n')
    words = ("--datadir", str(tmp_path), *flags)
    assert run_status(*words) == 0
    shown = capsys.readouterr()
    url = f"http://{endpoint}"
    assert shown.err == (
        f"groat: no node runs with this --network and --datadir; this is another one, at {url}\n"
    )
    assert run_status(*words, "--api", str(endpoint)) == 0
    assert capsys.readouterr() == (shown.out, "")
    folder = tmp_path / "regtest"
    folder.mkdir(exist_ok=True)
    with published_api_address(folder, endpoint):
        assert run_status(*words) == 0
    assert capsys.readouterr() == (shown.out, "")


def test_a_silent_nodes_status_is_not_called_another_nodes(server, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("GROAT_API", raising=False)
    server.body = json.dumps(STATUS | {"node_age_s": 60}).encode()
    (tmp_path / "groat.toml").write_text(f'api = "{Endpoint(*server.server_address)}"\n')
    assert run_status("--datadir", str(tmp_path)) == 1
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith("groat: the node has been silent for")


def test_clients_made_again_and_again_share_a_tls_context(server):
    def contexts():
        return sum(isinstance(each, ssl.SSLContext) for each in gc.get_objects())

    server.body = b'{"result": 7, "error": null}'
    endpoint = Endpoint(*server.server_address)
    url = f"http://{endpoint}/"
    tls_context(url)
    gc.collect()
    gc.disable()  # as good as never: such a client is few objects
    try:
        before = contexts()
        for _ in range(3):
            rpc = RpcClient(url, lambda: ("a", "b"))
            assert rpc.call("getblockcount") == 7
            rpc.close()
            fetch_status(endpoint)
        assert contexts() == before
    finally:
        gc.enable()


def test_only_a_client_of_https_reads_the_public_authorities():
    assert tls_context("HTTPS://a") is tls_context("https://b")
    assert tls_context("https://a").cert_store_stats()["x509_ca"] > 0
    assert tls_context("http://a").cert_store_stats()["x509_ca"] == 0


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b'{"node_age_s": NaN}'])
def test_a_node_that_says_no_age_is_not_called_silent(server, body):
    server.body = body
    assert silence_of(Endpoint(*server.server_address)) is None


def test_a_reason_not_to_answer_now_is_shown_in_one_line(server):
    server.status, server.body = 503, b"the node is not running,\nso \x1b[31mthis cannot be done"
    with pytest.raises(RemoteError, match=r"answers: the node is not running, so .*cannot be done"):
        fetch_peers(Endpoint(*server.server_address))
    server.status = 200


@pytest.mark.parametrize("name", STATUS)
@pytest.mark.parametrize("value", [None, "x", [], float("inf"), float("nan"), 10**400, -(10**20)])
def test_a_status_of_other_values_is_shown_or_ends_in_one_line(name, value):
    assert readable(STATUS)["uptime"] == "0:00:01"
    problem = ""
    try:
        readable(STATUS | {name: value})
    except RemoteError as error:
        problem = str(error)
    assert problem in {"", "what answers is not the API of a groat node"}
    with pytest.raises(RemoteError):
        readable({key: each for key, each in STATUS.items() if key != name})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        DEEP,
        b'{"error": {"code": 1e999, "message": ""}}',
        b'{"error": {"code": null, "message": ""}}',
        b'{"error": {}}',
        b'{"error": null}',
        b"\xff",
    ],
)
def test_what_is_no_reply_of_json_rpc_ends_in_one_line(server, body):
    server.body = body
    host, port = server.server_address
    rpc = RpcClient(f"http://{host}:{port}", lambda: ("user", "password"))
    with rpc._client, pytest.raises(RpcFailure, match="speaks no JSON-RPC"):
        rpc.call("getblockcount")


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b'{"error": {"code": -9, "message": "no node now"}}', UnavailableError, "no node now"),
        (b"Work queue depth exceeded", UnreachableError, "is busy"),
        (b'{"error": null}', UnreachableError, "is busy"),
        (DEEP, UnreachableError, "is busy"),
    ],
)
def test_what_cannot_be_done_now_is_said_in_the_servers_words(
    server, monkeypatch, body, kind, text
):
    monkeypatch.setattr(server, "status", 503)
    server.body = body
    host, port = server.server_address
    rpc = RpcClient(f"http://{host}:{port}", lambda: ("user", "password"))
    with rpc._client, pytest.raises(kind, match=text) as caught:
        rpc.call("getpeerinfo")
    assert type(caught.value) is kind


PEER = {
    "id": 3,
    "address": "192.0.2.1:9444",
    "inbound": True,
    "agent": "groat:0.1.0",
    "connected_at": 100,
    "height": 7,
    "latency_s": 0.25,
    "bytes_sent": 1000,
    "bytes_received": 2_000_000,
}


def test_peers_are_a_table_and_a_sum():
    head, line, _, last = peers_table([PEER], 160)
    assert line.split("  ")[0] == "3"
    for text in ("in", "192.0.2.1:9444", "7", "250 ms", "1 kB", "2,000 kB", "0:01:00"):
        assert text in line
    assert len(head.split()) == 9
    assert last == "1 peer: 1 inbound, 0 outbound"
    assert peers_table([], 0)[-1] == "0 peers: 0 inbound, 0 outbound"
    assert "-" in peers_table([PEER | {"height": None, "latency_s": None}], 160)[1].split()


@pytest.mark.parametrize("name", PEER)
@pytest.mark.parametrize("value", [None, "x", [], float("inf"), float("nan"), 10**400, "\x1b[2J"])
def test_a_peer_of_other_values_is_shown_or_ends_in_one_line(name, value):
    problem = ""
    try:
        assert not any("\x1b" in line for line in peers_table([PEER | {name: value}], 160))
    except RemoteError as error:
        problem = str(error)
    assert problem in {"", "what answers is not the API of a groat node"}


def test_status_shows_the_time_of_the_tip_as_the_wallet_shows_times():
    assert readable(STATUS)["tip_time"] == "1970-01-01 00:00:01Z"
