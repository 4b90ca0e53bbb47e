"""addnode and getaddednodeinfo, with Core's fields, numbers and words."""

import pytest

from chain.gossip.bans import Ban, parse_network
from chain.gossip.wire.address import parse_address
from chain.service.api.rpc.net.network import ADDED_MAX
from chain.service.peers.peer_status import AddedPeer
from tests.api.harness import NOW, RecordingPeers

TWICE = {"code": -23, "message": "Error: Node already added"}
NEVER = {
    "code": -24,
    "message": "Error: Node could not be removed. It has not been added previously.",
}
ONE = parse_address("192.0.2.7", 39444)
NO_NODES = (
    "node.example:39444", "192.0.2.7", "192.0.2.7:0", "192.0.2.7:65536", "192.0.2.7:-1", "", ":1",
    "[]:1", "[::1]", "192.0.2.7:٣", "192.0.2.0/24:1", "9" * 5000, "192.0.2.7:" + "9" * 5000,
)  # fmt: skip
NO_HOSTS = (
    "0.0.0.0", "0.1.2.3", "255.255.255.255", "224.0.0.1", "239.1.2.3", "[::]", "[ff02::1]",
    "[::ffff:0.0.0.0]", "[::ffff:224.0.0.1]",
)  # fmt: skip


class AddedPeers(RecordingPeers):
    """Records added nodes and single tries."""

    def __init__(self, added, tried=None):
        super().__init__()
        self.added = list(added)
        self.tried = [] if tried is None else tried

    def added_peers(self):
        return self.added

    def add_peer(self, address):
        self.added.append(AddedPeer(name=str(address)))

    def remove_peer(self, name):
        (peer,) = (peer for peer in self.added if peer.name == name)
        self.added.remove(peer)

    def try_peer(self, address):
        self.tried.append(address)


@pytest.fixture
def with_list(on_node):
    """Run a scenario on a node with an added peer; return the names that it then has."""

    def run(scenario, tried=None):
        peers = AddedPeers([AddedPeer(name="seed.example:39444")], tried)
        on_node(scenario, peers=peers)
        return [peer.name for peer in peers.added]

    return run


def test_a_node_is_added_once_and_removed_once(with_list):
    async def scenario(node):
        assert await node.rpc("addnode", "192.0.2.7:39444", "add") is None
        for same in ("192.0.2.7:39444", "192.0.2.7:039444", "[::ffff:192.0.2.7]:39444"):
            assert await node.rpc_error("addnode", same, "add") == TWICE, same
        assert await node.rpc("addnode", "[0:0::1]:39444", "add", False) is None
        assert await node.rpc_error("addnode", "[::1]:39444", "add") == TWICE
        assert await node.rpc_error("addnode", "192.0.2.7:39445", "remove") == NEVER
        assert await node.rpc("addnode", "[::1]:39444", "remove") is None
        assert await node.rpc_error("addnode", "[::1]:39444", "remove") == NEVER
        assert await node.rpc("addnode", "seed.example:39444", "remove") is None
        assert await node.rpc_error("addnode", "x" * 5000, "remove") == NEVER

    assert with_list(scenario) == ["192.0.2.7:39444"]


def test_what_is_no_node(with_list):
    async def scenario(node):
        for name in NO_NODES:
            for command in ("add", "onetry"):
                error = await node.rpc_error("addnode", name, command)
                assert error["code"] == -8, name
                assert len(error["message"]) < 200
        for command in ("", "Add", "try"):
            error = await node.rpc_error("addnode", "192.0.2.7:39444", command)
            assert error["code"] == -1
            assert error["message"].startswith("addnode node command [v2transport]\n")

    assert len(with_list(scenario)) == 1


def test_an_address_that_is_no_single_host_s_is_not_dialled(with_list):
    async def scenario(node):
        for host in NO_HOSTS:
            for command in ("add", "onetry"):
                error = await node.rpc_error("addnode", f"{host}:39444", command)
                problem = f"node must be the address of one host, not '{host}:39444'"
                assert error == {"code": -8, "message": problem}
        for host in ("1.0.0.0", "223.255.255.255", "127.0.0.1", "[::1]"):
            assert await node.rpc("addnode", f"{host}:39444", "add") is None

    assert len(with_list(scenario)) == 1 + 4


def test_what_was_set_as_a_peer_is_removed_whatever_it_is(on_node):
    async def scenario(node):
        assert await node.rpc("addnode", "0.0.0.0:39444", "remove") is None

    peers = AddedPeers([AddedPeer(name="0.0.0.0:39444")])
    on_node(scenario, peers=peers)
    assert peers.added == []


def test_there_is_one_transport_and_no_other_is_promised(with_list):
    async def scenario(node):
        assert await node.rpc("addnode", "192.0.2.7:39444", "add", False) is None
        for command in ("add", "onetry", "remove"):
            error = await node.rpc_error("addnode", "192.0.2.8:39444", command, True)
            assert error["code"] == -8
            assert error["message"].startswith("Error: v2transport requested but not enabled")

    assert len(with_list(scenario)) == 2


def test_added_nodes_have_a_number_that_they_do_not_exceed(with_list):
    async def scenario(node):
        for port in range(2, ADDED_MAX + 1):
            assert await node.rpc("addnode", f"192.0.2.7:{port}", "add") is None
        assert (await node.rpc_error("addnode", "192.0.2.7:1", "add"))["code"] == -34
        assert await node.rpc("addnode", "192.0.2.7:2", "remove") is None
        assert await node.rpc("addnode", "192.0.2.7:1", "add") is None

    assert len(with_list(scenario)) == ADDED_MAX


def test_one_try_is_no_wish_to_keep_a_link_and_nobody_banned_is_tried(with_list):
    tried = []

    async def scenario(node):
        for _ in range(2):
            assert await node.rpc("addnode", "192.0.2.7:39444", "onetry") is None
        node.context.peers.bans.add(Ban(parse_network("192.0.2.0/24"), NOW, NOW + 1))
        error = {"code": -1, "message": "Error: Node is banned, see listbanned"}
        assert await node.rpc_error("addnode", "192.0.2.7:39444", "onetry") == error
        assert await node.rpc("addnode", "192.0.2.7:39444", "add") is None, "for afterwards"

    with_list(scenario, tried)
    assert tried == [ONE, ONE]


def test_added_nodes_are_shown_with_their_links(on_node):
    peers = [
        AddedPeer(name="192.0.2.7:39444", linked_to="192.0.2.7:39444"),
        AddedPeer(name="seed.example:1", linked_to="192.0.2.8:1", is_inbound=True),
        AddedPeer(name="[::0:1]:5"),  # as --peer had it
    ]
    shown = [
        {
            "addednode": "192.0.2.7:39444",
            "connected": True,
            "addresses": [{"address": "192.0.2.7:39444", "connected": "outbound"}],
        },
        {
            "addednode": "seed.example:1",
            "connected": True,
            "addresses": [{"address": "192.0.2.8:1", "connected": "inbound"}],
        },
        {"addednode": "[::0:1]:5", "connected": False, "addresses": []},
    ]

    async def scenario(node):
        assert await node.rpc("getaddednodeinfo") == shown
        for at, name in enumerate(("[::ffff:192.0.2.7]:39444", "seed.example:1", "[::0:1]:5")):
            assert await node.rpc("getaddednodeinfo", name) == [shown[at]]
        unknown = {"code": -24, "message": "Error: Node has not been added."}
        for name in ("192.0.2.8:1", "", "x" * 5000):
            assert await node.rpc_error("getaddednodeinfo", name) == unknown

    on_node(scenario, peers=AddedPeers(peers))
