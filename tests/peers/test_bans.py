"""Bans between whole nodes over real HTTP: links end, nobody banned gets in, and they last."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from chain.gossip.bans import BANS_MAX, Ban, parse_network
from chain.gossip.wire.address import parse_address
from chain.service.clock import Clock
from chain.service.http.census import Census
from chain.service.peers import store
from chain.service.peers.bans import BANS_NAME, banned_hosts, load_bans
from tests.peers.nodes import LOCALHOST, Running, linked, running, until
from tests.peers.stranger import HELLO, PREFIX, calling

NOBODY = parse_address("127.0.0.2", 1)  # where nothing listens
Scenario = Callable[[Running, Running], Awaitable[None]]


def ban(node: Running, text: str, seconds: int = 1000) -> None:
    now_s = Clock().unix_s()
    assert node.service.bans.add(Ban(parse_network(text), now_s, now_s + seconds))
    node.service.bans_changed()


def unban(node: Running, text: str) -> None:
    assert node.service.bans.remove(parse_network(text), Clock().unix_s())
    node.service.bans_changed()


def on_pair(folder: Path, scenario: Scenario) -> None:
    """Run a scenario on two nodes, the second of which dialled the first."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(folder / "one"))
            two = await stack.enter_async_context(running(folder / "two", peers=(one.address,)))
            await linked(one, two)
            await scenario(one, two)
            assert one.failures == two.failures == []

    asyncio.run(main())


async def answered(node: Running, source: str = LOCALHOST) -> int:
    """Ask from an address who is there; return the status, 0 if the connection is dropped."""
    async with calling(node.address, source) as client:
        try:
            return (await client.get(f"{PREFIX}/hello")).status_code
        except httpx.HTTPError:
            return 0


@pytest.mark.net
@pytest.mark.parametrize("network", ["::ffff:127.0.0.1", "0.0.0.0/0"])
def test_who_is_linked_and_banned_is_cut_off_and_stays_out(tmp_path: Path, network: str) -> None:
    async def scenario(one: Running, two: Running) -> None:
        assert await answered(one) == 200
        ban(one, network)
        await until(lambda: one.service.connected() == two.service.connected() == [], "no link")
        assert await answered(one) == 0, "dropped before a byte is read"
        two.service.try_peer(one.address)
        await until(lambda: two.service.counts["dial failed: unreachable"] > 0, "a vain dial")
        assert one.service.counts["link opened"] == 1

    on_pair(tmp_path, scenario)


@pytest.mark.net
def test_a_ban_of_others_bothers_nobody(tmp_path: Path) -> None:
    async def scenario(one: Running, two: Running) -> None:
        for network in ("::/0", "127.0.0.2/31", "128.0.0.0/1", "0.0.0.0/2"):
            ban(one, network)
        assert await answered(one) == 200
        two.service.remove_peer(str(one.address))
        await until(lambda: one.service.connected() == [], "no link")
        two.service.try_peer(one.address)
        await linked(one, two)

    on_pair(tmp_path, scenario)


@pytest.mark.net
def test_only_connections_from_the_network_are_dropped(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as node:
            ban(node, "127.0.0.2/31")
            statuses = [await answered(node, f"127.0.0.{number}") for number in (1, 2, 3, 4)]
            assert statuses == [200, 0, 0, 200]

    asyncio.run(main())


@pytest.mark.net
def test_over_a_connection_from_before_the_ban_no_link_is_made(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as node, calling(node.address) as client:
            assert (await client.get(f"{PREFIX}/hello")).status_code == 200
            ban(node, "127.0.0.0/8")
            answer = await client.post(f"{PREFIX}/links", content=HELLO.encode())
            assert answer.status_code == 403
            assert node.service.connected() == []

    asyncio.run(main())


@pytest.mark.net
def test_who_bans_dials_no_more_until_the_ban_is_lifted(tmp_path: Path) -> None:
    async def scenario(one: Running, two: Running) -> None:
        ban(two, LOCALHOST)
        await until(lambda: one.service.connected() == two.service.connected() == [], "no link")
        two.service.try_peer(one.address)
        two.service.add_peer(one.address)
        two.service.try_peer(NOBODY)
        await until(lambda: two.service.counts["dial failed: unreachable"] > 0, "its turn")
        for _ in range(5):  # as long as a dial that was begun would take
            assert await answered(one) == 200
        assert one.service.counts["link opened"] == two.service.counts["link opened"] == 1
        unban(two, LOCALHOST)
        two.service.try_peer(one.address)
        await linked(one, two)
        assert two.service.counts["link opened"] == 2

    on_pair(tmp_path, scenario)


@pytest.mark.net
def test_bans_outlive_a_restart_and_expired_ones_do_not(tmp_path: Path) -> None:
    async def first() -> None:
        async with running(tmp_path) as node:
            ban(node, "127.0.0.0/30")
            ban(node, "127.0.0.1", seconds=0)
            await until(lambda: BANS_NAME in store.load(tmp_path).saved, "saved at once")

    async def second() -> None:
        async with running(tmp_path) as node:
            assert [str(one.network) for one in node.service.bans.listed(0)] == ["127.0.0.0/30"]
            assert await answered(node) == 0
            unban(node, "127.0.0.0/30")
            assert await answered(node) == 200

    async def third() -> None:
        async with running(tmp_path) as node:
            assert len(node.service.bans) == 0

    for run in (first, second, third):
        asyncio.run(run())


def test_damaged_bans_are_told_of_and_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    assert len(load_bans(store.PeersFile(saved={BANS_NAME: b"\x01\x05"}), Clock())) == 0
    assert "starting without the bans" in caplog.text


def test_a_listener_counts_nobody_who_is_banned() -> None:
    bans = load_bans(store.PeersFile(), Clock())
    now_s = Clock().unix_s()
    bans.add(Ban(parse_network("192.0.2.0/24"), now_s, now_s + 1000))
    bans.add(Ban(parse_network("fe80::/10"), now_s, now_s + 1000))
    census = Census(9, 9, is_banned=banned_hosts(bans, Clock()))
    for host in ("192.0.2.0", "::ffff:192.0.2.255", "fe80::1%eth0", "febf::"):
        assert census.admit(host, lambda: None) is None, host
    for host in ("192.0.3.0", "fec0::1", LOCALHOST):
        assert census.admit(host, lambda: None) is not None, host
    assert census.total == 3


def test_as_many_bans_as_there_may_be_fit_into_the_file(tmp_path: Path) -> None:
    bans = load_bans(store.PeersFile(), Clock())
    for number in range(BANS_MAX):
        bans.add(Ban(parse_network(f"2001:db8::{number:x}"), 0, 1 << 62))
    kept = store.PeersFile(saved={BANS_NAME: bans.save()})
    store.save(tmp_path, kept)
    assert len(load_bans(store.load(tmp_path), Clock())) == BANS_MAX
