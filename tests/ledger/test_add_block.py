"""Every verdict of the ledger itself."""

from dataclasses import replace

import pytest

from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.genesis import genesis_block
from chain.consensus.params import REGTEST
from chain.ledger import tree as tree_module
from chain.ledger.chain_tip import _PrefetchedCoins
from chain.ledger.db.coins import CoinSet, CoinStore
from chain.ledger.ledger import Ledger
from chain.primitives.block import Block
from chain.primitives.transaction import Transaction
from tests.builders import (
    KEY,
    ChainBuilder,
    assemble,
    block_on,
    coinbase,
    commit,
    output_of,
    pay,
    solve,
    spend,
)
from tests.ledger.chains import (
    FEE,
    NOW,
    bad_spend,
    coins_after,
    feed,
    mature_chain,
    tables,
    url_of,
)


@pytest.fixture
def chain():
    return ChainBuilder()


def refusal(ledger, block, now=NOW):
    before = tables(ledger)
    with pytest.raises(InvalidError) as caught:
        ledger.add_block(block, now)
    assert tables(ledger) == before, "a refused block changes no table of the chain"
    return caught.value.reason


def test_a_block_on_the_tip_is_connected(ledger, chain):
    block = chain.add()
    added = ledger.add_block(block, NOW)
    assert (added.is_new, list(added.connected), list(added.disconnected)) == (True, [block], [])
    assert ledger.tip == added.entry
    assert ledger.tip.id == block.id


def test_a_known_block_is_accepted_again_and_not_new(ledger, chain):
    block = chain.add()
    ledger.add_block(block, NOW)
    again = ledger.add_block(block, NOW)
    assert (again.is_new, list(again.connected)) == (False, [])
    assert not ledger.add_block(genesis_block(REGTEST), NOW).is_new


def test_a_block_without_known_parent_is_refused_and_not_remembered(ledger, chain):
    first, second = chain.grow(2)
    assert refusal(ledger, second) is Reason.PARENT_MISSING
    feed(ledger, [first, second])
    assert ledger.tip.id == second.id


def test_a_block_that_fails_alone_is_never_blamed(ledger, chain):
    block = chain.add()
    weak = Block(replace(block.header, nonce=block.header.nonce + 1), block.transactions)
    while int.from_bytes(weak.id, "little") >> 255 == 0:
        weak = Block(replace(weak.header, nonce=weak.header.nonce + 1), block.transactions)
    assert refusal(ledger, weak) is Reason.PROOF_OF_WORK
    wrong = Block(block.header, [*block.transactions, block.transactions[0]])
    assert refusal(ledger, wrong) is Reason.MERKLE_ROOT
    assert ledger.tree.get(block.id) is None
    ledger.add_block(block, NOW)


def test_a_body_that_fails_alone_is_told_before_its_unknown_parent(ledger, chain):
    chain.grow(2)
    orphan = assemble(chain.tip, [Transaction(1, [], [])])
    assert refusal(ledger, orphan) is Reason.COINBASE_MISSING


def test_a_header_out_of_context_is_refused_and_not_kept(ledger, chain):
    feed(ledger, chain.grow(2))
    for how, reason in (
        ({"bits": 0x207FFFFE}, Reason.BITS),
        ({"time": chain.tip.median_time_past}, Reason.TIME_TOO_OLD),
        ({"version": 3}, Reason.VERSION),
    ):
        block = block_on(chain.tip, **how)
        for _ in range(2):
            assert refusal(ledger, block) is reason
        assert ledger.tree.get(block.id) is None


def test_a_header_ahead_of_the_clock_is_held_and_not_condemned(ledger, chain):
    block = chain.add()
    latest = block.header.time - REGTEST.header_ahead_s_max
    assert refusal(ledger, block, latest - 1) is Reason.TIME_TOO_NEW
    assert ledger.add_block(block, latest).is_new


def test_a_body_out_of_context_condemns_its_id(ledger, chain):
    early = coinbase(2, 0)  # says height 2, at height 1
    block = assemble(chain.tip, commit([early]))
    assert refusal(ledger, block) is Reason.COINBASE_HEIGHT
    assert refusal(ledger, block) is Reason.KNOWN_INVALID
    assert ledger.tree.is_invalid(block.id)
    assert not ledger.tree.is_stored(block.id)
    child = block_on(BlockTreeEntry(block.header, chain.tip))
    assert refusal(ledger, child) is Reason.PARENT_INVALID


@pytest.mark.parametrize(
    ("witness", "reason"),
    [((bytes(31),), Reason.WITNESS_NONCE), ((b"\x01" * 32,), Reason.WITNESS_COMMITMENT)],
)
def test_a_mutated_copy_does_not_poison_the_honest_block(ledger, chain, witness, reason):
    block = chain.add()
    first = block.transactions[0]
    txin = replace(first.inputs[0], witness=witness)
    mutated = Block(block.header, [Transaction(first.version, [txin], first.outputs)])
    assert mutated.id == block.id
    assert refusal(ledger, mutated) is reason
    assert ledger.tree.get(block.id) is not None, "its header is right"
    assert not ledger.tree.is_stored(block.id)
    assert list(ledger.add_block(block, NOW).connected) == [block]


def test_a_witness_without_commitment_does_not_condemn(ledger, chain):
    block = assemble(chain.tip, [coinbase(1, 1)])
    assert refusal(ledger, block) is Reason.WITNESS_UNEXPECTED
    assert not ledger.tree.is_invalid(block.id)


def test_a_repeated_transaction_does_not_condemn(ledger, chain):
    """CVE-2012-2459: the copy has the same Merkle root and id."""
    base = mature_chain()
    feed(ledger, base.blocks)
    coins = [base.coinbase_coin(1)]
    first = spend(coins, [pay(coins[0][1].value)])
    second = spend([(output_of(first), Coin(coins[0][1].value, KEY.script, 102, False))], [pay(5)])
    block = base.add([first, second])
    copy = Block(block.header, [*block.transactions, block.transactions[-1]])
    assert refusal(ledger, copy) is Reason.MERKLE_DUPLICATE
    assert ledger.add_block(block, NOW).is_new


def test_a_block_that_spends_what_is_not_there_is_condemned(ledger):
    chain = mature_chain()
    feed(ledger, chain.blocks)
    point, coin = chain.coinbase_coin(1)
    gone = (output_of(chain.blocks[0].transactions[0], 7), coin)
    immature = spend([chain.coinbase_coin(3)], [pay(1)])
    for block, reason in (
        (block_on(chain.tip, [spend([gone], [pay(1)])]), Reason.COIN_MISSING),
        (block_on(chain.tip, [immature]), Reason.COIN_IMMATURE),
        (
            block_on(chain.tip, [spend([(point, coin)], [pay(coin.value + 1)])]),
            Reason.OUT_EXCEEDS_IN,
        ),
        (block_on(chain.tip, fees=1), Reason.COINBASE_AMOUNT),
        (block_on(chain.tip, [bad_spend(chain)]), Reason.SCRIPT),
    ):
        assert refusal(ledger, block) is reason
        assert refusal(ledger, block) is Reason.KNOWN_INVALID
    assert ledger.add_block(chain.add(), NOW).is_new


def test_a_missing_coin_is_looked_up_once():
    """Thousands of queries for one block would take long."""
    queries = []

    def no_rows(statement, points, types):
        queries.append(points)
        return []

    chain = mature_chain()
    point, coin = chain.coinbase_coin(1)
    block = block_on(chain.tip, [spend([(point, coin)], [pay(1)])])
    coins = _PrefetchedCoins(block, CoinStore(no_rows, CoinSet()))
    assert coins.get(point) is None
    assert queries == [[point]]
    other = output_of(block.transactions[1])
    assert coins.get(other) is None
    assert queries == [[point], [other]]


def test_coins_are_those_of_a_plain_reading(ledger):
    chain = mature_chain()
    tx = spend([chain.coinbase_coin(1)], [pay(7), pay(8)])
    chain.add([tx])
    feed(ledger, chain.blocks)
    expected = coins_after(chain.blocks)
    assert {point: ledger.get(point) for point in expected} == expected
    assert ledger.get(chain.coinbase_coin(1)[0]) is None


def test_headers_are_taken_up_to_the_first_bad_one(ledger, chain):
    blocks = chain.grow(5)
    headers = [block.header for block in blocks]
    bad = solve(replace(headers[3], bits=0x207FFFFE, nonce=0))
    result = ledger.add_headers([*headers[:3], bad, headers[4]], NOW)
    assert (result.added, result.last.id) == (3, headers[2].id)
    assert result.error.reason is Reason.BITS
    result = ledger.add_headers(headers, NOW)
    assert (result.added, result.last.id, result.error) == (2, headers[4].id, None)
    assert ledger.tree.best_header.id == headers[4].id
    assert ledger.tip.height == 0


def test_headers_without_work_parent_or_valid_parent_are_refused(ledger, chain):
    first, second = chain.grow(2)
    weak = replace(first.header, nonce=0)
    while int.from_bytes(weak.id, "little") >> 255 == 0:
        weak = replace(weak, nonce=weak.nonce + 1)
    assert ledger.add_headers([weak], NOW).error.reason is Reason.PROOF_OF_WORK
    assert ledger.add_headers([second.header], NOW).error.reason is Reason.PARENT_MISSING
    bad = assemble(ledger.tip, commit([coinbase(2, 0)]))
    refusal(ledger, bad)
    child = block_on(BlockTreeEntry(bad.header, ledger.tip))
    assert ledger.add_headers([bad.header], NOW).error.reason is Reason.KNOWN_INVALID
    assert ledger.add_headers([child.header], NOW).error.reason is Reason.PARENT_INVALID


def test_bodies_in_any_order_connect_when_the_missing_one_arrives(ledger, chain):
    blocks = chain.grow(4)
    ledger.add_headers([block.header for block in blocks], NOW)
    for block in reversed(blocks[1:]):
        assert not ledger.add_block(block, NOW).connected
    assert ledger.tip.height == 0
    assert ledger.add_block(blocks[0], NOW).connected.summaries[-1].id == blocks[3].id
    assert ledger.tip.id == chain.tip.id


def test_bodies_wait_for_the_missing_one_across_a_restart(tmp_path, chain):
    blocks = chain.grow(4)
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    ledger.add_headers([block.header for block in blocks], NOW)
    feed(ledger, [blocks[3], blocks[1]])
    ledger.close()
    again = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    assert [again.tree.is_stored(block.id) for block in blocks] == [False, True, False, True]
    added = again.add_block(blocks[0], NOW)
    assert [block.id for block in added.connected] == [block.id for block in blocks[:2]]
    added = again.add_block(blocks[2], NOW)
    assert [block.id for block in added.connected] == [block.id for block in blocks[2:]]
    again.close()


def test_remembered_bad_blocks_are_bounded_and_survive_a_restart(tmp_path, chain, monkeypatch):
    monkeypatch.setattr(tree_module, "INVALID_MAX", 3)
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    bad = [assemble(chain.tip, commit([coinbase(2, 0, extra=b"%02d" % n)])) for n in range(5)]
    for block in bad:
        assert refusal(ledger, block) is Reason.COINBASE_HEIGHT
    ledger.close()
    again = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    assert [again.tree.is_invalid(block.id) for block in bad] == [False, False, True, True, True]
    assert refusal(again, bad[0]) is Reason.COINBASE_HEIGHT  # forgotten, so looked at once more
    assert refusal(again, bad[4]) is Reason.KNOWN_INVALID
    assert len(again.tree) == 1 + 3
    again.close()


def test_the_best_header_leaves_a_branch_that_proves_bad(ledger, chain):
    good = chain.grow(2)
    feed(ledger, good)
    bad = block_on(ledger.tree.genesis, fees=1)
    entry = BlockTreeEntry(bad.header, ledger.tree.genesis)
    headers = [bad.header]
    for _ in range(3):
        child = block_on(entry)
        entry = BlockTreeEntry(child.header, entry)
        headers.append(child.header)
    ledger.add_headers(headers, NOW)
    assert ledger.tree.best_header.id == entry.id
    wrong_height = assemble(ledger.tree.genesis, commit([coinbase(2, 0)]))
    refusal(ledger, wrong_height)
    assert ledger.tree.best_header.id == entry.id, "another branch was bad"
    assert not ledger.add_block(bad, NOW).connected, "less work than the tip: not yet connected"


def test_fees_may_be_left_unclaimed(ledger):
    chain = mature_chain()
    tx = spend([chain.coinbase_coin(1)], [pay(chain.coinbase_coin(1)[1].value - FEE)])
    chain.add([tx], fees=0)
    feed(ledger, chain.blocks)
    assert ledger.tip.id == chain.tip.id
