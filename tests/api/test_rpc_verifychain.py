"""verifychain: true if valid, false for rot; one at a time, and it ends with the node."""

import asyncio
import sqlite3

import pytest

from tests.api.harness import payment


async def busy(node):
    await node.grow(101)
    await node.mine([payment(node)], fees=1000)


@pytest.mark.parametrize("params", [[], [4, 0], [0, 1], [-1, -1], [9, 2**31 - 1], [None, 3]])
def test_a_sound_chain_is_verified_whatever_the_extent(on_node, params):
    async def scenario(node):
        assert await node.rpc("verifychain", *params) is True, "genesis alone"
        await busy(node)
        assert await node.rpc("verifychain", *params) is True

    on_node(scenario)


def test_rot_is_false_and_told_in_the_log(on_node, tmp_path, caplog):
    async def scenario(node):
        await busy(node)
        with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
            database.execute("UPDATE coins SET value = value + 1 WHERE height = 102")
        database.close()
        assert await node.rpc("verifychain", 2) is True
        assert await node.rpc("verifychain") is False
        assert await node.rpc("verifychain", 4, 0) is False
        assert "is neither unspent nor spent, or was changed" in caplog.text
        assert "Traceback" not in caplog.text

    on_node(scenario)


def test_one_verification_goes_on_at_a_time_and_ends_with_the_node(on_node):
    async def scenario(node):
        await busy(node)
        node.context.limits.verifying.acquire()
        error = await node.rpc_error("verifychain")
        assert error["code"] == -1
        assert "another verification is running" in error["message"]
        node.context.limits.verifying.release()
        node.context.end_streams()
        error = {"code": -1, "message": "not verified: the node is stopping"}
        assert await node.rpc_error("verifychain") == error
        assert not node.context.limits.verifying.locked()

    on_node(scenario)


def test_the_node_answers_and_connects_blocks_while_it_verifies(on_node):
    """The tip may change at any time: each step verifies the current chain."""

    async def scenario(node):
        await busy(node)
        task = asyncio.create_task(node.rpc("verifychain", 4, 0))
        await node.grow(5)
        assert await node.rpc("getblockcount") == 107
        assert await task is True

    on_node(scenario)
