"""Seeds over real sockets: names by a resolver of the test's own, nodes on 127.0.0.1."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from chain.gossip.actions import ResolveSeed
from chain.gossip.events import SeedResolved
from chain.gossip.seeds import DnsSeed
from chain.gossip.wire.address import parse_address
from chain.service.peers.inbox import Inbox
from chain.service.peers.resolver import RESOLVES_MAX, Resolver, SeedResolver
from tests.patience import PATIENCE_S
from tests.peers.nodes import LOCALHOST, Running, running, until

pytestmark = pytest.mark.net

NAME = "seed.example.org"
Answer = list[tuple[object, ...]]


def answering(*hosts: str) -> Callable[..., Answer]:
    """Return a resolver that knows one name."""

    def lookup(host: str, port: int, **_how: object) -> Answer:
        if host != NAME:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port, *([0, 0] * (":" in found))))
            for found in hosts
        ]

    return lookup


def peer_ports(node: Running) -> set[int]:
    return {int(peer.address.rpartition(":")[2]) for peer in node.service.connected()}


def test_a_seed_that_is_a_node_gives_the_addresses_that_it_knows(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            seed = await stack.enter_async_context(running(tmp_path / "seed"))
            other = await stack.enter_async_context(
                running(tmp_path / "other", seeds=(seed.address,))
            )
            await until(lambda: len(seed.service.connected()) == 1, "the other is linked")
            await until(lambda: bool(seed.service.known_addresses(1, {4})), "it is known")
            new = await stack.enter_async_context(running(tmp_path / "new", seeds=(seed.address,)))
            await until(lambda: other.address.port in peer_ports(new), "a link to the other")

    asyncio.run(main())


def test_a_dns_seed_leads_to_the_node_at_its_address_on_the_networks_port(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            node = await stack.enter_async_context(running(tmp_path / "node"))
            seeds = (DnsSeed(NAME, node.address.port),)
            new = await stack.enter_async_context(
                running(tmp_path / "new", seeds=seeds, lookup=answering("192.0.2.1", LOCALHOST))
            )
            await until(lambda: node.address.port in peer_ports(new), "a link")
            assert [known.host for known in new.service.known_addresses(9, {4})] == [LOCALHOST]

    asyncio.run(main())


def test_a_node_that_is_a_seed_of_its_own_network_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server((LOCALHOST, 0)) as server:
        port = server.getsockname()[1]
    caplog.set_level("INFO")

    async def main() -> None:
        seed = parse_address(LOCALHOST, port)
        async with running(tmp_path / "seed", seeds=(seed,), port=port) as node:
            await until(lambda: bool(node.service.counts["dial failed: self"]), "it noticed")

    asyncio.run(main())
    said = [record.getMessage() for record in caplog.records]
    assert said.count(f"cannot connect to {LOCALHOST}:{port}: it is this node") == 1


def test_a_name_that_cannot_be_resolved_is_one_line_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        seeds = (DnsSeed("no.example", 1),)
        async with running(tmp_path / "new", seeds=seeds, lookup=answering()):
            await until(lambda: "no.example" in caplog.text, "the line")

    asyncio.run(main())
    said = [record.getMessage() for record in caplog.records if "no.example" in record.getMessage()]
    assert said == ["cannot resolve the seed no.example: Name or service not known"]


def test_a_node_stops_at_once_while_a_name_server_is_silent(tmp_path: Path) -> None:
    is_over, is_begun = threading.Event(), threading.Event()

    def silent(*_what: object, **_how: object) -> Answer:
        is_begun.set()
        is_over.wait(PATIENCE_S)
        return []

    async def main() -> float:
        async with running(tmp_path / "new", seeds=(DnsSeed(NAME, 1),), lookup=silent):
            await until(is_begun.is_set, "the look-up")
            stopping_s = time.monotonic()
        return time.monotonic() - stopping_s

    try:
        assert asyncio.run(main()) < 5
    finally:
        is_over.set()


def resolved(resolver: Resolver, host: str, port: int = 9444) -> tuple[object, ...]:
    return asyncio.run(resolver.resolve(host, port))


def test_an_ip_is_never_looked_up() -> None:
    def never(*_what: object, **_how: object) -> Answer:
        raise AssertionError("looked up")

    for host in ("127.0.0.1", "::1", "::ffff:192.0.2.1"):
        assert resolved(Resolver(never), host) == (parse_address(host, 9444),)


def test_a_name_has_each_of_its_addresses_once_with_the_given_port() -> None:
    found = resolved(Resolver(answering("192.0.2.1", "2001:db8::1", "192.0.2.1")), NAME)
    assert found == (parse_address("192.0.2.1", 9444), parse_address("2001:db8::1", 9444))


@pytest.mark.parametrize(
    ("lookup", "why"),
    [
        (answering(), "it has no address"),
        (lambda *_, **__: "x".encode("idna") and b"\xff".decode(), "utf-8"),
        (lambda *_, **__: time.sleep(0.3) or [], r"no answer within 0\.1 s"),
    ],
)
def test_what_has_no_address_is_an_os_error(lookup: Callable[..., Answer], why: str) -> None:
    with pytest.raises(OSError, match=why):
        resolved(Resolver(lookup, limit_s=0.1), NAME)


def test_few_names_are_looked_up_at_a_time_and_a_late_one_keeps_its_place() -> None:
    begun: list[str] = []
    is_over = threading.Event()

    def slow(host: str, *_what: object, **_how: object) -> Answer:
        begun.append(host)
        is_over.wait(PATIENCE_S)
        return []

    async def main() -> None:
        resolver = Resolver(slow, limit_s=0.1)
        names = [f"n{number}.example" for number in range(RESOLVES_MAX + 2)]
        jobs = [resolver.resolve(name, 1) for name in names]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        assert all(isinstance(result, OSError) for result in results)
        assert sorted(begun) == names[:RESOLVES_MAX]
        is_over.set()
        with pytest.raises(OSError, match="it has no address"):
            await Resolver(slow, limit_s=5).resolve("again.example", 1)
        await until(lambda: not resolver._slots.locked(), "the threads have ended")

    try:
        asyncio.run(main())
    finally:
        is_over.set()


def test_each_request_of_the_core_gets_exactly_one_reply() -> None:
    async def main() -> None:
        inbox = Inbox()
        good, bad = DnsSeed(NAME, 1), DnsSeed("no.example", 1)
        async with asyncio.TaskGroup() as tasks:
            seeds = SeedResolver(Resolver(answering(LOCALHOST)), inbox, tasks)
            for seed in (good, bad):
                seeds.resolve(ResolveSeed(seed))
        found = {inbox.take(), inbox.take()}
        address = parse_address(LOCALHOST, 1)
        assert found == {SeedResolved(good, (address,)), SeedResolved(bad, ())}
        assert inbox.take() is None

    asyncio.run(main())
