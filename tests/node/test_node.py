"""Ledger and mempool joined: what is published, when, and what comes out of it."""

from collections.abc import Iterator
from queue import Queue

import pytest

from chain.consensus.errors import InvalidError, Reason
from chain.consensus.params import MAIN, REGTEST, network_identity
from chain.ledger import outcomes as moved_module
from chain.ledger.ledger import Ledger
from chain.ledger.reader import open_reader
from chain.mining.hashlib_kernel import HashlibKernel
from chain.mining.miner import Miner
from chain.node.entry import PoolEntry
from chain.node.mempool import RemovalReason
from chain.node.node import ChainStateUpdate, Node
from chain.node.policy import Policy, PolicyError, PolicyReason
from chain.node.pool_file import WrongPoolNetworkError, encode_pool
from chain.primitives.block import Block
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import NULL_HASH, Amount, outpoint
from tests.builders import KEY, ChainBuilder, Key, solve
from tests.node.world import output, send

NOW = 1_800_000_000
FEE = 10_000
MANY = 20


class Bench:
    """A node on a ledger in a folder, and the chain that it follows."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ledger = Ledger(url, REGTEST, verify_threads=1)
        self.node = Node(self.ledger, Policy())
        self.chain = ChainBuilder()
        self.changes: list[ChainStateUpdate] = []
        self.node.listeners.append(self.changes.append)

    def grow(self, count: int, *, chain: ChainBuilder | None = None, extra: bytes = b"") -> None:
        """Add blocks; many of them with one commit if they extend the tip, which is faster."""
        blocks = (chain or self.chain).grow(count, extra=extra)
        if len(blocks) > MANY:
            assert not any(self.node.submit_blocks(blocks, NOW))
            return
        for block in blocks:
            self.node.submit_block(block, NOW)

    def spend_coinbase(self, height: int, fee: int = FEE):
        return send([self.chain.coinbase_coin(height)], fee)


@pytest.fixture
def bench(tmp_path) -> Iterator[Bench]:
    bench = Bench(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield bench
    bench.ledger.close()


def test_a_new_node_shows_genesis_and_an_empty_pool(bench):
    view = bench.node.view
    assert view.tip.height == 0
    assert view.best_header == view.tip
    assert view.pool.count == 0


def test_a_transaction_is_mined_into_the_next_template(bench):
    bench.grow(101)
    transaction = bench.spend_coinbase(1)
    entry = bench.node.submit_transaction(transaction, NOW)
    template = bench.node.template(Key(2).script, NOW)
    assert template.entries == (entry,)
    block = solved(template)
    added = bench.node.submit_block(block, NOW)
    assert list(added.connected) == [block]
    assert bench.node.view.tip.id == block.id
    assert bench.node.view.pool.count == 0
    assert block.transactions[0].outputs[0].value == 50 * 10**8 + FEE
    assert block.transactions[0].outputs[0].script == Key(2).script


def solved(template) -> Block:
    return template.block(solve(template.header(0, template.time)), 0)


def test_listeners_hear_each_change_after_it_is_published(bench):
    bench.grow(101)
    seen = []
    bench.node.listeners.append(lambda change: seen.append(bench.node.view is change.view))
    bench.grow(3)
    entry = bench.node.submit_transaction(bench.spend_coinbase(1), NOW)
    assert all(seen)
    assert len(seen) == 4
    assert bench.changes[-1].added == (entry,)
    assert [change.view.sequence for change in bench.changes] == list(range(1, 6))


def test_headers_first_are_published_without_a_new_tip(bench):
    block = bench.chain.add()
    bench.node.submit_headers([block.header], NOW)
    assert bench.node.view.best_header.id == block.id
    assert bench.node.view.tip.height == 0


def test_an_invalid_block_changes_nothing_and_is_told(bench):
    bench.grow(1)
    bad = bench.chain.fork(0).add(fees=1)
    view = bench.node.view
    with pytest.raises(InvalidError) as refused:
        bench.node.submit_block(bad, NOW)
    assert refused.value.reason is Reason.COINBASE_AMOUNT
    assert bench.node.view.tip == view.tip
    assert bench.node.view.best_header == view.tip


def test_a_reader_with_the_old_view_still_finds_what_the_old_snapshot_lacks(bench):
    """The snapshot before a block and the view before it agree, whatever is published since."""
    bench.grow(101)
    transaction = bench.spend_coinbase(1)
    bench.node.submit_transaction(transaction, NOW)
    reader = open_reader(bench.url)
    before = bench.node.view
    with reader.snapshot() as snapshot:
        assert snapshot.tip_id == before.tip.id
        bench.node.submit_block(solved(bench.node.template(KEY.script, NOW)), NOW)
        assert snapshot.find(transaction.txid) is None
        assert before.pool.get(transaction.txid) is not None
    with reader.snapshot() as snapshot:
        after = bench.node.view
        assert snapshot.tip_id == after.tip.id
        assert snapshot.find(transaction.txid) is not None
        assert after.pool.get(transaction.txid) is None
    reader.close()


def test_reorganised_transactions_return_before_those_that_need_them(bench):
    bench.grow(101)
    parent = bench.spend_coinbase(1)
    child = send([output(parent)], FEE)
    other = bench.chain.fork(0)
    block = bench.chain.add([parent], fees=FEE)
    bench.node.submit_block(block, NOW)
    bench.node.submit_transaction(child, NOW)
    bench.grow(2, chain=other, extra=b"other")
    assert bench.node.view.tip == bench.ledger.tip
    assert bench.node.view.tip.id == other.tip.id
    pool = bench.node.view.pool
    assert [entry.txid for entry in pool.entries()] == [parent.txid, child.txid]
    assert pool.get(child.txid).ancestors.count == 2
    assert pool.get(parent.txid).descendants.count == 2
    change = bench.changes[-1]
    assert [gone.id for gone in change.disconnected] == [block.id]
    assert [entry.txid for entry in change.added] == [parent.txid]
    template = bench.node.template(KEY.script, NOW)
    assert [entry.txid for entry in template.entries] == [parent.txid, child.txid]


def test_what_the_other_branch_confirms_or_spends_does_not_return(bench):
    bench.grow(102)
    both, ours = bench.spend_coinbase(1), bench.spend_coinbase(2)
    theirs = send([bench.chain.coinbase_coin(2)], FEE * 2)
    other = bench.chain.fork(0)
    bench.node.submit_block(bench.chain.add([both, ours], fees=2 * FEE), NOW)
    bench.node.submit_block(other.add([both, theirs], fees=3 * FEE, extra=b"other"), NOW)
    bench.grow(1, chain=other, extra=b"other")
    assert bench.node.view.tip.id == other.tip.id
    assert bench.node.view.pool.count == 0


def test_a_spend_of_a_coinbase_that_is_immature_again_leaves(bench):
    bench.grow(102)
    other = bench.chain.fork(2)
    entry = bench.node.submit_transaction(bench.spend_coinbase(2), NOW)
    bench.grow(1, chain=other, extra=b"b1")
    bench.node.submit_block(other.add(extra=b"b2"), NOW)
    assert bench.node.view.pool.get(entry.txid) is not None  # not more work: no change yet
    third = other.add(extra=b"b3", script=Key(3).script)
    bench.node.submit_block(third, NOW)
    assert bench.node.view.tip.id == third.id
    assert bench.node.view.pool.get(entry.txid) is not None  # height 103: coinbase 2 still mature


def test_a_spend_of_a_vanished_coinbase_leaves_after_a_reorganisation(bench):
    bench.grow(1)
    other = bench.chain.fork(1)
    bench.grow(100)
    entry = bench.node.submit_transaction(bench.spend_coinbase(1), NOW)
    bench.grow(102, chain=other, extra=b"other")
    assert bench.node.view.pool.count == 0
    removals = [removal for change in bench.changes for removal in change.removed]
    assert [(r.entry, r.reason) for r in removals] == [(entry, RemovalReason.REORGANISED)]


@pytest.mark.parametrize("stop_at", [None, 3])
def test_headers_are_read_after_the_first_known_of_the_locator(bench, stop_at):
    bench.grow(5)
    ids = [block.id for block in bench.chain.blocks]
    stop = NULL_HASH if stop_at is None else ids[stop_at - 1]
    found = bench.node.read_headers([NULL_HASH, ids[1], ids[0]], stop, 10)
    assert [header.id for header in found] == ids[2 : stop_at or 5]


def test_headers_are_limited_and_start_after_genesis_for_strangers(bench):
    bench.grow(5)
    ids = [block.id for block in bench.chain.blocks]
    assert [h.id for h in bench.node.read_headers([NULL_HASH], NULL_HASH, 2)] == ids[:2]
    assert bench.node.read_headers([ids[4]], NULL_HASH, 2) == []
    assert [h.id for h in bench.node.read_headers([], ids[2], 2)] == [ids[2]]
    assert not bench.node.read_headers([], NULL_HASH, 2)


def test_headers_of_a_side_branch_are_not_read_but_where_it_forks_is_found(bench):
    bench.grow(3)
    other = bench.chain.fork(2)
    bench.node.submit_headers([block.header for block in other.grow(2, extra=b"other")], NOW)
    found = bench.node.read_headers(other.tip.locator(), NULL_HASH, 10)
    assert [header.id for header in found] == [block.id for block in bench.chain.blocks[1:]]


def test_the_pool_survives_a_restart(bench):
    bench.grow(102)
    parent = bench.spend_coinbase(1)
    transactions = [parent, send([output(parent)], FEE), bench.spend_coinbase(2)]
    for number, transaction in enumerate(transactions):
        bench.node.submit_transaction(transaction, NOW + number)
    data = bench.node.dump_pool()
    again = Node(bench.ledger, Policy())
    loaded = again.load_pool(data, NOW + 100)
    assert (loaded.added, loaded.expired, loaded.refused) == (3, 0, 0)
    found = [(entry.txid, entry.time) for entry in again.view.pool.entries()]
    assert found == [(tx.txid, NOW + number) for number, tx in enumerate(transactions)]
    assert again.dump_pool() == data


def test_fee_deltas_survive_a_restart_and_count_for_what_is_loaded(bench):
    bench.grow(102)
    cheap, later = bench.spend_coinbase(1, fee=1), bench.spend_coinbase(2, fee=1)
    for transaction in (cheap, later):
        bench.node.prioritise(transaction.txid, FEE)
    bench.node.submit_transaction(cheap, NOW)
    again = Node(bench.ledger, Policy())
    again.load_pool(bench.node.dump_pool(), NOW)
    assert again.deltas() == {cheap.txid: FEE, later.txid: FEE}
    assert [entry.modified_fee for entry in again.view.pool.entries()] == [FEE + 1]
    again.submit_transaction(later, NOW)


def test_another_fee_delta_makes_another_template_at_once(bench):
    bench.grow(101)
    entry = bench.node.submit_transaction(bench.spend_coinbase(1), NOW)
    assert bench.node.template(KEY.script, NOW).entries == (entry,)
    bench.node.prioritise(entry.txid, -FEE - 1)
    assert bench.changes[-1].has_other_fees
    assert bench.node.template(KEY.script, NOW).entries == ()


def test_a_block_that_has_a_fee_delta_forgotten_tells_so_that_it_is_saved(bench):
    bench.grow(101)
    mined = bench.spend_coinbase(1)
    bench.node.prioritise(mined.txid, FEE)
    bench.node.submit_block(bench.chain.add(), NOW)
    assert not bench.changes[-1].has_other_fees
    bench.node.submit_block(bench.chain.add([mined], fees=FEE), NOW)
    assert (bench.changes[-1].removed, bench.changes[-1].has_other_fees) == ((), True)


def test_what_was_confirmed_or_expired_meanwhile_is_not_loaded(bench):
    bench.grow(102)
    bench.node.submit_transaction(bench.spend_coinbase(1), NOW)
    bench.node.submit_transaction(bench.spend_coinbase(2), NOW + 10)
    data = bench.node.dump_pool()
    bench.node.submit_block(bench.chain.add([bench.spend_coinbase(2)], fees=FEE), NOW)
    again = Node(bench.ledger, Policy())
    loaded = again.load_pool(data, NOW + Policy().expiry_s)
    assert (loaded.added, loaded.expired, loaded.refused) == (0, 1, 1)


def test_a_pool_file_of_another_network_or_damaged_loads_nothing(bench):
    with pytest.raises(WrongPoolNetworkError):
        bench.node.load_pool(encode_pool([], network_identity(MAIN), {}), NOW)
    with pytest.raises(DecodeError):
        bench.node.load_pool(b"", NOW)


def test_testing_a_transaction_changes_nothing(bench):
    bench.grow(101)
    view = bench.node.view
    entry = bench.node.test_transaction(bench.spend_coinbase(1), NOW)
    assert entry.fee == FEE
    assert bench.node.view is view
    assert view.pool.count == 0


def test_a_newcomer_that_a_full_pool_evicts_is_refused(bench):
    bench.grow(101)
    node = Node(bench.ledger, Policy(pool_bytes_max=1))
    with pytest.raises(PolicyError) as refused:
        node.submit_transaction(bench.spend_coinbase(1), NOW)
    assert refused.value.reason is PolicyReason.POOL_FULL
    assert node.view.pool.count == 0


def test_expired_transactions_leave_when_the_next_comes(bench):
    bench.grow(102)
    entry = bench.node.submit_transaction(bench.spend_coinbase(1), NOW)
    later = NOW + Policy().expiry_s
    bench.node.submit_transaction(bench.spend_coinbase(2), later)
    assert bench.node.view.pool.get(entry.txid) is None
    assert [(r.entry, r.reason) for r in bench.changes[-2].removed] == [
        (entry, RemovalReason.EXPIRED)
    ]


def test_a_transaction_that_spoils_templates_is_dropped_and_mining_goes_on(bench):
    """Behind admission's back: whatever bug lets one in, it must not stop the miner."""
    bench.grow(102)
    good = bench.node.submit_transaction(bench.spend_coinbase(1), NOW)
    _, coin = bench.chain.coinbase_coin(2)
    missing = (outpoint(NULL_HASH, 5), coin)
    bad = PoolEntry(send([missing], FEE * 9), (coin,), Amount(FEE * 9), time=NOW, height=102)
    bench.node.view.pool.add(bad)
    template = bench.node.template(KEY.script, NOW)
    assert template.entries == (good,)
    assert [(r.entry, r.reason) for r in bench.changes[-1].removed] == [(bad, RemovalReason.FAULTY)]
    bench.node.submit_block(solved(template), NOW)
    assert bench.node.view.tip.height == 103


def test_a_template_is_made_once_for_each_view_and_follows_the_pool(bench):
    bench.grow(102)
    first = bench.node.submit_transaction(bench.spend_coinbase(1), NOW)
    assert bench.node.template(KEY.script, NOW).entries == (first,)
    again = bench.node.template(Key(2).script, NOW + 9)
    assert (again.entries, again.time, again.script) == ((first,), NOW + 9, Key(2).script)
    second = bench.node.submit_transaction(bench.spend_coinbase(2, FEE * 2), NOW)
    assert bench.node.template(KEY.script, NOW).entries == (second, first)


def test_prices_follow_the_best_chain(bench):
    bench.grow(3)
    assert bench.node.view.block_feerates == (0, 0, 0)
    other = bench.chain.fork(2)
    bench.grow(3, chain=other, extra=b"other")
    assert bench.node.view.block_feerates == (0, 0, 0, 0)


def test_a_known_block_is_told_again_and_nothing_is_published(bench):
    bench.grow(2)
    view = bench.node.view
    added = bench.node.submit_block(bench.chain.blocks[0], NOW)
    assert not added.is_new
    assert bench.node.view is view


def test_replaced_transactions_are_told_with_what_replaced_them(bench):
    bench.grow(101)
    old = bench.node.submit_transaction(bench.spend_coinbase(1), NOW)
    new = bench.node.submit_transaction(bench.spend_coinbase(1, FEE * 2), NOW)
    change = bench.changes[-1]
    assert change.added == (new,)
    assert [(r.entry, r.reason, r.by) for r in change.removed] == [
        (old, RemovalReason.REPLACED, new.txid)
    ]


def test_listeners_may_leave_while_they_are_called(bench):
    heard = []

    def once(change: ChainStateUpdate) -> None:
        heard.append(change)
        bench.node.listeners.remove(once)

    bench.node.listeners.insert(0, once)
    bench.grow(2)
    assert len(heard) == 1
    assert len(bench.changes) == 2


def test_the_rate_that_is_asked_for_is_the_relay_rate_while_there_is_room(bench):
    assert bench.node.feerate_min(NOW) == bench.node.policy.relay_feerate_min == 1000


def test_a_miner_takes_a_template_as_its_job_and_solves_it(bench):
    bench.grow(101)
    bench.node.submit_transaction(bench.spend_coinbase(1), NOW)
    found: Queue[Block] = Queue()
    miner = Miner(HashlibKernel(), 2, found.put, clock=lambda: NOW, first_extranonce=1 << 63)
    miner.set_job(bench.node.template(KEY.script, NOW))
    block = found.get(timeout=30)
    miner.stop()
    assert list(bench.node.submit_block(block, NOW).connected) == [block]
    assert len(block.transactions) == 2


def test_a_reorganisation_too_large_for_memory_leaves_the_same_pool(bench, monkeypatch):
    monkeypatch.setattr(moved_module, "HELD_BYTES_MAX", 0)
    bench.grow(103)
    parent, both, ours = (bench.spend_coinbase(height) for height in (1, 2, 3))
    theirs = send([bench.chain.coinbase_coin(3)], FEE * 2)
    waiting = send([output(parent)], FEE)
    other = bench.chain.fork(0)
    block = bench.chain.add([parent, both, ours], fees=3 * FEE)
    bench.node.submit_block(block, NOW)
    bench.node.submit_transaction(waiting, NOW)
    first = other.add([both, theirs], fees=3 * FEE, extra=b"other")
    bench.node.submit_block(first, NOW)
    bench.grow(1, chain=other, extra=b"other")
    assert [e.txid for e in bench.node.view.pool.entries()] == [parent.txid, waiting.txid]
    change = bench.changes[-1]
    assert [gone.id for gone in change.disconnected] == [block.id]
    assert [(b.id, b.tx_count) for b in change.connected] == [(first.id, 3), (other.tip.id, 1)]
