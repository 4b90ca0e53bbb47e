"""Two and three whole nodes that find each other, sync and relay over real HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.peers.nodes import Running, chain_of, linked, running, until

pytestmark = pytest.mark.net

Scenario = Callable[[Running, Running], Awaitable[None]]


def pair(folder: Path, scenario: Scenario, blocks: int = 0) -> None:
    """Run a scenario on two nodes, the second of which dialled the first."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(folder / "one"))
            await one.take(*chain_of(blocks).blocks)
            two = await stack.enter_async_context(running(folder / "two", peers=(one.address,)))
            await linked(one, two)
            await scenario(one, two)
            assert one.failures == two.failures == []

    asyncio.run(main())


def test_a_dialled_link_is_seen_from_both_sides(tmp_path: Path) -> None:
    async def scenario(one: Running, two: Running) -> None:
        (inbound,), (outbound,) = one.service.peers(), two.service.peers()
        assert inbound.is_inbound
        assert not outbound.is_inbound
        assert inbound.agent == outbound.agent == "groat:test"
        assert outbound.address == str(one.address)

    pair(tmp_path, scenario)


@pytest.mark.parametrize("from_acceptor", [True, False])
def test_a_new_block_crosses_a_link_in_both_directions(tmp_path: Path, from_acceptor: bool) -> None:
    async def scenario(one: Running, two: Running) -> None:
        miner, other = (one, two) if from_acceptor else (two, one)
        chain = chain_of(1)
        await miner.mine(*chain.blocks)
        await until(lambda: other.height == 1, "the block at the other side")
        await miner.mine(chain.add())
        await until(lambda: other.height == 2, "the next one")

    pair(tmp_path, scenario)


def test_a_new_node_syncs_300_blocks(tmp_path: Path) -> None:
    async def scenario(one: Running, two: Running) -> None:
        await until(lambda: two.height == 300, "300 blocks")
        assert two.core.view.tip.id == one.core.view.tip.id
        progress = two.service.sync_progress()
        assert (progress.height, progress.headers, progress.peer_height) == (300, 300, 300)

    pair(tmp_path, scenario, blocks=300)
