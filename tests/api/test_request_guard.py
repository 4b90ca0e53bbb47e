"""Checks before every handler: hosts, origins, bodies, headers (threats H4, H5, H8, H9)."""

import httpx
import pytest
from starlette.routing import Mount

from chain.service.api.access.request_guard import (
    BODY_BYTES_MAX,
    RPC_BODY_BYTES_MAX,
    TX_BODY_BYTES_MAX,
)
from tests.api.harness import BASE, PASSWORD, PORT, Running, basic

AUTHORIZED = {"Authorization": basic("__cookie__", PASSWORD)}
OURS = [
    f"127.0.0.1:{PORT}",
    f"localhost:{PORT}",
    "localhost",
    "127.0.0.1",
    f"LOCALHOST:{PORT}",
    f"[::1]:{PORT}",
    "node.example",
    f"node.example:{PORT}",
    "proxied.example:8443",
]
FOREIGN = [
    "",
    "evil.example",
    f"evil.example:{PORT}",
    f"127.0.0.1.evil.example:{PORT}",
    f"localhost.evil.example:{PORT}",
    f"localhost.:{PORT}",
    "127.0.0.1:80",
    f"127.1:{PORT}",
    f"0x7f.1:{PORT}",
    f"2130706433:{PORT}",
    f"127.0.0.2:{PORT}",
    f"0.0.0.0:{PORT}",
    f"[::ffff:127.0.0.1]:{PORT}",
    f"192.168.0.1:{PORT}",
    f"user@127.0.0.1:{PORT}",
    f"127.0.0.1:{PORT}@evil.example",
    f"evil.example#127.0.0.1:{PORT}",
    f"evil.example/127.0.0.1:{PORT}",
    f"127.0.0.1:{PORT}, evil.example",
    "proxied.example:80",
]


def every_path(node: Running) -> list[str]:
    """Return a path for each route, in the schema or not."""
    paths = []
    for route in node.app.routes:
        if isinstance(route, Mount):
            paths.append(f"{route.path}/style.css")
        elif hasattr(route, "path"):
            paths.append(route.path.replace("{", "").replace("}", ""))
    return [*paths, *node.app.openapi()["paths"], "/nothing"]


def test_h4_other_hosts_get_nothing_on_any_route(on_node):
    async def scenario(node):
        paths = every_path(node)
        assert len(paths) >= 45
        for path in paths:
            for method in ("GET", "POST", "OPTIONS"):
                reply = await node.client.request(
                    method, path, headers={**AUTHORIZED, "Host": f"evil.example:{PORT}"}
                )
                assert reply.status_code == 421, path
                assert "start the node with --api-host NAME" in reply.text, path
        for host in FOREIGN:
            reply = await node.get("/api/v1/status", headers={"Host": host})
            assert reply.status_code == 421, host
        for host in OURS:
            reply = await node.get("/api/v1/status", headers={"Host": host})
            assert reply.status_code == 200, host

    on_node(scenario, allowed_hosts=("node.example", "proxied.example:8443"))


def test_h4_two_hosts_are_none(on_node):
    async def scenario(node):
        twice = [("Host", f"127.0.0.1:{PORT}"), ("Host", f"127.0.0.1:{PORT}")]
        request = node.client.build_request("GET", "/api/v1/status")
        request.headers = httpx.Headers(twice)
        assert (await node.client.send(request)).status_code == 400

    on_node(scenario)


def test_h5_foreign_pages_cannot_act(on_node):
    foreign = [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{PORT + 1}"},
        {"Origin": f"http://127.0.0.1:{PORT}.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ]

    async def scenario(node):
        for headers in foreign:
            for path in ("/", "/rpc", "/wallet/x"):
                for kind in ("application/json", "text/plain", "multipart/form-data"):
                    reply = await node.client.post(
                        path,
                        content=b'{"method":"stop"}',
                        headers={**AUTHORIZED, **headers, "Content-Type": kind},
                    )
                    assert reply.status_code == 403, headers
        assert node.stopped == []
        own = {"Origin": BASE, "Sec-Fetch-Site": "same-origin"}
        await node.client.post("/", content=b'{"method":"stop"}', headers={**AUTHORIZED, **own})
        assert node.stopped == [True]

    on_node(scenario)


def test_h5_without_password_nothing_is_done(on_node):
    async def scenario(node):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json", None):
            headers = {} if kind is None else {"Content-Type": kind}
            reply = await node.client.post("/", content=b'{"method":"stop"}', headers=headers)
            assert reply.status_code == 401
        reply = await node.get("/?method=stop", headers=AUTHORIZED)
        assert reply.headers["content-type"].startswith("text/html")
        assert node.stopped == []

    on_node(scenario)


def test_a_page_of_another_website_may_ask_for_a_version_and_see_which_it_got(on_node):
    async def scenario(node):
        preflight = await node.client.request("OPTIONS", "/api/v1/events")
        allowed = preflight.headers["access-control-allow-headers"].split(", ")
        assert {"groat-version", "last-event-id"} <= set(allowed)
        reply = await node.client.get("/api/blocks/tip/height")
        assert reply.headers["access-control-expose-headers"] == "groat-version"

    on_node(scenario)


def test_h5_only_public_data_may_be_read_across_sites(on_node):
    async def scenario(node):
        origin = {"Origin": "http://wallet.example"}
        for method, path, opened in [
            ("GET", "/api/blocks/tip/height", True),
            ("GET", "/api/nothing", True),
            ("OPTIONS", "/api/blocks", True),
            ("OPTIONS", "/api/tx", True),
            ("POST", "/api/tx", True),
            ("POST", "/api/txs/package", True),
            ("GET", "/", False),
            ("GET", "/metrics", False),
            ("GET", "/docs", False),
            ("OPTIONS", "/", False),
            ("OPTIONS", "/rpc", False),
            ("POST", "/rpc", False),
            ("POST", "/api/blocks", False),
        ]:
            reply = await node.client.request(method, path, headers=origin)
            allowed = {name for name in reply.headers if name.startswith("access-control-")}
            assert reply.headers.get("access-control-allow-origin") == ("*" if opened else None), (
                method, path,
            )  # fmt: skip
            assert "access-control-allow-credentials" not in allowed
            assert bool(allowed) == opened, path

    on_node(scenario)


def test_head_is_answered_like_get_without_a_body(on_node):
    async def scenario(node):
        paths = [path for path in every_path(node) if path != "/api/v1/events"]
        for path in [*paths, "/api/v1/nothing", "/block/0", "/api/block-height/0"]:
            get, head = await node.get(path), await node.client.head(path)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            for name in ("content-type", "cache-control", "access-control-allow-origin", "allow"):
                assert head.headers.get(name) == get.headers.get(name), (path, name)
        for endless in ("/api/v1/events", "/api//v1/events"):
            assert (await node.client.head(endless)).status_code == 405

    on_node(scenario)


def test_h8_encoded_bodies_are_refused(on_node):
    async def scenario(node):
        for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "GZIP"):
            headers = {**AUTHORIZED, "Content-Encoding": encoding}
            for path in ("/", "/api/tx"):
                reply = await node.client.post(path, content=b"x", headers=headers)
                assert reply.status_code == 415, encoding

    on_node(scenario)


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/api/tx", TX_BODY_BYTES_MAX),
        ("/api/txs/package", TX_BODY_BYTES_MAX),
        ("/rpc", RPC_BODY_BYTES_MAX),
    ],
)
def test_h9_bodies_are_bounded_before_and_while_they_are_read(on_node, path, limit):
    async def scenario(node):
        taken = 0

        async def stream(total):
            nonlocal taken
            while taken < total:
                piece = b" " * min(100_000, total - taken)
                taken += len(piece)
                yield piece

        async def post(total):
            return await node.client.post(path, content=stream(total), headers=AUTHORIZED)

        declared = {**AUTHORIZED, "Content-Length": str(limit + 1)}
        reply = await node.client.post(path, content=b"", headers=declared)
        assert reply.status_code == 413
        assert (await post(limit)).status_code != 413
        taken = 0
        assert (await post(100 * limit)).status_code == 413
        assert taken <= limit + 100_000, "no more is read than shows that it is too much"

    on_node(scenario)


def test_h9_odd_lengths_are_refused(on_node):
    async def scenario(node):
        for length in ("-1", "x", "1e3", "9" * 5000, str(BODY_BYTES_MAX + 1)):
            reply = await node.client.post(
                "/nothing", content=b"", headers={**AUTHORIZED, "Content-Length": length}
            )
            assert reply.status_code == 413, length

    on_node(scenario)


def test_every_reply_forbids_what_it_does_not_need(on_node):
    async def scenario(node):
        for path in ("/", "/docs", "/api/blocks", "/static/live.js", "/nothing", "/openapi.json"):
            reply = await node.get(path)
            policy = reply.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "http" not in policy
            assert reply.headers["x-content-type-options"] == "nosniff"

    on_node(scenario)


def test_static_files_stay_in_their_folder(on_node):
    async def scenario(node):
        for path in (
            "/static/../app.py",
            "/static/%2e%2e/app.py",
            "/static/..%2fapp.py",
            "/static/",
        ):
            assert (await node.get(path)).status_code == 404, path

    on_node(scenario)
