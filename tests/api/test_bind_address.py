"""A wildcard bind address cannot be dialled: clients connect to a loopback address instead."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from chain.endpoint import Endpoint, dial_host, dial_url, is_port
from chain.service.http.census import exempt_loopback
from chain.service.http.guard import GuardLimits
from chain.service.http.listener import Listener
from chain.service.miner.json_rpc import RpcClient, RpcFailure
from chain.service.process import ready_line
from chain.service.remote import RemoteError, fetch_status
from tests.api.harness import PASSWORD, Running
from tests.end_to_end.processes import NodeProcess, wait_until
from wallet.errors import InputError
from wallet.esplora import Esplora

EVERY_ADDRESS = ["0.0.0.0", "::"]


@asynccontextmanager
async def listening_on(node: Running, host: str) -> AsyncIterator[Endpoint]:
    listener = Listener(node.app, GuardLimits(exempt=exempt_loopback))
    await listener.start(host, 0)
    try:
        yield Endpoint(listener.host, listener.port)
    finally:
        node.context.end_streams()
        await listener.stop()


def login() -> tuple[str, str]:
    return "__cookie__", PASSWORD


def block_count(api: Endpoint) -> int:
    rpc = RpcClient(f"http://{api}/", login)
    with rpc._client:  # which is closed with the process otherwise
        return rpc.call("getblockcount")


@pytest.mark.parametrize(
    ("host", "dialled"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("0", "127.0.0.1"),
        ("0.0", "127.0.0.1"),
        ("0x0", "127.0.0.1"),
        ("::ffff:0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("0:0:0:0:0:0:0:0", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.1", "0.0.0.1"),
        ("127.1", "127.1"),
        ("::1", "::1"),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
        ("fe80::1%lo", "fe80::1%lo"),
        ("node.example", "node.example"),
        ("0.example", "0.example"),
        ("", ""),
        ("a\0b", "a\0b"),
    ],
)
def test_every_spelling_of_every_address_is_dialled_as_loopback(host, dialled):
    assert dial_host(host) == dialled
    assert Endpoint(host, 5).to_dial() == Endpoint(dialled, 5)


@pytest.mark.parametrize(
    ("url", "dialled"),
    [
        ("http://0.0.0.0:5/api", "http://127.0.0.1:5/api"),
        ("http://0.0.0.0", "http://127.0.0.1"),
        ("http://0.0.0.0/", "http://127.0.0.1/"),
        ("http://[::]:5/api", "http://[::1]:5/api"),
        ("http://[::]/api", "http://[::1]/api"),
        ("http://0:5", "http://127.0.0.1:5"),
        ("http://Node.Example:5/api/", "http://Node.Example:5/api/"),
        ("https://[2001:db8::1]/", "https://[2001:db8::1]/"),
        ("http://[", "http://["),
        ("http://0.0.0.0.example/0.0.0.0", "http://0.0.0.0.example/0.0.0.0"),
    ],
)
def test_a_url_of_every_address_is_dialled_as_loopback(url, dialled):
    assert dial_url(url) == dialled
    assert dial_url(f"{url}?a=1#b") == f"{dialled}?a=1#b"
    assert Esplora(url).url == dialled.rstrip("/")


@pytest.mark.parametrize(
    "url", ["http://h:0", "http://h:65536", "http://h:-1", "http://h:1.5", "http://h:true"]
)
def test_a_url_with_a_port_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match=r"[Pp]ort"):
        dial_url(url)
    with pytest.raises(InputError, match="is not the address of a node"):
        Esplora(url)


@pytest.mark.parametrize("value", [0, 1, 65535])
def test_a_port_is_a_number_up_to_65535(value):
    assert is_port(value)


@pytest.mark.parametrize("value", [-1, 65536, True, 1.0, 1.5, float("nan"), "1", None, [1]])
def test_what_is_no_port(value):
    assert not is_port(value)


@pytest.mark.parametrize(
    ("api", "url"),
    [
        (Endpoint("0.0.0.0", 5), "http://127.0.0.1:5"),
        (Endpoint("::", 5), "http://[::1]:5"),
        (Endpoint("::1", 5), "http://[::1]:5"),
        (Endpoint("192.0.2.1", 5), "http://192.0.2.1:5"),
    ],
)
def test_the_ready_lines_url_can_be_dialled(api, url):
    line = ready_line("main", Endpoint("::", 9), api)
    assert line == f"groat: ready network=main p2p=[::]:9 api={url}"


@pytest.mark.parametrize("host", EVERY_ADDRESS)
def test_status_and_mining_reach_a_node_that_listens_on_every_address(on_node, host):
    async def scenario(node):
        async with listening_on(node, host) as api:
            status = await asyncio.to_thread(fetch_status, api)
            assert status["height"] == 0
            assert await asyncio.to_thread(block_count, api) == 0
            async with httpx.AsyncClient(trust_env=False) as client:
                path = "/api/v1/status"
                reply = await client.get(f"http://{api}{path}")
                assert reply.status_code == 421
                assert "start the node with --api-host NAME" in reply.text
                reply = await client.get(f"http://{api.to_dial()}{path}")
                assert reply.status_code == 200

    on_node(scenario)


def test_a_socket_on_every_ipv6_address_answers_to_the_ipv4_address_that_was_dialled(on_node):
    async def scenario(node):
        async with listening_on(node, "::") as api, httpx.AsyncClient(trust_env=False) as client:
            url = f"http://127.0.0.2:{api.port}/api/v1/status"
            assert (await client.get(url)).status_code == 200
            reply = await client.get(url, headers={"Host": f"127.0.0.3:{api.port}"})
            assert reply.status_code == 421

    on_node(scenario)


def test_a_name_that_the_node_does_not_answer_to_is_told_so(on_node):
    async def scenario(node):
        async with listening_on(node, "127.0.0.1") as api:
            named = Endpoint("127.1", api.port)  # another spelling, which only connecting knows
            with pytest.raises(RemoteError, match="start it with --api-host"):
                await asyncio.to_thread(fetch_status, named)
            with pytest.raises(RpcFailure, match="--api-host"):
                await asyncio.to_thread(block_count, named)

    on_node(scenario)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://h:0", "no port from 1 to 65535"),
        ("http://h:65536", "no port from 1 to 65535"),
        ("http://h:-1", "no port from 1 to 65535"),
        ("http://h:99999999999", "no port from 1 to 65535"),
        ("http://h:1.5", "is not a URL"),
        ("http://h:" + "9" * 5000, "is not a URL"),
        ("http://h:true", "is not a URL"),
    ],
)
def test_a_urls_port_is_checked(url, why):
    with pytest.raises(RpcFailure, match=why) as caught:
        RpcClient(url, login)
    assert len(str(caught.value)) < 500
    RpcClient("http://h:65535", login)


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_what_a_node_on_every_address_says_of_itself_can_be_used(tmp_path, host):
    one = NodeProcess(tmp_path / "one", p2p=f"{host}:0", api=f"{host}:0").start()
    two = NodeProcess(
        tmp_path / "two", ["--peer", one.p2p.replace("0.0.0.0", "127.0.0.1").replace("::", "::1")]
    )
    try:
        assert one.get("/api/v1/status").status_code == 200
        assert host not in one.api
        two.start()
        wait_until(lambda: two.rpc("getconnectioncount") == 1, "a link to the one")
        two.api = two.api.replace("127.0.0.1", "localhost")
        assert two.get("/").status_code == 200
    finally:
        assert (one.stop(), two.stop()) == (0, 0)
