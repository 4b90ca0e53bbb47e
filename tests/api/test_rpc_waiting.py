"""Calls that wait for blocks: they see each, end at timeout and stop, and are limited."""

import asyncio

import pytest

from chain.primitives.numbers import id_text
from chain.service.api.access.limits import BLOCK_WAITERS_MAX
from chain.service.api.events import BEHIND_MAX, LISTENERS_MAX
from chain.service.api.rpc.blockchain import waiting
from tests.api.harness import UNKNOWN, until, wait_for_listeners
from tests.api.test_any_input import ODD_VALUES
from tests.patience import PATIENCE_S

WAITING = {"waitforblock", "waitforblockheight", "waitfornewblock"}


def shape(node):
    return {"hash": id_text(node.chain.tip.id), "height": node.chain.tip.height}


async def start_waiting(node, *call):
    """Start a call; return its task once it is waiting."""
    before = node.context.node_events.count
    task = asyncio.create_task(node.rpc(*call))
    await wait_for_listeners(node, before + 1)
    return task


def test_a_new_block_ends_the_wait_for_one(on_node):
    async def scenario(node):
        await node.mine()
        task = await start_waiting(node, "waitfornewblock")
        await node.mine()
        assert await task == shape(node)
        genesis = await node.rpc("getblockhash", 0)
        assert await node.rpc("waitfornewblock", 0, genesis) == shape(node), "there is another"
        same = await start_waiting(node, "waitfornewblock", 0, id_text(node.chain.tip.id))
        await node.mine()
        assert await same == shape(node)
        assert node.context.node_events.count == 0

    on_node(scenario)


def test_a_height_or_a_block_is_waited_for_over_others(on_node):
    async def scenario(node):
        await node.mine()
        blocks = node.chain.fork(0).grow(3)
        by_height = await start_waiting(node, "waitforblockheight", 4)
        by_id = await start_waiting(node, "waitforblock", id_text(blocks[1].id))
        await node.connect(blocks[0])
        await asyncio.sleep(0)
        assert not by_height.done()
        assert not by_id.done()
        await node.connect(blocks[1])
        assert (await by_id)["height"] >= 3
        assert not by_height.done()
        await node.connect(blocks[2])
        node.chain.grow(3)
        assert await by_height == {"hash": id_text(blocks[2].id), "height": 4}
        assert (await node.rpc("waitforblockheight", 2))["height"] == 4
        assert (await node.rpc("waitforblock", id_text(blocks[0].id)))["height"] == 4

    on_node(scenario)


def test_the_tip_is_told_when_the_time_is_over(on_node, monkeypatch):
    async def scenario(node):
        await node.mine()
        for call in (
            ("waitfornewblock", 1),
            ("waitforblock", UNKNOWN, 1),
            ("waitforblockheight", 5, 1),
        ):
            assert await node.rpc(*call) == shape(node)
        monkeypatch.setattr(waiting, "WAIT_MS_MAX", 1)
        for timeout in (0, 2**31 - 1):
            assert await node.rpc("waitfornewblock", timeout) == shape(node)
        for call in (("waitfornewblock", -1), ("waitforblockheight", 5, -1)):
            assert await node.rpc_error(*call) == {"code": -1, "message": "Negative timeout"}
        assert (await node.rpc_error("waitforblock", "foo"))["code"] == -8
        assert (await node.rpc_error("waitfornewblock", 1, "foo"))["code"] == -8

    on_node(scenario)


def test_only_so_many_calls_wait_and_all_end_when_the_node_does(on_node):
    async def scenario(node):
        await node.mine()
        calls = [node.rpc("waitfornewblock") for _ in range(BLOCK_WAITERS_MAX)]
        tasks = [asyncio.create_task(call) for call in calls]
        await wait_for_listeners(node, BLOCK_WAITERS_MAX)
        error = await node.rpc_error("waitfornewblock")
        assert error["code"] == -1
        assert "64 calls are waiting" in error["message"]
        assert not node.context.node_events.is_full
        node.context.end_streams()
        assert await asyncio.gather(*tasks) == [shape(node)] * BLOCK_WAITERS_MAX
        assert await node.rpc("waitfornewblock") == shape(node), "at once now, and there is room"
        for name in WAITING:
            for value in ODD_VALUES:
                for params in ([value], [value, value], ["00" * 32, value]):
                    await node.post_rpc({"method": name, "params": params})

    on_node(scenario)
    assert BLOCK_WAITERS_MAX < LISTENERS_MAX // 2


def test_who_waits_for_a_height_is_not_lost_when_blocks_come_faster_than_it_reads(on_node):
    async def scenario(node):
        task = await start_waiting(node, "waitforblockheight", 2 * BEHIND_MAX)
        blocks = node.chain.grow(2 * BEHIND_MAX)

        def connect():
            for block in blocks:
                node.context.node.submit_block(block, node.context.clock())

        await node.context.call(connect)
        assert await asyncio.wait_for(task, PATIENCE_S) == shape(node)
        await until(lambda: node.context.node_events.count == 0)

    on_node(scenario)


@pytest.mark.parametrize("name", sorted(WAITING))
def test_waiting_calls_are_listed(on_node, name):
    async def scenario(node):
        assert name in await node.rpc("help")

    on_node(scenario)
