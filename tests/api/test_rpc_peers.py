"""JSON-RPC on peers and the network: all fields of Core 30, with true values."""

from dataclasses import replace

import pytest

from chain.gossip.actions import ConnectionType
from chain.gossip.wire.address import parse_address
from chain.service.peers.peer_status import KnownAddress
from tests.api.harness import NOW, PEER, RecordingPeers

CORE_FIELDS = {
    "id", "addr", "network", "services", "servicesnames", "relaytxes", "lastsend", "lastrecv",
    "last_transaction", "last_block", "bytessent", "bytesrecv", "conntime", "timeoffset",
    "version", "subver", "inbound", "bip152_hb_to", "bip152_hb_from", "startingheight",
    "presynced_headers", "synced_headers", "synced_blocks", "inflight", "addr_relay_enabled",
    "addr_processed", "addr_rate_limited", "permissions", "minfeefilter", "bytessent_per_msg",
    "bytesrecv_per_msg", "connection_type", "transport_protocol_type", "session_id",
}  # fmt: skip
FULL_NODE = "0000000000000009"


def test_a_peer_that_nothing_is_known_of_has_every_field_that_core_always_gives(on_node):
    async def scenario(node):
        node.peers.append(replace(PEER, height=None, latency_s=None, sent={}, received={}))
        [peer] = await node.rpc("getpeerinfo")
        assert set(peer) == CORE_FIELDS
        assert (peer["synced_headers"], peer["synced_blocks"]) == (-1, -1)
        assert (peer["lastsend"], peer["last_block"], peer["bytessent"]) == (0, 0, 0)
        assert (peer["inflight"], peer["permissions"], peer["bytessent_per_msg"]) == ([], [], {})

    on_node(scenario)


def test_a_peer_is_described_as_it_is(on_node):
    peer = replace(
        PEER,
        local_address="198.51.100.1:9444",
        seen_as="203.0.113.7:9444",
        last_latency_s=0.5,
        ping_waits_s=1.25,
        clock_ahead_s=-3,
        common_height=6,
        in_flight=(8, 9),
        last_sent_at=NOW - 1,
        last_received_at=NOW - 2,
        last_transaction_at=NOW - 3,
        last_block_at=NOW - 4,
        addresses_taken=11,
        addresses_refused=12,
        fee_floor=1000,
        wants_pushes=True,
    )

    async def scenario(node):
        node.peers.append(peer)
        [shape] = await node.rpc("getpeerinfo")
        assert shape == {
            "id": 3,
            "addr": "192.0.2.1:9444",
            "addrbind": "198.51.100.1:9444",
            "addrlocal": "203.0.113.7:9444",
            "network": "ipv4",
            "services": FULL_NODE,
            "servicesnames": ["NETWORK", "WITNESS"],
            "relaytxes": True,
            "lastsend": NOW - 1,
            "lastrecv": NOW - 2,
            "last_transaction": NOW - 3,
            "last_block": NOW - 4,
            "bytessent": 10,
            "bytesrecv": 20,
            "conntime": NOW - 5,
            "timeoffset": -3,
            "pingtime": 0.5,
            "minping": 0.25,
            "pingwait": 1.25,
            "version": 1,
            "subver": "/groat:0.1.0/",
            "inbound": True,
            "bip152_hb_to": False,
            "bip152_hb_from": True,
            "startingheight": 5,
            "presynced_headers": -1,
            "synced_headers": 7,
            "synced_blocks": 6,
            "inflight": [8, 9],
            "addr_relay_enabled": True,
            "addr_processed": 11,
            "addr_rate_limited": 12,
            "permissions": [],
            "minfeefilter": 0.00001,
            "bytessent_per_msg": {"ping": 4, "block": 6},
            "bytesrecv_per_msg": {"pong": 20},
            "connection_type": "inbound",
            "transport_protocol_type": "v1",
            "session_id": "",
        }
        assert await node.rpc("getconnectioncount") == 1

    on_node(scenario)


def test_connection_types_and_services_have_cores_words(on_node):
    kinds = {
        ConnectionType.OUTBOUND_FULL_RELAY: "outbound-full-relay",
        ConnectionType.BLOCK_RELAY: "block-relay-only",
        ConnectionType.MANUAL: "manual",
        ConnectionType.ADDR_FETCH: "addr-fetch",
    }
    assert set(kinds) == set(ConnectionType)

    async def scenario(node):
        node.peers.extend(
            replace(PEER, is_inbound=False, connection_type=connection_type)
            for connection_type in kinds
        )
        node.peers.append(replace(PEER, services=0))
        *shapes, other = await node.rpc("getpeerinfo")
        assert [shape["connection_type"] for shape in shapes] == list(kinds.values())
        assert (other["services"], other["servicesnames"]) == ("0" * 16, [])

    on_node(scenario)


def test_network_information(on_node):
    async def scenario(node):
        node.peers.append(PEER)
        info = await node.rpc("getnetworkinfo")
        names = ("ipv4", "ipv6", "onion", "i2p", "cjdns")
        assert info == {
            "version": 310000,
            "subversion": "/groat:0.1.0/",
            "protocolversion": 70016,
            "localservices": FULL_NODE,
            "localservicesnames": ["NETWORK", "WITNESS"],
            "localrelay": True,
            "timeoffset": 0,
            "networkactive": True,
            "connections": 1,
            "connections_in": 1,
            "connections_out": 0,
            "networks": [
                {
                    "name": name,
                    "limited": not name.startswith("ip"),
                    "reachable": name.startswith("ip"),
                    "proxy": "",
                    "proxy_randomize_credentials": False,
                }
                for name in names
            ],
            "relayfee": 0.00001,
            "incrementalfee": info["incrementalfee"],
            "localaddresses": [],
            "warnings": [],
        }

    on_node(scenario)


@pytest.mark.parametrize(("count", "median"), [(4, 0), (5, 2), (6, 3)])
def test_time_offset_is_the_median_of_five_peers_that_we_chose(on_node, count, median):
    async def scenario(node):
        for ahead_s in range(count):
            peer = replace(
                PEER,
                clock_ahead_s=ahead_s,
                connection_type=ConnectionType.OUTBOUND_FULL_RELAY,
                is_inbound=False,
            )
            node.peers.append(peer)
        node.peers.append(replace(PEER, clock_ahead_s=9999))
        assert (await node.rpc("getnetworkinfo"))["timeoffset"] == median

    on_node(scenario)


def test_own_address_is_told_with_how_many_peers_see_it(on_node):
    own = parse_address("203.0.113.7", 9444)

    class Peers(RecordingPeers):
        def local_addresses(self):
            return [own]

    async def scenario(node):
        node.peers.extend(replace(PEER, seen_as=f"203.0.113.7:{port}") for port in (1, 2))
        node.peers.append(replace(PEER, seen_as="[2001:db8::1]:1"))
        assert (await node.rpc("getnetworkinfo"))["localaddresses"] == [
            {"address": "203.0.113.7", "port": 9444, "score": 2}
        ]

    on_node(scenario, peers=Peers())


def test_ping_and_network_activity_reach_the_peer_side(on_node):
    pings, states = [], [True]

    class Peers(RecordingPeers):
        @property
        def is_network_active(self):
            return states[-1]

        def set_network_active(self, is_active):
            states.append(is_active)

        def ping_peers(self):
            pings.append(True)

    async def scenario(node):
        assert await node.rpc("ping") is None
        assert pings == [True]
        assert await node.rpc("setnetworkactive", False) is False
        assert (await node.rpc("getnetworkinfo"))["networkactive"] is False
        assert await node.rpc("setnetworkactive", True) is True
        assert states == [True, False, True]
        assert (await node.rpc_error("setnetworkactive"))["code"] == -1
        assert (await node.rpc_error("setnetworkactive", "false"))["code"] == -3

    on_node(scenario, peers=Peers())


def test_known_addresses_are_listed_by_count_and_network(on_node):
    known = [
        KnownAddress("192.0.2.1", 9444, "ipv4", NOW, 1),
        KnownAddress("2001:db8::1", 9445, "ipv6", NOW - 9, 0),
    ]

    class Peers(RecordingPeers):
        def known_addresses(self, count, ip_bytes):
            return [k for k in known if (16 if ":" in k.host else 4) in ip_bytes][:count]

    first = {
        "time": NOW,
        "services": 9,
        "address": "192.0.2.1",
        "port": 9444,
        "network": "ipv4",
    }

    async def scenario(node):
        assert await node.rpc("getnodeaddresses") == [first]
        both = await node.rpc("getnodeaddresses", 2**31 - 1)
        assert both == await node.rpc("getnodeaddresses", 0)
        assert [shape["services"] for shape in both] == [9, 0]
        assert await node.rpc("getnodeaddresses", 0, "ipv6") == both[1:]
        for empty in ("onion", "i2p", "cjdns"):
            assert await node.rpc("getnodeaddresses", 5, empty) == []
        error = {"code": -8, "message": "Address count out of range"}
        assert await node.rpc_error("getnodeaddresses", -1) == error
        error = {"code": -8, "message": "Network not recognized: tor"}
        assert await node.rpc_error("getnodeaddresses", 1, "tor") == error

    on_node(scenario, peers=Peers())
