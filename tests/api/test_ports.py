"""The ports of the API: the process's classes and the null objects implement them."""

import inspect

import pytest

from chain.service.api.ports import HostPort, MinerPort, NoHost, NoMiner, NoPeers, PeersPort
from chain.service.mining import Mining
from chain.service.peers.service import PeerService
from chain.service.process import NodeHost

PORTS = [(PeersPort, NoPeers), (MinerPort, NoMiner), (HostPort, NoHost)]
SERVICES = [(PeersPort, PeerService), (MinerPort, Mining), (HostPort, NodeHost)]


def methods(port):
    return {
        name: member
        for name, member in vars(port).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


@pytest.mark.parametrize(("port", "kind"), [*PORTS, *SERVICES])
def test_what_stands_for_a_port_has_its_methods_with_as_many_arguments(port, kind):
    for name, wanted in methods(port).items():
        method = inspect.getattr_static(kind, name)
        assert inspect.iscoroutinefunction(method) == inspect.iscoroutinefunction(wanted), name
        counts = [len(inspect.signature(each).parameters) for each in (method, wanted)]
        assert counts[0] == counts[1], name


def test_a_node_without_peers_lets_every_method_about_peers_pass(on_node):
    async def scenario(node):
        assert await node.rpc("getpeerinfo") == []
        assert await node.rpc("getconnectioncount") == 0
        assert await node.rpc("getaddednodeinfo") == []
        assert await node.rpc("getnodeaddresses", 0) == []
        assert (await node.rpc("getnettotals"))["totalbytessent"] == 0
        assert (await node.rpc("getnetworkinfo"))["localaddresses"] == []
        for call in (("ping",), ("addnode", "192.0.2.7:1", "add"), ("clearbanned",)):
            assert await node.rpc(*call) is None
        assert await node.rpc("addnode", "192.0.2.7:1", "onetry") is None
        assert await node.rpc("setnetworkactive", False) is True, "there is nothing to switch off"
        assert (await node.rpc_error("disconnectnode", "", 1))["code"] == -29
        assert (await node.get("/peers")).status_code == 200
        assert await node.rpc("submitblock", node.chain.add().raw.hex()) is None

    on_node(scenario, peers=NoPeers())
