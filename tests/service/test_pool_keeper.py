"""The mempool over a restart: batches between blocks, and the file of earlier releases."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from chain.consensus.params import MAIN, network_identity
from chain.ledger.db.engine import open_engine
from chain.ledger.ledger import Ledger
from chain.node.deltas import DELTAS_MAX
from chain.node.node import Node
from chain.node.policy import Policy
from chain.node.pool_file import encode_pool
from chain.primitives.numbers import Hash32
from chain.service import pool_keeper as pool_keeper_module
from chain.service.ledger_thread import LedgerThread
from chain.service.pool_keeper import POOL_NAME, PoolKeeper
from tests.builders import ChainBuilder
from tests.ledger.chains import QUICK, quick_chain, url_of
from tests.migrated import downgrade
from tests.node.world import NOW, output, send
from tests.patience import PATIENCE_S

FEE = 10_000
TRUNK = 20


@dataclass
class Kept:
    """A node with a keeper, in a folder."""

    folder: Path
    thread: LedgerThread
    node: Node
    keeper: PoolKeeper

    async def call(self, function):
        return await self.thread.call(function)

    async def submit(self, transaction) -> None:
        await self.call(lambda: self.node.submit_transaction(transaction, NOW))

    async def saved(self, count: int) -> None:
        """Wait until another connection sees this many rows."""
        async with asyncio.timeout(PATIENCE_S):
            while len(rows(self.folder)) != count:  # noqa: ASYNC110 - of another connection
                await asyncio.sleep(0.01)

    @property
    def txids(self) -> list[Hash32]:
        return [entry.txid for entry in self.node.view.pool.entries()]


def rows(folder: Path) -> list[bytes]:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection:
        return [row[0] for row in connection.execute("SELECT txid FROM pool ORDER BY number")]


@asynccontextmanager
async def kept(folder: Path, *, is_syncing=lambda: False) -> AsyncIterator[Kept]:
    thread = LedgerThread()
    ledger = await thread.call(lambda: Ledger(url_of(folder), QUICK, verify_threads=1))
    try:
        node = await thread.call(lambda: Node(ledger, Policy()))
        async with PoolKeeper(node, thread, folder, lambda: NOW, is_syncing) as keeper:
            running = asyncio.create_task(keeper.run())
            yield Kept(folder, thread, node, keeper)
            running.cancel()
            await asyncio.wait({running})
    finally:
        await thread.call(ledger.close)
        await asyncio.to_thread(thread.stop)


@pytest.fixture(scope="module")
def chain() -> ChainBuilder:
    return quick_chain(TRUNK)


@pytest.fixture(scope="module")
def template(chain, tmp_path_factory) -> Path:
    """A folder with a ledger that has the trunk."""
    folder = tmp_path_factory.mktemp("template")
    with closing(Ledger(url_of(folder), QUICK, verify_threads=1)) as ledger:
        for block in chain.blocks:
            ledger.add_block(block, NOW)
    return folder


@pytest.fixture
def folder(template, tmp_path) -> Path:
    old, new = (sqlite3.connect(at / "ledger.sqlite") for at in (template, tmp_path))
    with closing(old), closing(new):
        old.backup(new)
    return tmp_path


@pytest.fixture(scope="module")
def payments(chain):
    """A payment, one that spends it, and another."""
    first = send([chain.coinbase_coin(1)], FEE)
    return [first, send([output(first)], FEE), send([chain.coinbase_coin(2)], FEE)]


def test_what_was_accepted_is_in_the_database_soon_and_is_there_after_a_kill(folder, payments):
    async def scenario():
        async with kept(folder) as node:
            loop, announced = asyncio.get_running_loop(), asyncio.Queue()
            node.keeper.batch_listeners.append(
                lambda: loop.call_soon_threadsafe(announced.put_nowait, len(rows(folder)))
            )
            for payment in payments:
                await node.submit(payment)
            await node.saved(3)
            async with asyncio.timeout(PATIENCE_S):
                while await announced.get() != 3:
                    pass
            copy = folder / "killed"  # as a process that is killed now leaves its files
            copy.mkdir()
            for name in ("ledger.sqlite", "ledger.sqlite-wal"):
                (copy / name).write_bytes((folder / name).read_bytes())
        async with kept(copy) as node:
            assert node.txids == [payment.txid for payment in payments]
        assert not (folder / POOL_NAME).exists()

    asyncio.run(scenario())


def test_a_stop_saves_what_no_batch_has(folder, payments, monkeypatch):
    monkeypatch.setattr(pool_keeper_module, "BATCH_S", 60)

    async def scenario():
        async with kept(folder) as node:
            await node.submit(payments[0])
            await node.call(lambda: node.node.prioritise(payments[1].txid, 5))
            assert rows(folder) == []
        async with kept(folder) as node:
            assert node.txids == [payments[0].txid]
            assert node.node.deltas() == {payments[1].txid: 5}

    asyncio.run(scenario())


@pytest.mark.parametrize(("limit", "value"), [("BATCH_CHANGES_MAX", 2), ("BATCH_BYTES_MAX", 300)])
def test_many_changes_are_saved_at_once(folder, payments, monkeypatch, limit, value):
    monkeypatch.setattr(pool_keeper_module, "BATCH_S", 60)
    monkeypatch.setattr(pool_keeper_module, limit, value)

    async def scenario():
        async with kept(folder) as node:
            await node.submit(payments[0])
            assert rows(folder) == []
            await node.submit(payments[1])
            assert len(rows(folder)) == 2

    asyncio.run(scenario())


def test_while_syncing_changes_wait_for_the_next_block(folder, chain, payments, monkeypatch):
    monkeypatch.setattr(pool_keeper_module, "BATCH_S", 0)
    other = chain.fork(0)

    async def scenario():
        asked = asyncio.Event()

        def is_syncing():
            asked.set()
            return True

        async with kept(folder, is_syncing=is_syncing) as node:
            await node.submit(payments[0])
            await asked.wait()
            assert rows(folder) == []
            await node.call(lambda: node.node.submit_block(other.add(), NOW))
            assert rows(folder) == [payments[0].txid]

    asyncio.run(scenario())


def old_file(folder, payments, deltas=None, identity=None):
    """A mempool.dat of an earlier release."""
    entries = []
    with closing(Ledger(url_of(folder), QUICK, verify_threads=1)) as ledger:
        node = Node(ledger, Policy())
        entries = [node.submit_transaction(payment, NOW - 5) for payment in payments]
    path = folder / POOL_NAME
    path.write_bytes(encode_pool(entries, identity or network_identity(QUICK), deltas or {}))
    return path


def test_an_older_data_directory_is_migrated_and_its_mempool_file_read_once(folder, payments):
    path = old_file(folder, payments, {payments[0].txid: 7})
    engine = open_engine(url_of(folder))
    downgrade(engine, "0003")
    engine.dispose()

    async def scenario():
        async with kept(folder) as node:
            assert not path.exists()
            assert rows(folder) == node.txids == [payment.txid for payment in payments]
            assert [entry.time for entry in node.node.view.pool.entries()] == [NOW - 5] * 3
        async with kept(folder) as node:
            assert len(node.txids) == 3
            assert node.node.deltas() == {payments[0].txid: 7}

    asyncio.run(scenario())


def test_the_mempool_file_is_deleted_only_after_the_commit_with_its_rows(
    folder, payments, monkeypatch
):
    path = old_file(folder, payments, {payments[0].txid: 7})

    def killed(self):
        assert rows(folder) == [payment.txid for payment in payments]
        raise InterruptedError

    async def scenario():
        with monkeypatch.context() as patch:
            patch.setattr(PoolKeeper, "_remove_file", killed)
            with pytest.raises(InterruptedError):
                async with kept(folder):
                    pass
        assert path.exists()
        async with kept(folder) as node:  # read again, which changes nothing
            assert rows(folder) == node.txids == [payment.txid for payment in payments]
            assert node.node.deltas() == {payments[0].txid: 7}
        assert not path.exists()

    asyncio.run(scenario())


@pytest.mark.parametrize("what", ["damaged", "foreign", "too many deltas"])
def test_a_mempool_file_that_cannot_be_read_stays_and_the_node_starts(
    folder, payments, what, caplog
):
    path = old_file(
        folder, payments, identity=network_identity(MAIN) if what == "foreign" else None
    )
    if what == "damaged":
        path.write_bytes(path.read_bytes()[:-1] + b"?")

    async def scenario():
        if what == "too many deltas":
            data = path.read_bytes()
            path.unlink()
            async with kept(folder) as node:
                for number in range(DELTAS_MAX):
                    txid = Hash32(number.to_bytes(32, "big"))
                    await node.call(lambda txid=txid: node.node.prioritise(txid, 1))
            path.write_bytes(data)
            old_file(folder, payments, {payments[0].txid: 7})
        before = path.read_bytes()
        async with kept(folder) as node:
            assert node.txids == []
        assert path.read_bytes() == before
        assert f"{path} is not used: " in caplog.text

    asyncio.run(scenario())


def test_a_copy_that_was_asked_for_is_not_loaded_at_the_next_start(folder, payments):
    async def scenario():
        async with kept(folder) as node:
            await node.submit(payments[0])
            await node.call(lambda: node.node.prioritise(payments[0].txid, 5))
            path = await node.keeper.save()
            await node.call(lambda: node.node.prioritise(payments[0].txid, -5))
        assert path == (folder / POOL_NAME).absolute()
        async with kept(folder) as node:
            assert node.node.deltas() == {}
            assert path.exists()
            assert node.txids == [payments[0].txid]

    asyncio.run(scenario())
