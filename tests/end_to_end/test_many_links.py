"""One real node that holds as many inbound links as it may (H2)."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from chain.gossip.wire.address import parse_address
from chain.gossip.wire.compact import CompactBlock
from chain.gossip.wire.messages import Headers
from tests.end_to_end.networks import memory_mb
from tests.end_to_end.processes import NodeProcess
from tests.peers.stranger import HELLO, PREFIX, calling, linked_stranger

pytestmark = [pytest.mark.net, pytest.mark.slow, pytest.mark.serial]
LINKS = 250
MEMORY_MB_MAX = 400.0  # a node with all its links
SOMEBODY = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"


def test_a_node_holds_250_inbound_links_and_tells_each_of_a_block(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node").start()
    node.mine(1, SOMEBODY)

    async def main() -> int:
        host, _, port = node.p2p.rpartition(":")
        address = parse_address(host, int(port))
        async with AsyncExitStack() as stack:
            strangers = [
                await stack.enter_async_context(linked_stranger(address, nonce + 1))
                for nonce in range(LINKS)
            ]
            held = await asyncio.to_thread(node.rpc, "getconnectioncount")
            await asyncio.to_thread(node.mine, 1, SOMEBODY)
            for stranger in strangers:
                await stranger.heard((Headers, CompactBlock))
            async with calling(address) as one_more:
                hello = replace(HELLO, nonce=LINKS + 1).encode()
                assert (await one_more.post(f"{PREFIX}/links", content=hello)).status_code == 201
                after = await asyncio.to_thread(node.rpc, "getconnectioncount")
            assert after == LINKS, "it has the place of another local one"
            return held

    try:
        assert asyncio.run(main()) == LINKS
        assert memory_mb(node) < MEMORY_MB_MAX
    finally:
        assert node.stop() == 0, node.errors()
