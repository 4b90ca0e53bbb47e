"""The pool in the database: its rows are the pool, whatever happened, also after a restart."""

from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.consensus.errors import InvalidError
from chain.ledger import chain_tip as chain_tip_module
from chain.ledger.db.engine import read_rows, write_rows
from chain.ledger.db.node_state import read_version
from chain.ledger.db.pool_rows import read_journal
from chain.ledger.ledger import Ledger
from chain.node.journal import Added, Connected, Disconnected, Removed, Repriced, decode_changes
from chain.node.node import Node
from chain.primitives.numbers import Hash32
from tests.ledger.chains import QUICK, bad_spend, quick_ledger, url_of
from tests.node.pool_walk import POLICY, PoolWalk


class Follower:
    """Someone who knows what was there once, and the journal since."""

    def __init__(self, walk: PoolWalk) -> None:
        version = walk.ledger.read(read_version)
        self.epoch, self.sequence = version.epoch, version.sequence
        self.chain: list[Hash32] = [block.id for block in walk.chain.blocks]
        self.pool = {row[2]: row[0] for row in walk.rows()["pool"]}
        self.deltas = dict(walk.rows()["deltas"])

    def follow(self, walk: PoolWalk) -> None:
        for sequence, _, data in walk.ledger.read(lambda c: read_journal(c, self.sequence)):
            assert sequence == self.sequence + 1, "a version has its row"
            self.sequence = sequence
            for change in decode_changes(data):
                self._apply(change)
        version = walk.ledger.read(read_version)
        assert (self.epoch, self.sequence) == (version.epoch, version.sequence)
        assert walk.ledger.version == version

    def _apply(self, change) -> None:
        match change:
            case Connected(block_id):
                self.chain.append(block_id)
            case Disconnected(block_id):
                assert self.chain.pop() == block_id
            case Added(number, txid):
                assert txid not in self.pool
                self.pool[txid] = number
            case Removed(txid):
                del self.pool[txid]
            case Repriced(txid, grains):
                self.deltas[txid] = grains
                if not grains:
                    del self.deltas[txid]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1 << 32), steps=st.integers(1, 40))
def test_rows_are_the_pool_and_the_journal_leads_to_them(seed, steps):
    with closing(quick_ledger()) as ledger:
        walk = PoolWalk(ledger, seed)
        follower = Follower(walk)
        for _ in range(steps):
            tip = walk.node.view.tip
            step = walk.step()
            if walk.node.view.tip is not tip:  # its commit has everything
                assert walk.node.unsaved == 0
            walk.save()
            assert walk.rows() == walk.expected_rows(), step
            follower.follow(walk)
            assert follower.chain == [block.id for block in walk.chain.blocks], step
            assert follower.pool == {row[2]: row[0] for row in walk.rows()["pool"]}, step
            assert follower.deltas == dict(walk.rows()["deltas"]), step
        before, feerates = walk.rows(), walk.node.view.block_feerates
        walk.restart()
        assert walk.expected_rows() == before
        assert walk.node.unsaved == 0
        assert walk.node.view.block_feerates == feerates


@pytest.fixture
def walk():
    """A walk with two transactions that are saved."""
    with closing(quick_ledger()) as ledger:
        walk = PoolWalk(ledger, 1)
        while walk.node.view.pool.count < 2:
            walk.pay()
        walk.save()
        yield walk


def damage(walk, statement, *values):
    with walk.ledger._writing():
        write_rows(walk.ledger._connection, statement, [values])


@pytest.mark.parametrize(
    "change",
    [
        "raw = x'00'",
        "raw = 'text'",
        "raw = CAST(substr(raw, 1, 80) || x'ff' || substr(raw, 82) AS BLOB)",
        "wtxid = zeroblob(32)",
        "txid = zeroblob(32)",
        "txid = 5",
        "time = 'late'",
        "time = -1",
        "time = 1 << 60",
        "height = 'high'",
        "height = -1",
    ],
)
def test_a_damaged_row_is_deleted_and_the_others_are_loaded(walk, change):
    damage(walk, f"UPDATE pool SET {change} WHERE number = ?", 1)
    node = Node(walk.ledger, POLICY)
    loaded = node.restore_pool(walk.now)
    assert (loaded.added, loaded.expired, loaded.refused) == (1, 0, 1)
    node.save_pool(walk.now, is_durable=False)
    assert [row[0] for row in walk.rows()["pool"]] == [2]


@pytest.mark.parametrize("change", ["fee = fee + 1", "time = time + 100", "height = height + 100"])
def test_a_row_with_an_impossible_value_is_written_again(walk, change):
    right = walk.rows()
    damage(walk, f"UPDATE pool SET {change} WHERE number = ?", 1)
    node = Node(walk.ledger, POLICY)
    node.restore_pool(walk.now)
    node.save_pool(walk.now, is_durable=False)
    written = walk.rows()
    assert written == right or written["pool"][0][5] == walk.node.view.tip.height
    walk.node = node
    assert written == walk.expected_rows()


def test_what_the_chain_confirmed_or_time_expired_without_the_node_is_not_loaded(walk):
    """As after an import into the ledger of a node."""
    confirmed, other = (entry.transaction for entry in walk.node.view.pool.entries())
    walk.ledger._chain.commits._hook = None
    walk.ledger.add_block(walk.chain.add([confirmed], fees=0), walk.now)
    state = walk.ledger.read(lambda c: dict(read_rows(c, "SELECT name, value FROM node_state")))
    assert state["pool_tip"] != walk.ledger.tip.id, "a reader sees that the rows are of before"
    node = Node(walk.ledger, POLICY)
    loaded = node.restore_pool(walk.now)
    assert (loaded.added, loaded.expired, loaded.refused) == (1, 0, 1)
    later = Node(walk.ledger, POLICY).restore_pool(walk.now + POLICY.expiry_s)
    assert (later.added, later.expired) == (0, 2)
    assert node.view.pool.get(other.txid) is not None


def test_each_start_of_a_writer_is_another_epoch_and_the_sequence_goes_on(tmp_path):
    versions = []
    for _ in range(3):
        with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=1)) as ledger:
            assert ledger.read(lambda c: read_journal(c, 0)) == []
            node = Node(ledger, POLICY)
            versions.append(ledger.version)
            node.save_pool(0, is_durable=True)
            versions.append(ledger.version)
            assert len(ledger.read(lambda c: read_journal(c, 0))) == 1
    assert [version.sequence for version in versions] == [1, 2, 3, 4, 5, 6]
    counters = [int.from_bytes(version.epoch[:8], "big") for version in versions]
    assert counters == [1, 1, 2, 2, 3, 3]
    assert len({version.epoch[8:] for version in versions}) == 3


def test_a_block_that_is_refused_leaves_the_rows_of_the_pool(walk):
    before = walk.rows()
    entry = walk.node.view.pool.entries()[0]
    bad = walk.chain.fork(0).add([entry.transaction], fees=entry.fee + 1)
    with pytest.raises(InvalidError):
        walk.node.submit_block(bad, walk.now)
    assert walk.rows() == before


def test_the_minimum_feerate_after_an_eviction_survives_a_restart(walk):
    walk.node._mempool.rolling.restore(5_000, walk.now)
    walk.save()
    node = Node(walk.ledger, POLICY)
    node.restore_pool(walk.now)
    assert node.feerate_min(walk.now) == walk.node.feerate_min(walk.now) == 5_000


def test_a_wrong_signature_in_a_block_that_is_taken_back_is_not_in_the_pool(tmp_path, monkeypatch):
    """Nor is anything lost: such a block moves no mempool, however small the batches are."""
    monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", 1)
    with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=1)) as ledger:
        walk = PoolWalk(ledger, 1)
        walk.pay()
        [pooled] = walk.node.view.pool.entries()
        wrong = walk.chain.fork(0)
        transactions = [pooled.transaction, bad_spend(wrong, wrong.tip.height - 10)]
        blocks = [wrong.add(transactions, fees=0), *wrong.grow(3)]
        refusals = walk.node.submit_blocks(blocks, walk.now)
        assert None not in refusals
        assert [entry.txid for entry in walk.node.view.pool.entries()] == [pooled.txid]
        walk.save()
        assert walk.rows() == walk.expected_rows()
        entries = walk.node.view.pool.entries()
        txs = [entry.transaction for entry in entries]
        walk.submit([walk.chain.add(txs, fees=sum(entry.fee for entry in entries))])
