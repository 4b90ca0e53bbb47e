"""Thousands of headers of a sync are added together, and wait for one commit."""

import sqlite3
from contextlib import closing
from random import Random

import pytest
from sqlalchemy import event

from chain.consensus.errors import Reason
from chain.consensus.params import REGTEST
from chain.ledger.db.index import row_sums
from chain.ledger.header_columns import PAGE_HEADERS
from chain.ledger.ledger import Ledger
from chain.primitives import compiled_block, signature_batch
from chain.primitives.block import Block
from tests.builders import ChainBuilder
from tests.ledger.chains import NOW, url_of
from tests.ledger.test_columns import checked, is_as_written, opened, state
from tests.ledger.test_headers_ahead import feed, headers_of

BUFFERED = "chain.ledger.ledger._BUFFERED_HEADERS_MAX"
TOGETHER = "chain.ledger.ledger._SYNC_HEADERS_MIN"


@pytest.fixture(scope="module")
def chain():
    chain = ChainBuilder()
    chain.grow(400)
    return chain


def heights_written(folder) -> list[int]:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as database:
        query = "SELECT height FROM headers WHERE height > 0 ORDER BY number"
        return [height for (height,) in database.execute(query)]


@pytest.mark.parametrize(
    "written_at",
    [
        {100: 0, 199: 199, 299: 199, 399: 199, 400: 400},  # few do not wait, and none before them
        {150: 0, 299: 0, 400: 400},  # 300 may not wait
    ],
)
def test_headers_wait_until_there_are_many(tmp_path, chain, monkeypatch, written_at):
    monkeypatch.setattr(TOGETHER, 100)
    monkeypatch.setattr(BUFFERED, 300)
    headers = headers_of(chain.blocks)
    with closing(opened(tmp_path)) as ledger:
        for end, written in written_at.items():
            start = ledger.tree.best_header.height
            assert ledger.add_headers(headers[start:end], NOW).added == end - start
            assert ledger.tree.best_header.id == headers[end - 1].id
            assert heights_written(tmp_path) == [*range(1, written + 1)]
        is_as_written(ledger)


@pytest.mark.parametrize("what", ["block", "exclusion", "precious", "save", "header", "note"])
def test_headers_that_wait_are_written_with_the_next_commit(tmp_path, chain, monkeypatch, what):
    monkeypatch.setattr(TOGETHER, 100)
    with closing(opened(tmp_path)) as ledger:
        ledger.add_headers(headers_of(chain.blocks[:300]), NOW)
        assert heights_written(tmp_path) == []
        match what:
            case "block":
                ledger.add_block(chain.blocks[0], NOW)
            case "exclusion":
                ledger.invalidate(ledger.tree.get(chain.blocks[250].id))
            case "precious":
                ledger.mark_precious(ledger.tip)
            case "save":
                ledger.save(is_durable=True)
            case "header":
                ledger.add_headers(headers_of(chain.blocks[299:300]), NOW)
            case "note":
                ledger.note({"heartbeat": b"1"})
        assert heights_written(tmp_path) == [*range(1, 301)]


def test_headers_that_wait_are_lost_at_the_end_and_can_come_again(tmp_path, chain, monkeypatch):
    monkeypatch.setattr(TOGETHER, 100)
    with closing(opened(tmp_path)) as ledger:
        ledger.add_headers(headers_of(chain.blocks[:50]), NOW)
        ledger.add_headers(headers_of(chain.blocks[50:300]), NOW)
    with closing(opened(tmp_path)) as ledger:
        assert ledger.tree.best_header.height == 50
        assert ledger.add_headers(headers_of(chain.blocks[50:]), NOW).added == 350
        feed(ledger, chain.blocks)
        assert ledger.tip.id == chain.tip.id
        is_as_written(ledger)


@pytest.mark.parametrize("wrong", [1, 150, 299])
def test_the_headers_before_a_wrong_one_are_added(tmp_path, chain, monkeypatch, wrong):
    monkeypatch.setattr(TOGETHER, 100)
    headers = headers_of(chain.blocks[:wrong]) + headers_of(chain.blocks[wrong + 1 : 300])
    with closing(opened(tmp_path)) as ledger:
        added = ledger.add_headers(headers, NOW)
        assert (added.added, added.accepted) == (wrong, wrong)
        assert added.last.id == headers[wrong - 1].id
        if wrong < 299:
            assert added.error.reason is Reason.PARENT_MISSING
        assert ledger.tree.best_header.height == wrong


@pytest.mark.parametrize("at", [1, 100, 250])
@pytest.mark.parametrize("buffered", [1, 10_000])
def test_an_invalid_block_takes_headers_that_wait_with_it(
    tmp_path, chain, monkeypatch, at, buffered
):
    monkeypatch.setattr(TOGETHER, 20)
    monkeypatch.setattr(BUFFERED, buffered)
    monkeypatch.setattr("chain.ledger.tree.INVALID_MAX", 2 * PAGE_HEADERS)
    wrong = chain.fork(len(chain.blocks) - at + 1)
    wrong.add(fees=1)
    wrong.grow(300)
    with closing(opened(tmp_path)) as ledger:
        feed(ledger, wrong.blocks[: at - 1])
        for start in range(at - 1, len(wrong.blocks), 50):
            ledger.add_headers(headers_of(wrong.blocks[start : start + 50]), NOW)
        [verdict] = ledger.add_blocks([wrong.blocks[at - 1]], NOW)
        assert verdict.error.reason is Reason.COINBASE_AMOUNT
        assert ledger.tree.best_header == ledger.tip
        assert ledger.tip.height == at - 1
        is_as_written(ledger)
        before = state(ledger)
    with closing(opened(tmp_path)) as ledger:
        assert state(ledger) == before
        feed(ledger, chain.blocks[at - 1 :])
        assert ledger.tip.id == chain.tip.id


def outcome(ledger, step, blocks):
    """Do one step; return what a caller sees of it."""
    kind, first, end = step
    match kind:
        case "headers":
            added = ledger.add_headers(headers_of(blocks[first:end]), NOW)
            error = None if added.error is None else added.error.reason
            last = None if added.last is None else added.last.id
            seen = (last, added.accepted, added.added, error)
        case "blocks":
            verdicts = list(ledger.add_blocks(blocks[first:end], NOW))
            seen = [None if v.error is None else v.error.reason for v in verdicts]
        case "exclude":
            entry = ledger.tree.get(blocks[first].id)
            seen = entry is not None and entry.height > max(ledger.tip.height - 40, 0)
            if seen:
                ledger.invalidate(entry)
        case "reconsider":
            seen = len(ledger.tree.excluded)
            for entry in ledger.tree.excluded:
                ledger.reconsider(entry)
    return seen, ledger.tip.id, ledger.tree.best_header.id, len(ledger.tree)


def some_branches(chain: ChainBuilder, source: Random) -> list[list[Block]]:
    """Three that fork anywhere; the first block of the last one is invalid."""
    branches = []
    for number in range(3):
        fork = chain.fork(source.choice([390, 300, 200, 100]))
        if number == 2:
            fork.add(fees=1)
        fork.grow(source.randrange(100, 420), extra=b"%d" % number)
        branches.append(fork.blocks)
    return branches


def some_step(
    source: Random, known: list[int], which: int, tip: int, length: int
) -> tuple[str, int, int]:
    """What to do next with a branch of `length` blocks, and with which of them."""
    kind = source.choices(["headers", "blocks", "exclude", "reconsider"], [6, 3, 1, 1])[0]
    first = max(known[which] - source.choice([0, 0, 0, 1, 90]), 0)
    if kind == "headers":
        known[which] = max(known[which], first + source.choice([1, 20, 60, 130, 300]))
        return kind, first, known[which]
    if kind == "blocks":
        first = source.choice([0, max(tip - 5, 0), first])
        return kind, first, first + source.choice([10, 100, 400])
    return kind, source.randrange(length), 0


@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(n, marks=pytest.mark.slow) for n in range(8, 30))]
)
def test_headers_together_and_one_by_one_are_the_same_ledger(tmp_path, chain, monkeypatch, seed):
    """Branches, an invalid one, exclusions and restarts, in a random order."""
    source = Random(seed)
    branches = [chain.blocks, *some_branches(chain, source)]
    buffered, at_once = source.choice([1, 150, 10_000]), source.choice([20, 70, 2_000])
    monkeypatch.setattr("chain.ledger.db.loading.HEADERS_AT_ONCE", at_once)
    monkeypatch.setattr(BUFFERED, buffered)
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    one, many = opened(tmp_path / "one", held=10**6), opened(tmp_path / "many")
    try:
        known = [0] * len(branches)
        for _ in range(25):
            which = source.randrange(len(branches))
            step = some_step(source, known, which, one.tip.height, len(branches[which]))
            monkeypatch.setattr(TOGETHER, 10**6)
            expected = outcome(one, step, branches[which])
            monkeypatch.setattr(TOGETHER, source.choice([1, 20, 64]))
            assert outcome(many, step, branches[which]) == expected, step
            if source.random() < 0.15:
                many.save(is_durable=True)
                many.close()
                many = opened(tmp_path / "many")
                if many.check is not None:
                    checked(many)
        for ledger in (one, many):
            ledger.save(is_durable=True)
        assert state(many) == state(one)
        is_as_written(many)
        assert len(list(many.tree.held())) <= len(list(one.tree.held()))
    finally:
        one.close()
        many.close()


@pytest.mark.parametrize(("count", "compiled"), [(999, 0), (1000, 1)])
def test_headers_of_a_sync_have_the_code_for_their_blocks_compiled(tmp_path, count, compiled):
    pytest.importorskip("llvmlite")
    ledger = Ledger(tmp_path / "ledger.sqlite", REGTEST, verify_threads=2)
    cached = (
        compiled_block._reader_or_none,
        signature_batch._compiled_or_none,
        row_sums._compiled_or_none,
    )
    for function in cached:
        function.cache_clear()
    headers = headers_of(ChainBuilder(REGTEST).grow(count))
    for each in (headers, headers):
        assert ledger.add_headers(each, NOW).error is None
    ledger.close()  # waits for the threads
    assert [function.cache_info().misses for function in cached] == [compiled] * len(cached)


@pytest.mark.parametrize(("count", "synchronous"), [(999, "FULL"), (1000, "NORMAL")])
def test_headers_of_a_sync_do_not_wait_for_the_disk_but_the_next_block_does(
    tmp_path, count, synchronous, monkeypatch
):
    monkeypatch.setattr(BUFFERED, 1_000)
    levels, settings = {1: "NORMAL", 2: "FULL"}, []
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)

    def note(connection):
        driver = connection.connection.driver_connection
        settings.append(levels[driver.execute("PRAGMA synchronous").fetchone()[0]])

    event.listen(ledger._connection.engine, "commit", note)
    blocks = ChainBuilder(REGTEST).grow(count)
    assert ledger.add_headers(headers_of(blocks), NOW).added == count
    feed(ledger, blocks[:1])
    ledger.close()
    assert settings == [synchronous, "FULL"]
