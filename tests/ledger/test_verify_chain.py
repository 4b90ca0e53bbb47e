"""Verification of the newest blocks: valid ones pass, and each level finds its own rot."""

import shutil
import sqlite3

import pytest

from chain.consensus.params import REGTEST
from chain.ledger import verify_chain
from chain.ledger.db.records import block_checksum, decode_spent, encode_spent, undo_checksum
from chain.ledger.errors import DamagedError
from chain.ledger.ledger import Ledger
from chain.ledger.reader import open_reader
from chain.ledger.verify_chain import Extent, VerificationEndedError, verify_blocks
from chain.primitives.block import Block
from chain.primitives.transaction import Transaction, TxIn
from tests.ledger.chains import NOW, feed, grow_busy, reorganised_ledger, url_of

BUSY = 12


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with the ledger of a reorganised chain with much traffic, and that chain."""
    folder = tmp_path_factory.mktemp("verifying")
    ledger, chain, _ = reorganised_ledger(folder, BUSY)
    ledger.close()
    return folder, chain


@pytest.fixture
def world(kept, tmp_path):
    """An opened copy of it, with its database for changes."""
    folder, chain = kept
    shutil.copytree(folder, tmp_path / "copy")
    ledger = Ledger(url_of(tmp_path / "copy"), REGTEST, verify_threads=1)
    reader = open_reader(url_of(tmp_path / "copy"))
    database = sqlite3.connect(tmp_path / "copy" / "ledger.sqlite", isolation_level=None)
    yield World(ledger, reader, chain.fork(0), database)
    database.close()
    reader.close()
    ledger.close()


class World:
    def __init__(self, ledger, reader, chain, database):
        self.ledger, self.reader, self.chain, self.database = ledger, reader, chain, database

    def verify(self, level, blocks, is_stopped=lambda: False):
        extent = Extent(level, blocks)
        return verify_blocks(self.reader, self.ledger.tree, REGTEST, extent, is_stopped)

    def block(self, back):
        return self.chain.blocks[-1 - back]

    def spoil(self, statement, *values):
        assert self.database.execute(statement, values).rowcount == 1

    def replace_block(self, block):
        statement = "UPDATE blocks SET raw = ?, checksum = ? WHERE id = ?"
        self.spoil(statement, block.raw, block_checksum(block.raw), block.id)

    def change_undo(self, back, change):
        """Write other undo data with a matching checksum."""
        block = self.block(back)
        query = "SELECT raw FROM undo WHERE id = ?"
        [(raw,)] = self.database.execute(query, (block.id,))
        raw = encode_spent(block.id, change([list(coins) for coins in decode_spent(raw)]))
        statement = "UPDATE undo SET raw = ?, checksum = ? WHERE id = ?"
        self.spoil(statement, raw, undo_checksum(block.id, raw), block.id)


@pytest.mark.parametrize("level", range(5))
def test_a_sound_chain_passes_every_level_in_any_extent(world, level):
    height = world.ledger.tip.height
    for blocks, verified in ((0, 0), (1, 1), (BUSY, BUSY), (height, height), (height + 1, height)):
        assert world.verify(level, blocks) == verified


def test_reads_are_short_and_the_chain_may_grow_between_them(world, monkeypatch):
    steps = []

    def grow():
        steps.append(True)
        if len(steps) in {2, 5, 9}:
            feed(world.ledger, grow_busy(world.chain, 2, seed=len(steps)))
        return False

    clock = iter(range(1_000_000))
    monkeypatch.setattr(verify_chain, "READ_S", 1.5)  # one block a read
    monkeypatch.setattr(verify_chain.time, "monotonic", lambda: float(next(clock)))
    assert world.verify(4, BUSY + 20, grow) == BUSY + 20


def test_a_reorganisation_begins_it_anew_and_too_many_end_it(world, monkeypatch):
    clock = iter(range(1_000_000))
    monkeypatch.setattr(verify_chain, "READ_S", 1.5)
    monkeypatch.setattr(verify_chain.time, "monotonic", lambda: float(next(clock)))
    tips = []

    def reorganise(times):
        def stop():
            if len(tips) < times:
                tips.append(world.ledger.tip)
                world.ledger.invalidate(world.ledger.tip)
            return False

        return stop

    before = world.ledger.tip.height
    assert world.verify(4, 5, reorganise(verify_chain.RESTARTS_MAX)) == 5
    assert world.ledger.tip.height == before - verify_chain.RESTARTS_MAX
    tips.clear()
    with pytest.raises(VerificationEndedError, match="reorganised"):
        world.verify(4, 50, reorganise(50))


def test_it_ends_when_the_node_does_and_when_it_would_hold_too_much(world, monkeypatch):
    with pytest.raises(VerificationEndedError, match="stopping"):
        world.verify(0, 6, lambda: True)
    monkeypatch.setattr(verify_chain, "COINS_MAX", 5)
    with pytest.raises(VerificationEndedError, match="verify fewer"):
        world.verify(3, 110)
    assert world.verify(2, 110) == 110


def fails_from(world, level, blocks, match):
    """Check that just this level and those above it fail."""
    for lower in range(level):
        assert world.verify(lower, blocks) == blocks, lower
    for higher in range(level, 5):
        with pytest.raises(DamagedError, match=match):
            world.verify(higher, blocks)


def test_a_block_that_is_missing_or_rotten_fails_at_level_0(world):
    world.spoil("UPDATE blocks SET checksum = zeroblob(4) WHERE id = ?", world.block(2).id)
    assert world.verify(4, 2) == 2, "further up all is well"
    fails_from(world, 0, 3, "is damaged")
    world.spoil("DELETE FROM blocks WHERE id = ?", world.block(1).id)
    fails_from(world, 0, 2, "is missing")
    other = world.block(3)
    statement = "UPDATE blocks SET raw = ?, checksum = ? WHERE id = ?"
    world.spoil(statement, other.raw, block_checksum(other.raw), world.block(0).id)
    fails_from(world, 0, 1, "is damaged")


def test_a_block_of_other_transactions_fails_at_level_1(world):
    block = world.block(1)
    first, *rest = block.transactions
    spoilt = Transaction(first.version, first.inputs, first.outputs, first.lock_time ^ 1)
    world.replace_block(Block(block.header, [spoilt, *rest]))
    fails_from(world, 1, 2, "bad-txnmrklroot")


def test_a_witness_that_was_changed_fails_at_level_1(world):
    block = world.block(1)
    first, second, *rest = block.transactions
    txin = second.inputs[0]
    signature = bytes([txin.witness[0][0]]) + txin.witness[0][1:-1] + b"\x02"
    inputs = [TxIn(txin.outpoint, b"", txin.sequence, (signature, txin.witness[1]))]
    spoilt = Transaction(
        second.version, [*inputs, *second.inputs[1:]], second.outputs, second.lock_time
    )
    world.replace_block(Block(block.header, [first, spoilt, *rest]))
    fails_from(world, 1, 2, "bad-witness-merkle-match")


def test_undo_data_that_are_rotten_missing_or_of_another_block_fail_at_level_2(world):
    world.change_undo(2, lambda spent: spent[:-1])
    fails_from(world, 2, 3, "belong to another block")
    world.spoil("UPDATE undo SET checksum = zeroblob(4) WHERE id = ?", world.block(1).id)
    fails_from(world, 2, 2, "is damaged")
    world.spoil("DELETE FROM undo WHERE id = ?", world.block(0).id)
    fails_from(world, 2, 1, "are missing")


def test_coins_that_are_missing_changed_or_should_be_gone_fail_at_level_3(world):
    tx = world.block(0).transactions[0]
    query = "SELECT point, value, script, height, from_coinbase FROM coins WHERE height = ?"
    row = world.database.execute(query, (world.ledger.tip.height,)).fetchone()
    world.spoil("UPDATE coins SET value = value + 1 WHERE point = ?", row[0])
    fails_from(world, 3, 1, "coins differ|neither unspent nor spent")
    world.spoil("UPDATE coins SET value = value - 1 WHERE point = ?", row[0])
    assert world.verify(4, 1) == 1
    world.spoil("DELETE FROM coins WHERE point = ?", row[0])
    fails_from(world, 3, 1, "coins differ|neither unspent nor spent")
    world.spoil("INSERT INTO coins VALUES (?, ?, ?, ?, ?)", *row)
    assert world.verify(4, 1) == 1
    spent = next(t.inputs[0].outpoint for t in world.block(0).transactions[1:])
    world.spoil("INSERT INTO coins VALUES (?, ?, ?, ?, ?)", spent, *row[1:])
    fails_from(world, 3, 1, "coins differ|neither unspent nor spent")
    assert tx.is_coinbase


def test_undo_data_of_another_amount_fail_at_level_4(world):
    def one_more(spent):
        coin = spent[0][0]
        spent[0][0] = type(coin)(coin.value + 1, coin.script, coin.height, coin.from_coinbase)
        return spent

    world.change_undo(0, one_more)
    fails_from(world, 4, 1, "wrong signature")
    assert world.ledger.tip.header.time < NOW
