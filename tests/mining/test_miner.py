"""The miner's threads: they find, they stop, they never hand out a job's block twice."""

import threading
from dataclasses import dataclass, replace
from queue import Queue

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.genesis import genesis_block
from chain.consensus.params import REGTEST
from chain.mining.hashlib_kernel import HashlibKernel
from chain.mining.miner import Miner
from chain.primitives.block import Block, Header
from tests.builders import assemble, coinbase
from tests.patience import PATIENCE_S

NEVER = 0
EASY = (1 << 255) - 1


@dataclass(frozen=True)
class PlainJob:
    """A block on regtest's genesis whose coinbase tells the extranonce."""

    target: int = EASY
    time_min: int = 0

    def _block(self, extranonce: int) -> Block:
        parent = BlockTreeEntry(genesis_block(REGTEST).header, None)
        return assemble(parent, [coinbase(1, 0, extra=extranonce.to_bytes(8, "little"))])

    def header(self, extranonce: int, time: int) -> Header:
        return replace(self._block(extranonce).header, time=time, nonce=0)

    def block(self, header: Header, extranonce: int) -> Block:
        return Block(header, self._block(extranonce).transactions)


def miner(found: "Queue[Block]", threads: int = 1, first_extranonce: int = 0) -> Miner:
    return Miner(
        HashlibKernel(),
        threads,
        found.put,
        clock=lambda: 1_800_000_000,
        first_extranonce=first_extranonce,
    )


def test_a_found_block_meets_the_target_and_holds_its_own_coinbase():
    found: Queue[Block] = Queue()
    mining = miner(found)
    mining.set_job(PlainJob())
    block = found.get(timeout=PATIENCE_S)
    mining.stop()
    assert int.from_bytes(block.id, "little") <= EASY
    assert block.header.merkle_root == block.transactions[0].txid
    assert block.header.time == 1_800_000_000
    assert mining.hashes >= 1


def test_header_time_is_never_before_the_jobs_earliest():
    found: Queue[Block] = Queue()
    mining = miner(found)
    mining.set_job(PlainJob(time_min=1_900_000_000))
    block = found.get(timeout=PATIENCE_S)
    mining.stop()
    assert block.header.time == 1_900_000_000


def test_each_job_is_found_once_by_however_many_threads():
    found: Queue[Block] = Queue()
    mining = miner(found, threads=4)
    for _ in range(20):
        mining.set_job(PlainJob())
        found.get(timeout=PATIENCE_S)
    mining.stop()
    assert found.empty()


def test_stop_ends_the_threads_in_the_middle_of_a_search():
    found: Queue[Block] = Queue()
    mining = miner(found, threads=2)
    mining.set_job(PlainJob(target=NEVER))
    stopped = threading.Event()

    def stop() -> None:
        mining.stop()
        stopped.set()

    threading.Thread(target=stop, daemon=True).start()
    assert stopped.wait(PATIENCE_S)
    assert found.empty()


def test_stop_ends_idle_threads():
    mining = miner(Queue())
    mining.stop()
    assert mining.hashes == 0


def test_a_job_that_is_taken_away_is_not_found():
    found: Queue[Block] = Queue()
    mining = miner(found, threads=2)
    mining.set_job(PlainJob(target=NEVER))
    mining.set_job(None)
    mining.set_job(PlainJob())
    found.get(timeout=PATIENCE_S)
    mining.stop()
    assert found.empty()


def test_threads_and_machines_search_different_headers():
    coinbases = set()
    for first in (0, 1 << 40):
        found: Queue[Block] = Queue()
        mining = miner(found, first_extranonce=first)
        for _ in range(3):
            mining.set_job(PlainJob())
            coinbases.add(found.get(timeout=PATIENCE_S).transactions[0].txid)
        mining.stop()
    assert len(coinbases) == 6
