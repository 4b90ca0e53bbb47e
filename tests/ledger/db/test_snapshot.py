"""Snapshots show exactly one commit, and agree with a walk over every block."""

import re
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from chain.consensus.block_validation import created_coins
from chain.consensus.params import REGTEST
from chain.ledger.db import engine as engine_module
from chain.ledger.db import snapshot as snapshot_module
from chain.ledger.db.engine import open_engine, read_rows, write_rows
from chain.ledger.db.large_values import BlobQuery, read_values
from chain.ledger.errors import DamagedError, SnapshotExpiredError
from chain.ledger.ledger import Ledger
from chain.ledger.reader import Spender, open_reader
from chain.primitives.block import decode_block
from chain.primitives.hashes import sha256
from chain.primitives.numbers import NULL_OUTPOINT
from tests.builders import KEY, output_of
from tests.ledger.chains import (
    KEYS,
    NOW,
    coins_after,
    feed,
    mature_chain,
    reorganised_ledger,
    url_of,
)

_LAST_BUSY = 12
_IO = Path("/proc/self/io")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A reorganised ledger with much traffic, its chain, and a reader."""
    folder = tmp_path_factory.mktemp("snapshot")
    ledger, chain, stale = reorganised_ledger(folder, _LAST_BUSY)
    reader = open_reader(url_of(folder))
    yield World(ledger, reader, chain, stale)
    reader.close()
    ledger.close()


@dataclass
class World:
    ledger: Ledger
    reader: object
    chain: object
    stale: object
    funded: dict = field(default_factory=dict)  # script -> [(height, position, point, coin)]
    spent: dict = field(default_factory=dict)  # script -> [(height, position, vin, point, coin)]
    where: dict = field(default_factory=dict)  # txid -> (height, position)

    def __post_init__(self):
        made = {}
        for height, block in enumerate(self.chain.blocks, 1):
            for position, tx in enumerate(block.transactions):
                self.where[tx.txid] = (height, position)
                for vin, txin in enumerate(tx.inputs):
                    if txin.outpoint != NULL_OUTPOINT:
                        coin = made[txin.outpoint]
                        row = (height, position, vin, txin.outpoint, coin)
                        self.spent.setdefault(coin.script, []).append(row)
                for point, coin in created_coins(tx, height):
                    made[point] = coin
                    row = (height, position, point, coin)
                    self.funded.setdefault(coin.script, []).append(row)
        self.made = made

    @property
    def scripts(self):
        return [*self.funded, b"\x00\x14" + bytes(20)]

    def places(self, script):
        rows = [*self.funded.get(script, []), *self.spent.get(script, [])]
        return sorted({row[:2] for row in rows}, reverse=True)


def test_the_chain_reads_by_height_and_by_id(world):
    with world.reader.snapshot() as view:
        assert (view.tip_id, view.tip_height) == (world.chain.tip.id, len(world.chain.blocks))
        assert view.block_id(0) == world.ledger.tree.genesis.id
        assert view.block_id(view.tip_height + 1) is None
        for height, block in enumerate(world.chain.blocks, 1):
            assert view.block_id(height) == block.id
            assert view.height_of(block.id) == height
            assert view.block(block.id) == block.raw
        stale = world.stale.blocks[-1]
        assert (view.height_of(stale.id), view.block(stale.id)) == (None, stale.raw)
        assert view.block(bytes(32)) is None


def test_every_transaction_is_found_and_read_by_offset(world):
    with world.reader.snapshot() as view:
        for height, block in enumerate(world.chain.blocks, 1):
            for position, tx in enumerate(block.transactions):
                found = view.find(tx.txid)
                assert (found.txid, found.block_id) == (tx.txid, block.id)
                assert (found.height, found.position) == (height, position)
                assert view.transaction(tx.txid).raw == tx.raw
        gone = [t for b in world.stale.blocks for t in b.transactions if t.txid not in world.where]
        assert gone
        for txid in (*(tx.txid for tx in gone), bytes(32), _genesis_txid(world)):
            assert view.find(txid) is None
            assert view.transaction(txid) is None


def _genesis_txid(world):
    raw = world.ledger.blocks([world.ledger.tree.genesis.id], 0)[0]
    return decode_block(raw).transactions[0].txid


def test_pages_of_a_block_carry_the_coins_that_were_spent(world):
    with world.reader.snapshot() as view:
        for block in world.chain.blocks:
            taken = [
                tuple(world.made[txin.outpoint] for txin in tx.inputs)
                for tx in block.transactions[1:]
            ]
            assert list(view.spent_coins(block.id)) == taken
            whole = view.transactions(block.id, 0, 100)
            assert [tx.txid for tx, _ in whole] == [tx.txid for tx in block.transactions]
            assert [coins for _, coins in whole] == [(), *taken]
            for start in range(len(block.transactions) + 1):
                assert view.transactions(block.id, start, 1) == whole[start : start + 1]
        stale = world.stale.blocks[-1]
        page = view.transactions(stale.id, 0, 100)
        assert [tx.txid for tx, _ in page] == [tx.txid for tx in stale.transactions]
        assert all(coins == () for _, coins in page)
        genesis = view.transactions(world.ledger.tree.genesis.id, 0, 100)
        assert [tx.txid for tx, _ in genesis] == [_genesis_txid(world)]
        assert view.transactions(bytes(32), 0, 5) == []


def test_coins_are_those_of_a_plain_reading(world):
    unspent = coins_after(world.chain.blocks)
    with world.reader.snapshot() as view:
        for point in world.made:
            assert view.coin(point) == unspent.get(point)
        assert view.coins(list(world.made)) == unspent


def test_every_spend_is_found(world):
    spends = {row[3]: row for rows in world.spent.values() for row in rows}
    assert len(spends) > 10
    with world.reader.snapshot() as view:
        for point in world.made:
            row = spends.get(point)
            if row is None:
                assert view.spender(point) is None
                continue
            block = world.chain.blocks[row[0] - 1]
            txid = block.transactions[row[1]].txid
            assert view.spender(point) == Spender(txid, row[2], row[0], block.id)
        assert view.spender(output_of(world.chain.blocks[0].transactions[0], 99)) is None
        assert view.spender(bytes(36)) is None


@pytest.mark.parametrize("page", [1, 3, 1000])
def test_history_is_paged_newest_first(world, page):
    with world.reader.snapshot() as view:
        for script in world.scripts:
            seen, before = [], None
            while found := view.history(sha256(script), before=before, limit=page):
                assert len(found) <= page
                before = (found[-1].height, found[-1].position)
                seen += found
            assert [(at.height, at.position) for at in seen] == world.places(script)
            assert all(world.where[at.txid] == (at.height, at.position) for at in seen)


def test_the_transactions_of_a_history_come_with_the_coins_they_spent(world):
    with world.reader.snapshot() as view:
        for script in world.scripts:
            places = view.history(sha256(script), limit=1000)
            for wanted in (places, places[::-1], places[:1], places[1::2] + places[:3]):
                found = view.read(wanted)
                assert [one.location for one in found] == wanted
                for at, one in zip(wanted, found, strict=True):
                    tx = world.chain.blocks[at.height - 1].transactions[at.position]
                    assert one.transaction.raw == tx.raw
                    spends = () if at.position == 0 else tx.inputs
                    assert one.coins == tuple(world.made[txin.outpoint] for txin in spends)
                assert [(one.location, one.raw, one.coins) for one in view.read_bytes(wanted)] == [
                    (one.location, one.transaction.raw, one.coins) for one in found
                ]


def test_a_page_of_a_history_reads_each_block_once(world, monkeypatch):
    statements = []
    fetch_all = engine_module._fetch_all

    def counted(connection, statement, values):
        statements.append(statement)
        return fetch_all(connection, statement, values)

    monkeypatch.setattr(engine_module, "_fetch_all", counted)
    with world.reader.snapshot() as view:
        busiest = max(world.scripts, key=lambda script: len(world.places(script)))
        page = view.history(sha256(busiest), limit=25)
        assert len(page) == 25
        located, blocks = len(statements), len({at.block_id for at in page})
        view.read(page)
        assert len(statements) - located <= 2 * blocks  # its body, and its undo data
        assert located <= 12, "places are asked for together"


def test_stats_of_a_script_add_up(world):
    with world.reader.snapshot() as view:
        for script in world.scripts:
            stats = view.script_stats(sha256(script))
            funded, spent = world.funded.get(script, []), world.spent.get(script, [])
            assert stats.tx_count == len(world.places(script))
            assert (stats.funded_txo_count, stats.spent_txo_count) == (len(funded), len(spent))
            assert stats.funded_txo_sum == sum(row[-1].value for row in funded)
            assert stats.spent_txo_sum == sum(row[-1].value for row in spent)


@pytest.mark.parametrize("lookup", [2, 500])
def test_coins_of_a_script_come_oldest_first(world, monkeypatch, lookup):
    monkeypatch.setattr(snapshot_module, "LOOKUP_KEYS_MAX", lookup)
    unspent = coins_after(world.chain.blocks)
    with world.reader.snapshot() as view:
        for script in world.scripts:
            rows = sorted(world.funded.get(script, []), key=lambda row: row[:2])
            expected = [(point, coin) for _, _, point, coin in rows if point in unspent]
            found = view.script_coins(sha256(script), limit=10_000)
            assert sorted(found) == sorted(expected, key=lambda pair: pair[0])
            assert [c.height for _, c in found] == [c.height for _, c in expected]
            assert view.script_coins(sha256(script), limit=2) == found[:2]


def test_a_snapshot_keeps_its_view_while_the_writer_goes_on(tmp_path):
    chain = mature_chain(5)
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    feed(ledger, chain.blocks)
    reader = open_reader(url_of(tmp_path))
    with reader.snapshot() as old:
        block = chain.add()
        ledger.add_block(block, NOW)
        with reader.snapshot() as new:
            assert (new.tip_id, new.tip_height) == (block.id, 6)
            assert new.height_of(block.id) == 6
        assert (old.tip_height, old.height_of(block.id), old.block(block.id)) == (5, None, None)
        assert old.script_stats(sha256(KEY.script)).funded_txo_count == 5
    with reader.snapshot() as fresh:
        assert fresh.script_stats(sha256(KEY.script)).funded_txo_count == 6
    reader.close()
    ledger.close()


def test_a_stream_of_blocks_is_seen_only_when_it_is_committed(tmp_path):
    chain = mature_chain(5)
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    reader = open_reader(url_of(tmp_path))
    verdicts = ledger.add_blocks(chain.blocks, NOW, pipelined=False)
    for _ in chain.blocks:
        assert next(verdicts).added.is_connected
    with reader.snapshot() as view:
        assert view.tip_height == 0
    assert list(verdicts) == []
    with reader.snapshot() as view:
        assert view.tip_height == 5
    reader.close()
    ledger.close()


def test_a_read_that_takes_too_long_is_ended(world):
    reader = open_reader(str(world.ledger._connection.engine.url), seconds_max=0.0)
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    )
    with pytest.raises(SnapshotExpiredError), reader.snapshot() as view:
        read_rows(view._connection, endless)
    reader.close()


def test_threads_share_a_reader(world):
    tips = []

    def read():
        for _ in range(20):
            with world.reader.snapshot() as view:
                tips.append(view.block_id(view.tip_height))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tips == [world.chain.tip.id] * 80


def test_the_keys_are_all_in_use(world):
    assert set(KEYS) <= set(world.funded)


@pytest.mark.parametrize("read_only", [True, False], ids=["from the driver", "by statements"])
def test_pieces_of_a_value_are_the_same_from_the_driver_and_by_statements(tmp_path, read_only):
    chain = mature_chain(3)
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    feed(ledger, chain.blocks)
    ledger.close()
    engine = open_engine(url_of(tmp_path), read_only=read_only)
    blocks = {block.id: block.raw for block in chain.blocks}
    query = BlobQuery("blocks", "raw", "id")

    def decode(key, read):
        raw = blocks[key]
        assert read(80, 10) == raw[80:90]
        assert read(len(raw) - 3, 10) == raw[-3:]
        assert read(len(raw) + 5, 10) == b""
        assert read(7, -1) == b""
        return read(0, len(raw))

    with engine.connect() as connection:
        read_rows(connection, "SELECT 1")  # begins the transaction
        found = read_values(connection, query, [*blocks, bytes(32)], decode)
    engine.dispose()
    assert found == blocks


def test_a_reading_that_fails_leaves_nothing_open(tmp_path):
    file = tmp_path / "x.sqlite"
    writer = open_engine(file)
    with writer.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (id BLOB, raw BLOB)")
        write_rows(connection, "INSERT INTO t VALUES (?, ?)", [(b"k", b"value")])
    writer.dispose()
    reader = open_engine(file, read_only=True)
    opened = []
    with reader.connect() as connection:
        read_rows(connection, "SELECT 1")

        def fail(_, read):
            opened.append(read)
            raise DamagedError("planted")

        with pytest.raises(DamagedError):
            read_values(connection, BlobQuery("t", "raw", "id"), [b"k"], fail)
        with pytest.raises(SQLAlchemyError):
            opened[0](0, 1)  # closed with the call
    reader.dispose()


@pytest.mark.parametrize("old", [False, True], ids=["with the map of pages", "made before it"])
def test_the_end_of_a_large_value_is_found_without_reading_its_pages(tmp_path, old):
    if not _IO.is_file():
        pytest.skip("there is no /proc here that counts reads")
    file, value = tmp_path / "x.sqlite", bytes(1_000_000)
    with closing(sqlite3.connect(file)) as made:
        if old:
            made.execute("CREATE TABLE older (a INTEGER)")  # the file is not empty any more
    writer = open_engine(file)
    with writer.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (id BLOB, raw BLOB)")
        write_rows(connection, "INSERT INTO t VALUES (?, ?)", [(b"k", value + b"end")])
    writer.dispose()
    reader = open_engine(file, read_only=True)
    with reader.connect() as connection:
        read_rows(connection, "SELECT 1")

        def pages_read(_, read):
            before = _reads()
            assert read(len(value), 10) == b"end"
            return _reads() - before

        [pages] = read_values(connection, BlobQuery("t", "raw", "id"), [b"k"], pages_read).values()
    reader.dispose()
    assert (pages > 200) is old
    assert pages < 100 or old


def _reads() -> int:
    """Return how many system calls of this process have read something."""
    return int(re.findall(r"syscr: (\d+)", _IO.read_text())[0])


def test_statements_of_sqlalchemy_take_part_in_a_snapshot_and_end_with_it(tmp_path):
    """Alembic's check of the schema is one, in a process that follows the database."""
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    chain = mature_chain(3)
    feed(ledger, chain.blocks[:1])
    reader = open_reader(url_of(tmp_path))
    count = text("SELECT count(*) FROM chain")
    for grown in (1, 2, 3):
        with reader.snapshot() as snapshot:
            connection = snapshot._connection
            assert connection.execute(count).scalar() == grown + 1
            if grown < 3:
                feed(ledger, chain.blocks[grown : grown + 1])
            assert connection.execute(count).scalar() == grown + 1, "the snapshot stands"
            assert snapshot.tip_height == grown
    reader.close()
    ledger.close()
