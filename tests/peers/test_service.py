"""The service's life: what ends it, what does not, and that nothing is left behind."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from ipaddress import ip_address
from pathlib import Path

import pytest

from chain.consensus.params import DEVNET, MAIN, REGTEST, TEST, Params
from chain.gossip.config import config_for
from chain.gossip.wire.address import Address
from chain.gossip.wire.hello import decode_hello
from chain.node.ledger_requests import LedgerReply
from chain.service.ledger_thread import LedgerBusyError, LedgerThread
from chain.service.peers.acceptor import guard_limits, server_limits
from chain.service.peers.driver import LedgerCall
from tests.peers.nodes import Running, chain_of, linked, running, until
from tests.peers.stranger import PREFIX, calling

pytestmark = pytest.mark.net


class BrokenError(Exception):
    """What a failed disk raises."""


def busy_at_first(thread: LedgerThread) -> LedgerCall:
    refused = iter(range(5))

    def call(function: Callable[[], LedgerReply], /) -> Awaitable[LedgerReply]:
        if next(refused, None) is not None:
            raise LedgerBusyError
        return thread.call(function)

    return call


def broken(_thread: LedgerThread) -> LedgerCall:
    async def call(_function: Callable[[], LedgerReply], /) -> LedgerReply:
        raise BrokenError

    return call


def test_a_taken_port_is_told_as_such(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "one") as one:
            with pytest.raises(OSError, match="in use"):
                async with running(tmp_path / "two", port=one.address.port):
                    pass

    asyncio.run(main())


def test_five_nodes_of_one_machine_link_to_the_same_node_in_public_too(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(tmp_path / "one", params=TEST))
            for number in range(4):
                folder = tmp_path / f"other{number}"
                await stack.enter_async_context(running(folder, params=TEST, peers=(one.address,)))
            await linked(one, count=4)

    asyncio.run(main())


def test_a_busy_ledger_is_asked_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(tmp_path / "one"))
            await one.take(*chain_of(20).blocks)
            two = await stack.enter_async_context(
                running(tmp_path / "two", peers=(one.address,), call=busy_at_first)
            )
            await until(lambda: two.height == 20, "20 blocks")

    asyncio.run(main())


def test_a_failed_ledger_ends_the_service_and_its_links(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(tmp_path / "one"))
            await one.take(*chain_of(1).blocks)
            with pytest.raises(ExceptionGroup) as caught:
                async with running(tmp_path / "two", peers=(one.address,), call=broken) as two:
                    await two.service.wait()
            assert caught.group_contains(BrokenError)
            assert two.service.connected() == []
            await until(lambda: one.service.connected() == [], "no link")

    asyncio.run(main())


def test_a_stopped_service_leaves_no_task(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(tmp_path / "one"))
            two = await stack.enter_async_context(running(tmp_path / "two", peers=(one.address,)))
            await linked(one, two)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        for node in (one, two):
            assert node.service.connected() == []
            node.service.broadcast_block(chain_of(1).blocks[0])  # nobody to tell, and no error
            await node.service.wait()

    asyncio.run(main())


def test_a_ledger_that_stops_answering_does_not_stop_the_protocol(tmp_path: Path) -> None:
    release = asyncio.Event()

    def slow(thread: LedgerThread) -> LedgerCall:
        async def call(function: Callable[[], LedgerReply], /) -> LedgerReply:
            await release.wait()
            return await thread.call(function)

        return call

    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(tmp_path / "one"))
            await one.take(*chain_of(3).blocks)
            two = await stack.enter_async_context(
                running(tmp_path / "two", peers=(one.address,), call=slow)
            )
            three = await stack.enter_async_context(
                running(tmp_path / "three", peers=(two.address,))
            )
            await linked(two, count=2)
            await linked(three)
            async with calling(two.address) as client:
                assert (await client.get(f"{PREFIX}/hello")).status_code == 200
            assert two.height == 0
            release.set()
            await until(lambda: three.height == 3, "blocks through the slow one")

    asyncio.run(main())


async def hello_of(node: Running) -> Address | None:
    async with calling(node.address, **{"groat-network": node.ledger.params.magic.hex()}) as client:
        return decode_hello((await client.get(f"{PREFIX}/hello")).content).listen


@pytest.mark.parametrize(("params", "announces"), [(REGTEST, True), (TEST, False)])
def test_a_listener_on_loopback_is_told_only_where_all_are(
    tmp_path: Path, params: Params, announces: bool
) -> None:
    async def main() -> None:
        async with running(tmp_path, params=params) as node:
            listen = await hello_of(node)
            assert listen == (Address(bytes(4), node.address.port) if announces else None)

    asyncio.run(main())


@pytest.mark.parametrize("params", [MAIN, TEST])
def test_strangers_are_limited_by_their_ip_in_public(params: Params) -> None:
    config = config_for(params, agent="groat:test")
    guard, server = guard_limits(config), server_limits(config)
    assert not any(limits.exempt(ip_address("8.8.8.8")) for limits in (guard, server))
    assert guard.connections_per_ip_max == 24
    assert (server.hello_per_minute, server.links_per_minute) == (6, 10)
    assert server.unfinished_per_address_max == 4


@pytest.mark.parametrize("ip", ["127.0.0.1", "172.17.0.1", "::1", "fd00::1", "fe80::1"])
def test_many_nodes_may_share_an_ip_that_is_no_strangers(ip: str) -> None:
    config = config_for(MAIN, agent="groat:test")
    assert guard_limits(config).exempt(ip_address(ip))
    assert server_limits(config).exempt(ip_address(ip))


@pytest.mark.parametrize("params", [DEVNET, REGTEST])
def test_many_nodes_may_share_an_ip_where_it_costs_nothing(params: Params) -> None:
    config = config_for(params, agent="groat:test")
    server = server_limits(config)
    assert (server.hello_per_minute, server.links_per_minute) == (600, 1000)
    assert server.unfinished_per_address_max == server.unfinished_max == 32
