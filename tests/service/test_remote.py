"""`groat status` asks whatever answers: no answer of a stranger's is a traceback."""

import http.server
import json
import threading

import pytest

from chain.endpoint import Endpoint
from chain.service.miner.json_rpc import RpcClient, RpcFailure
from chain.service.remote import RemoteError, fetch_status, readable

STATUS = {
    "tip_time": 1,
    "sync_progress": 0.5,
    "hashes_per_second": 1.0,
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
            self.send_response(200)
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
