"""Who is found on the local network, by the records alone: nothing here sends a packet."""

import pytest
from zeroconf.asyncio import AsyncServiceInfo

from chain.consensus.params import DEVNET, REGTEST, Params
from chain.gossip.wire.address import Address, parse_address
from chain.service.peers.discovery import (
    ADDRESSES_MAX,
    SERVICE_TYPE,
    Discovery,
    own_addresses,
)


def discovery(params: Params = DEVNET) -> Discovery:
    return Discovery(params, found=lambda _: None)


def test_another_node_of_the_network_is_found_where_it_says() -> None:
    announced = discovery().announcement(["192.0.2.7", "192.0.2.8"], 29444)
    assert discovery().addresses(announced) == (
        parse_address("192.0.2.7", 29444),
        parse_address("192.0.2.8", 29444),
    )


def test_a_node_does_not_find_itself() -> None:
    one = discovery()
    assert one.addresses(one.announcement(["192.0.2.7"], 29444)) == ()


def test_a_node_of_another_network_is_not_found() -> None:
    announced = discovery(REGTEST).announcement(["192.0.2.7"], 39444)
    assert discovery(DEVNET).addresses(announced) == ()


@pytest.mark.parametrize("properties", [{}, {b"identity": b""}, {b"identity": None}])
def test_a_service_without_our_identity_is_not_found(properties: dict[bytes, bytes]) -> None:
    info = AsyncServiceInfo(
        SERVICE_TYPE,
        f"x.{SERVICE_TYPE}",
        parsed_addresses=["192.0.2.7"],
        port=1,
        properties=properties,
    )
    assert discovery().addresses(info) == ()


def test_of_many_addresses_a_few_are_taken() -> None:
    hosts = [f"192.0.2.{last}" for last in range(1, 100)]
    found = discovery().addresses(discovery().announcement(hosts, 29444))
    assert len(found) == ADDRESSES_MAX
    assert all(isinstance(address, Address) for address in found)


def test_an_announcement_names_neither_host_nor_user() -> None:
    one, two = (discovery().announcement(["192.0.2.7"], 1) for _ in range(2))
    assert one.name != two.name
    assert one.name.startswith("groat-")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1"])
def test_there_is_nothing_to_announce_on_loopback_or_ipv6(host: str) -> None:
    with pytest.raises(OSError, match="loopback"):
        own_addresses(host)


def test_a_bound_address_is_what_is_announced() -> None:
    assert own_addresses("192.0.2.7") == ["192.0.2.7"]
