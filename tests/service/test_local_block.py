"""A block of this node's own goes to peers if the best chain took it, however it came."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import chain.service
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.params import REGTEST
from chain.mining.hashlib_kernel import HashlibKernel
from chain.node.node import Node
from chain.node.policy import Policy
from chain.service.ledger_thread import LedgerThread
from chain.service.local_block import submit_local_block
from chain.service.mining import Mining, MiningPlan
from tests.builders import KEY, ChainBuilder
from tests.ledger.chains import NOW, memory_ledger


@asynccontextmanager
async def running():
    """A node with an empty ledger, the thread it is used on, and a list of what was announced."""
    thread = LedgerThread()
    ledger = await thread.call(memory_ledger)
    try:
        yield Node(ledger, Policy()), thread, []
    finally:
        await thread.call(ledger.close)
        await asyncio.to_thread(thread.stop)


async def hand_in(node, thread, announced, block):
    """Submit as the API does for a client."""
    await submit_local_block(node, block, lambda: NOW, thread.call, announced.append)


async def find(node, thread, announced, block):
    """Submit as the miner does that found a block."""
    plan = MiningPlan(
        script=KEY.script,
        threads=1,
        first_extranonce=0,
        clock=lambda: NOW,
        reason_to_wait=lambda: None,
    )
    mining = Mining(node, thread, HashlibKernel(), plan, REGTEST)
    await mining._submit(block, announced.append)
    await asyncio.to_thread(mining.miner.stop)


@pytest.mark.parametrize("submit", [hand_in, find])
def test_only_what_the_best_chain_takes_is_announced(submit):
    builder = ChainBuilder()
    first, second = builder.grow(2)
    late = builder.fork(2).add(extra=b"late")

    async def scenario():
        async with running() as (node, thread, announced):
            for block in (first, second, late, second):
                await submit(node, thread, announced, block)
            assert [block.id for block in announced] == [first.id, second.id]
            assert node.view.tip.id == second.id

    asyncio.run(scenario())


@pytest.mark.parametrize("submit", [hand_in, find])
def test_a_block_that_takes_waiting_ones_along_is_announced(submit):
    first, second = ChainBuilder().grow(2)

    async def scenario():
        async with running() as (node, thread, announced):
            await thread.call(lambda: node.submit_headers([first.header, second.header], NOW))
            await submit(node, thread, announced, second)
            assert announced == []
            await submit(node, thread, announced, first)
            assert announced == [first]
            assert node.view.tip.id == second.id

    asyncio.run(scenario())


def test_a_refused_block_is_announced_in_neither_way(caplog):
    bad = ChainBuilder().add(fees=1)  # takes more than its subsidy

    async def scenario():
        async with running() as (node, thread, announced):
            with pytest.raises(InvalidError) as refused:
                await hand_in(node, thread, announced, bad)
            assert refused.value.reason is Reason.COINBASE_AMOUNT
            await find(node, thread, announced, bad)
            assert announced == []

    asyncio.run(scenario())
    assert "was refused: duplicate-invalid" in caplog.text


def test_nothing_else_in_the_service_submits_a_block():
    [folder] = map(Path, chain.service.__path__)
    texts = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.py")}
    submitting = {name for name, text in texts.items() if "node.submit_block(" in text}
    assert submitting == {"local_block.py"}
    callers = {name for name, text in texts.items() if "await submit_local_block(" in text}
    assert callers == {"mining.py", str(Path("api", "submit.py"))}
