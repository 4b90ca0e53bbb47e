"""The node's own mining, when it has to wait."""

import asyncio
import logging

from chain.consensus.params import REGTEST
from chain.mining.hashlib_kernel import HashlibKernel
from chain.node.node import Node
from chain.node.policy import Policy
from chain.service import mining as mining_module
from chain.service.ledger_thread import LedgerThread
from chain.service.mining import Mining, MiningPlan
from tests.builders import KEY
from tests.ledger.chains import memory_ledger


def test_each_reason_not_to_mine_is_told_once(monkeypatch, caplog):
    """A clock before genesis allows no block; told again only after something else."""
    monkeypatch.setattr(mining_module, "_RECHECK_S", 0.001)
    caplog.set_level(logging.INFO, mining_module.__name__)
    asyncio.run(_wait_for(reasons := [None, None, None, "syncing", "syncing", None, None]))
    assert not reasons, "all were asked for"
    assert [record.getMessage() for record in caplog.records] == [
        "not mining: no valid block can be made now (time-too-new)",
        "not mining: syncing",
        "not mining: no valid block can be made now (time-too-new)",
    ]


async def _wait_for(reasons):
    thread = LedgerThread()
    ledger = await thread.call(memory_ledger)
    asked = asyncio.Event()

    def reason_to_wait():
        if len(reasons) == 1:
            asked.set()
        return reasons.pop(0) if reasons else None

    plan = MiningPlan(
        script=KEY.script,
        threads=1,
        first_extranonce=0,
        clock=lambda: 0,
        reason_to_wait=reason_to_wait,
    )
    mining = Mining(Node(ledger, Policy()), thread, HashlibKernel(), plan, REGTEST)
    task = asyncio.create_task(mining.run(lambda _block: None))
    await asked.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await thread.call(ledger.close)
    await asyncio.to_thread(thread.stop)
