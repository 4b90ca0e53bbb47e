"""Many small blocks: they share statements and batches of signatures, and end as one by one."""

from contextlib import closing
from itertools import pairwise

import pytest
from sqlalchemy import event

from chain.consensus.errors import InvalidError, Reason
from chain.ledger import chain_tip as chain_tip_module
from chain.ledger import pipeline as pipeline_module
from chain.ledger.db.coins import COIN_TYPES, SELECT_COINS
from chain.ledger.db.engine import connect_to_read_latest, open_engine, read_keys
from chain.ledger.ledger import Ledger
from chain.primitives.block import decode_block
from chain.primitives.script import push_number
from tests.builders import assemble, output_of, pay, spend
from tests.ledger.chains import (
    FEE,
    NOW,
    QUICK,
    TRUNK,
    bad_spend,
    feed,
    quick_chain,
    quick_ledger,
    tables,
    url_of,
)

SMALL = 39  # blocks with one payment each


@pytest.fixture(scope="module")
def chain():
    """A trunk, then small blocks: each spends the coin that has just matured."""
    builder = quick_chain()
    for _ in range(SMALL):
        point, coin = builder.coinbase_coin(_just_mature(builder))
        builder.add([spend([(point, coin)], [pay(coin.value - FEE)])], fees=FEE)
    return builder


def _just_mature(builder):
    return builder.tip.height + 1 - QUICK.coinbase_maturity_blocks


def with_bad_blocks(chain, places):
    """The small blocks, and others with a wrong signature before those at `places`."""
    blocks = list(chain.blocks[:TRUNK])
    for place in range(SMALL):
        if place in places:
            fork = chain.fork(SMALL - place)
            blocks.append(fork.add([bad_spend(fork, _just_mature(fork))], fees=0, extra=b"bad"))
        blocks.append(chain.blocks[TRUNK + place])
    return blocks


def outcome(ledger, blocks, *, pipelined):
    with closing(ledger):
        reasons = [
            verdict.error and verdict.error.reason
            for verdict in ledger.add_blocks(blocks, NOW, pipelined=pipelined)
        ]
        return reasons, ledger.tip.id, tables(ledger)


@pytest.mark.parametrize("batch_blocks", [7, 8_000])
@pytest.mark.parametrize(
    "places",
    [
        {15, 16},  # the last of the first batch of signatures, and the first of the second
        {3, 38},
        pytest.param(set(range(SMALL)), marks=pytest.mark.slow),
    ],
)
def test_a_wrong_signature_is_only_its_own_blocks_fault(
    tmp_path, monkeypatch, chain, places, batch_blocks
):
    blocks = with_bad_blocks(chain, places)
    plain = outcome(quick_ledger(), blocks, pipelined=False)
    assert plain[0].count(Reason.SCRIPT) == len(places)
    assert plain[1] == chain.tip.id
    monkeypatch.setattr(chain_tip_module, "BATCH_BLOCKS_MAX", batch_blocks)
    ledger = Ledger(url_of(tmp_path), QUICK, verify_threads=2)
    assert outcome(ledger, blocks, pipelined=True) == plain


def test_no_block_of_a_batch_has_statements_of_its_own(tmp_path, chain):
    few, many = (
        count_statements(tmp_path / name, chain.blocks[: TRUNK + small])
        for name, small in (("few", 4), ("many", SMALL))
    )
    assert few == many


def count_statements(folder, blocks):
    """How many statements SQLAlchemy executes for blocks in one batch."""
    folder.mkdir()
    statements = []
    with closing(Ledger(url_of(folder), QUICK, verify_threads=2)) as ledger:
        for engine in (ledger._connection.engine, ledger._chain._writer._reader):
            event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call))
        assert all(verdict.error is None for verdict in ledger.add_blocks(blocks, NOW))
    return len(statements)


@pytest.mark.parametrize(("bytes_max", "blocks_max"), [(0, 8), (10**6, 64)])
def test_only_small_blocks_are_unverified_by_the_dozen(
    tmp_path, monkeypatch, chain, bytes_max, blocks_max
):
    monkeypatch.setattr(pipeline_module, "_UNVERIFIED_BYTES_MAX", bytes_max)
    monkeypatch.setattr(pipeline_module, "UNVERIFIED_BLOCKS_MAX", min(64, SMALL // 2 - 1))
    asked = []

    def blocks():
        for block in chain.blocks:
            asked.append(block)
            yield block

    most = 0
    with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=2)) as ledger:
        for count, _ in enumerate(ledger.add_blocks(blocks(), NOW), 1):
            most = max(most, len(asked) - count)
    assert most == min(blocks_max, SMALL // 2 - 1)


def test_no_thread_sees_a_stored_block_without_its_header():
    blocks = [decode_block(block.raw) for block in quick_chain(8).blocks]
    seen, runs = [], []
    with closing(Ledger("sqlite://", QUICK, verify_threads=2)) as ledger:
        tree, add, store_run = ledger.tree, ledger.tree.add, ledger.tree.store_run

        def adding(entry):
            seen.extend(b.id for b in blocks if tree.is_stored(b.id) and tree.get(b.id) is None)
            add(entry)

        tree.add = adding
        tree.store_run = lambda entries: (runs.append(entries), store_run(entries))
        assert all(verdict.error is None for verdict in ledger.add_blocks(blocks, NOW))
    assert runs
    assert not seen


@pytest.mark.parametrize("stop", range(1, 9))
def test_what_was_read_is_added_though_the_caller_stops(monkeypatch, chain, stop):
    monkeypatch.setattr(pipeline_module, "UNVERIFIED_BLOCKS_MAX", 4)  # runs of two
    read = []

    def blocks():
        for block in chain.blocks:
            read.append(decode_block(block.raw))
            yield read[-1]

    with closing(quick_ledger()) as ledger:
        verdicts = ledger.add_blocks(blocks(), NOW)
        for _ in range(stop):
            next(verdicts)
        verdicts.close()
        assert stop < len(read) < len(chain.blocks)
        assert ledger.tip.id == read[-1].id


def test_what_is_read_beside_the_writer_is_as_last_committed(tmp_path, chain):
    with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=1)) as ledger:
        engine = open_engine(url_of(tmp_path), read_only=True)
        latest = connect_to_read_latest(engine)
        for block in chain.blocks[:3]:
            point = output_of(block.transactions[0])
            assert read_keys(latest, SELECT_COINS, [point], COIN_TYPES) == []
            feed(ledger, [block])
            assert len(read_keys(latest, SELECT_COINS, [point], COIN_TYPES)) == 1
            assert not latest.connection.driver_connection.in_transaction
        latest.close()
        engine.dispose()


def test_an_earlier_coinbase_is_refused_for_its_height_though_nobody_looks_for_its_coins(chain):
    with closing(quick_ledger()) as ledger:
        feed(ledger, chain.blocks)
        for earlier in (chain.blocks[0], chain.blocks[-1]):
            again = assemble(chain.tip, earlier.transactions[:1], params=QUICK)
            with pytest.raises(InvalidError) as refused:
                ledger.add_block(again, NOW)
            assert refused.value.reason is Reason.COINBASE_HEIGHT


def test_no_heights_encoding_begins_with_another_heights():
    bounds = [1 << bits for bits in range(10, 33)]
    heights = [*range(1 << 10), *(bound + by for bound in bounds for by in (-1, 0, 1))]
    encoded = sorted({push_number(height) for height in heights})
    assert len(encoded) == len(set(heights))
    assert not any(after.startswith(one) for one, after in pairwise(encoded))
