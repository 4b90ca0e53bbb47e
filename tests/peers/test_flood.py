"""Silent connections of one network at a full peer port (H1)."""

import asyncio

import pytest

from chain.gossip.wire.messages import Ping
from chain.service.http.guard import GuardLimits
from tests.peers.nodes import LOCALHOST, running
from tests.peers.stranger import linked_stranger

pytestmark = pytest.mark.net


def test_silent_connections_neither_end_a_link_nor_keep_another_network_out(tmp_path):
    async def silent(port: int) -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection(LOCALHOST, port, local_addr=("127.1.0.2", 0))
        return writer

    async def main() -> None:
        limits = GuardLimits(connections_max=6, connections_per_ip_max=100)
        async with (
            running(tmp_path, guard=limits) as node,
            linked_stranger(node.address, 1, "127.1.0.1") as neighbour,
        ):
            assert await neighbour.up(Ping(1)) == 204
            flood = [await silent(node.address.port) for _ in range(20)]
            async with linked_stranger(node.address, 2, "127.2.0.1") as newcomer:
                flood += [await silent(node.address.port) for _ in range(20)]
                assert await newcomer.up(Ping(2)) == 204
                assert await neighbour.up(Ping(3)) == 204
                assert len(node.service.connected()) == 2
            for writer in flood:
                writer.transport.abort()

    asyncio.run(main())
