"""Which addresses a peer can make us dial (H3)."""

import pytest

from chain.gossip.config import Reach
from chain.gossip.peers.policy import may_dial
from chain.gossip.wire.address import parse_address


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "fe80::1",
        "fc00::1",
        "100.64.0.1",
        "198.18.0.1",
        "192.0.2.1",
        "203.0.113.7",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "ff02::1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001:0:4136:e378::1",
        "192.88.99.1",
        "fec0::1",
        "::7f00:1",
        "2001:db8::1",
        "168.63.129.16",
        "192.0.0.9",
        "192.31.196.1",
        "192.52.193.1",
        "192.175.48.1",
        "198.51.100.1",
        "100::1",
        "100:0:0:1::1",
        "2001:1::1",
        "2001:3::1",
        "2001:4:112::1",
        "2001:20::1",
        "2001:30::1",
        "2620:4f:8000::1",
        "3fff::1",
        "5f00::1",
        "fd00:ec2::254",
        "::ffff:168.63.129.16",
        "4000::1",
    ],
)
def test_in_public_only_hosts_of_the_internet_are_dialled(host):
    assert not may_dial(parse_address(host, 9444), Reach.PUBLIC)


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "2a00:1450::1", "::ffff:8.8.8.8", "168.63.129.17", "2001:200::1"]
)
@pytest.mark.parametrize(
    ("port", "allowed"),
    [
        (22, False),
        (25, False),
        (80, True),
        (443, True),
        (1023, False),
        (1024, True),
        (2374, True),
        (2375, False),
        (2380, False),
        (2381, True),
        (6379, False),
        (6667, False),
        (9444, True),
        (27017, False),
        (65535, True),
    ],
)
def test_ports_of_other_services_are_not_dialled(host, port, allowed):
    assert may_dial(parse_address(host, port), Reach.PUBLIC) is allowed


@pytest.mark.parametrize(
    ("host", "local", "loopback"),
    [
        ("127.0.0.1", True, True),
        ("::1", True, True),
        ("192.168.1.1", True, False),
        ("fd00::1", True, False),
        ("169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("8.8.8.8", True, False),
        ("168.63.129.16", False, False),
        ("fd00:ec2::254", False, False),
        ("fd00:ec2::253", True, False),
        ("64:ff9b::7f00:1", False, False),
    ],
)
def test_test_networks_reach_what_is_near(host, local, loopback):
    address = parse_address(host, 9444)
    assert may_dial(address, Reach.LOCAL) is local
    assert may_dial(address, Reach.LOOPBACK) is loopback


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("localhost", 1),
        ("127.1", 1),
        ("2130706433", 1),
        ("0x7f.1", 1),
        ("1.2.3.4@host", 1),
        ("127.0.0.1", 0),
        ("127.0.0.1", 65536),
    ],
)
def test_only_literals_are_addresses(host, port):
    with pytest.raises(ValueError, match=r".+"):
        parse_address(host, port)
