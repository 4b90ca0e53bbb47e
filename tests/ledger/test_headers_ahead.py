"""A ledger that knows many headers before their blocks, as in a first sync."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import count
from random import Random

import pytest

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.genesis import genesis_block
from chain.consensus.params import REGTEST
from chain.consensus.work import meets_target
from chain.ledger.db import loading
from chain.ledger.db.engine import read_rows
from chain.ledger.errors import DamagedError
from chain.ledger.followed_headers import FollowedHeaders
from chain.ledger.header_columns import PAGE_HEADERS
from chain.ledger.ledger import Ledger
from chain.ledger.offline.checking import check_ledger
from chain.ledger.reader import open_reader
from chain.primitives.block import Block, Header
from tests.builders import ChainBuilder
from tests.ledger.chains import NOW, bad_spend, mature_chain, url_of
from tests.ledger.test_columns import HELD, checked, is_as_written, opened, state

BLOCKS = 230
AHEAD = (BLOCKS - HELD) // PAGE_HEADERS * PAGE_HEADERS


@pytest.fixture(autouse=True, params=["one by one", "together"])
def how_added(request, monkeypatch):
    """How many headers in a row are added and committed."""
    if request.param == "together":
        monkeypatch.setattr("chain.ledger.ledger._SYNC_HEADERS_MIN", 1)
        monkeypatch.setattr("chain.ledger.ledger._BUFFERED_HEADERS_MAX", 1)


@pytest.fixture(scope="module")
def chain():
    return mature_chain(BLOCKS)


def headers_of(blocks: list[Block]) -> list:
    return [block.header for block in blocks]


def feed(ledger: Ledger, blocks: list[Block], *, pipelined: bool = True) -> None:
    for verdict in ledger.add_blocks(blocks, NOW, pipelined=pipelined):
        verdict.result()


def first_sync(folder, chain) -> Ledger:
    """A ledger with all headers of the chain and no block."""
    ledger = opened(folder)
    for at in range(0, BLOCKS, 50):
        added = ledger.add_headers(headers_of(chain.blocks[at : at + 50]), NOW)
        assert added.error is None
    assert len(ledger.tree.columns) == AHEAD
    assert ledger.tree.connected == 0
    return ledger


@pytest.mark.parametrize("size", [1, 7, BLOCKS])
def test_headers_in_any_groups_are_the_same_tree(tmp_path, chain, size):
    """Some come twice, some are known, and a branch begins in the middle of a group."""
    fork = ChainBuilder(REGTEST)
    for block in chain.blocks[:100]:
        fork.append(block)
    fork.add(time=fork.tip.header.time + 77)
    branch = headers_of([fork.blocks[-1], *fork.grow(8)])
    headers = headers_of(chain.blocks)
    offered = headers[:50] + headers[40:105] + branch[:5] + headers[105:110] + branch + headers
    with closing(opened(tmp_path / "one")) as one, closing(opened(tmp_path / "many")) as many:
        added = [one.add_headers([header], NOW).added for header in offered]
        some = [offered[at : at + size] for at in range(0, len(offered), size)]
        assert sum(many.add_headers(group, NOW).added for group in some) == sum(added)
        assert sum(added) == BLOCKS + len(branch)
        assert [e.id for e in many.tree] == [e.id for e in one.tree]
        assert many.tree.best_header == one.tree.best_header
        feed(one, chain.blocks)
        feed(many, chain.blocks)
        assert state(one) == state(many)


def test_headers_behind_a_wrong_one_are_not_added(tmp_path, chain):
    headers = headers_of(chain.blocks[:9])
    early = replace(headers[5], time=headers[3].time - 10_000)
    early = next(h for n in count() if meets(h := replace(early, nonce=n)))
    with closing(opened(tmp_path)) as ledger:
        result = ledger.add_headers([*headers[:5], early, *headers[5:]], NOW)
        assert result.error is not None
        assert result.error.reason is Reason.TIME_TOO_OLD
        assert (result.added, result.last.id) == (5, headers[4].id)
        unknown = replace(headers[6], previous=early.id)
        unknown = next(h for n in count() if meets(h := replace(unknown, nonce=n)))
        assert ledger.add_headers([unknown], NOW).error.reason is Reason.PARENT_MISSING
        assert ledger.add_headers(headers, NOW).added == 4


def meets(header: Header) -> bool:
    return meets_target(header.id, header.bits, REGTEST)


def right_state(folder, chain):
    with closing(opened(folder, held=10**6)) as plain:
        plain.add_headers(headers_of(chain.blocks), NOW)
        feed(plain, chain.blocks)
        return state(plain)


@pytest.mark.parametrize("is_pipelined", [True, False])
def test_a_first_sync_through_headers_in_columns_ends_as_one_through_entries(
    tmp_path, chain, is_pipelined
):
    (tmp_path / "plain").mkdir()
    with closing(first_sync(tmp_path, chain)) as ledger:
        for at in range(0, BLOCKS, 70):
            feed(ledger, chain.blocks[at : at + 70], pipelined=is_pipelined)
            is_as_written(ledger)
        assert state(ledger) == right_state(tmp_path / "plain", chain)
        assert len(ledger.tree.columns) == ledger.tree.connected == AHEAD
    assert check_ledger(url_of(tmp_path), REGTEST, verify_threads=1).problems == []


@pytest.mark.parametrize(
    ("blocks", "at_once"),
    [(0, 20), (0, PAGE_HEADERS), (0, 100), (HELD + PAGE_HEADERS + 5, 20), (200, 20)],
)
def test_a_first_sync_goes_on_after_a_restart_at_any_block(
    tmp_path, chain, blocks, at_once, monkeypatch
):
    monkeypatch.setattr("chain.ledger.db.loading.HEADERS_AT_ONCE", at_once)
    with closing(first_sync(tmp_path, chain)) as ledger:
        feed(ledger, chain.blocks[:blocks])
        ledger.add_block(chain.blocks[blocks + 5], NOW)  # it waits for its parents
        before = state(ledger)
    with closing(opened(tmp_path)) as ledger:
        assert state(ledger) == before
        assert len(list(ledger.tree.held())) < HELD + PAGE_HEADERS + at_once
        is_as_written(ledger)
        if ledger.check is not None:
            checked(ledger)
        feed(ledger, chain.blocks[blocks : blocks + 5])
        assert ledger.tip.height == blocks + 6
        feed(ledger, chain.blocks[blocks + 6 :])
        assert ledger.tip.id == chain.tip.id
        is_as_written(ledger)


@pytest.mark.parametrize("at", [1, 100, BLOCKS - 10])
def test_an_invalid_block_among_headers_in_columns_takes_what_follows_with_it(tmp_path, chain, at):
    wrong = chain.fork(BLOCKS - at + 1)
    wrong.add(fees=1)
    wrong.grow(BLOCKS - at)
    with closing(first_sync(tmp_path, wrong)) as ledger:
        feed(ledger, wrong.blocks[: at - 1])
        with pytest.raises(InvalidError) as refused:
            ledger.add_block(wrong.blocks[at - 1], NOW)
        assert refused.value.reason is Reason.COINBASE_AMOUNT
        assert ledger.tip.height == ledger.tree.best_header.height == at - 1
        assert all(ledger.tree.is_invalid(block.id) for block in wrong.blocks[at - 1 :])
        feed(ledger, chain.blocks[at - 1 :])
        assert ledger.tip.id == chain.tip.id
        is_as_written(ledger)
    assert check_ledger(url_of(tmp_path), REGTEST, verify_threads=1).problems == []


def test_a_start_leaves_the_pages_of_headers_with_an_exclusion_as_they_were(tmp_path, chain):
    side = chain.fork(BLOCKS - 40)
    side.grow(BLOCKS - 60, extra=b"side")
    with closing(first_sync(tmp_path, chain)) as ledger:
        feed(ledger, chain.blocks[:30])
        ledger.add_headers(headers_of(side.blocks), NOW)
        ledger.invalidate(ledger.tree.get(chain.blocks[100].id))
        assert ledger.tree.best_header.id == side.tip.id
        is_as_written(ledger)
        pages = ledger.tree.columns.pages
    with closing(opened(tmp_path)) as ledger:
        assert ledger.tree.columns.pages == pages
        is_as_written(ledger)


@pytest.mark.parametrize("at", [1, 100, 170, BLOCKS - 10])
def test_any_header_of_a_first_sync_can_be_excluded_and_taken_back(tmp_path, chain, at):
    with closing(first_sync(tmp_path, chain)) as ledger:
        feed(ledger, chain.blocks[:150])
        before = state(ledger)
        ledger.invalidate(ledger.tree.get(chain.blocks[at - 1].id))
        assert ledger.tip.height == min(at - 1, 150)
        assert ledger.tree.best_header.height == at - 1
        assert all(ledger.tree.is_invalid(block.id) for block in chain.blocks[at - 1 :])
        is_as_written(ledger)
        ledger.reconsider(ledger.tree.get(chain.blocks[at - 1].id))
        assert state(ledger) == before
        assert len(ledger.tree.columns) == AHEAD
        feed(ledger, chain.blocks[150:])
        assert ledger.tip.id == chain.tip.id


def test_the_tip_may_be_on_another_branch_than_the_headers_ahead(tmp_path, chain):
    side = chain.fork(BLOCKS - 20)
    side.grow(120, extra=b"side")
    with closing(first_sync(tmp_path, chain)) as ledger:
        feed(ledger, side.blocks)
        assert ledger.tip.id == side.tip.id
        assert ledger.tree.best_header.id == chain.tip.id
        assert ledger.tree.connected == (140 - HELD) // PAGE_HEADERS * PAGE_HEADERS
        is_as_written(ledger)
        feed(ledger, chain.blocks[20:])
        assert ledger.tip.id == chain.tip.id
        assert ledger.tree.connected == AHEAD
        is_as_written(ledger)
    assert check_ledger(url_of(tmp_path), REGTEST, verify_threads=1).problems == []


def test_pages_follow_the_best_header_from_branch_to_branch_and_are_there_after_a_restart(
    tmp_path, chain
):
    branches = [chain.fork(BLOCKS - 70), chain.fork(BLOCKS - 10), chain.fork(BLOCKS - 150)]
    for number, branch in enumerate(branches):
        branch.grow(BLOCKS + 70 * number - branch.tip.height + 10, extra=b"%d" % number)
    with closing(first_sync(tmp_path, chain)) as ledger:
        for branch in branches:
            for at in range(0, len(branch.blocks), 40):
                ledger.add_headers(headers_of(branch.blocks[at : at + 40]), NOW)
                is_as_written(ledger)
            assert ledger.tree.best_header.id == branch.tip.id
            assert ledger.tree.columns.find(branch.blocks[150].id) == 151
        ledger.invalidate(ledger.tree.get(branches[2].blocks[180].id))
        assert ledger.tree.best_header.id == branches[1].tip.id
        is_as_written(ledger)
        before = state(ledger)
    with closing(opened(tmp_path)) as ledger:
        assert state(ledger) == before
        ledger.reconsider(ledger.tree.get(branches[2].tip.id))
        assert ledger.tree.best_header.id == branches[2].tip.id
        is_as_written(ledger)
        feed(ledger, chain.blocks)
        is_as_written(ledger)
        feed(ledger, branches[1].blocks)
        is_as_written(ledger)
        assert ledger.tip.id == branches[1].tip.id
    assert check_ledger(url_of(tmp_path), REGTEST, verify_threads=1).problems == []


@pytest.mark.parametrize("are_pages_lost", [False, True])
def test_headers_that_were_overtaken_are_columns_also_after_a_restart(
    tmp_path, chain, are_pages_lost, monkeypatch
):
    at_once = 70
    side = chain.fork(BLOCKS - 5)
    side.grow(300, extra=b"side")
    with closing(first_sync(tmp_path, chain)) as ledger:
        ledger.add_headers(headers_of(side.blocks), NOW)
        before = state(ledger)
    if are_pages_lost:
        changed(tmp_path, "DELETE FROM header_pages")
    monkeypatch.setattr(loading, "HEADERS_AT_ONCE", at_once)
    with closing(opened(tmp_path)) as ledger:
        assert state(ledger) == before
        most = (
            2 * (at_once + PAGE_HEADERS) + HELD
        )  # the first and the last of each, and by the fork
        assert len(list(ledger.tree.held())) <= most + PAGE_HEADERS
        feed(ledger, [*chain.blocks, *side.blocks])
        assert ledger.tip.id == side.tip.id
        is_as_written(ledger)


@pytest.fixture(scope="module")
def ahead(tmp_path_factory, chain):
    """A folder with a ledger that knows all headers and no block."""
    folder = tmp_path_factory.mktemp("ahead")
    first_sync(folder, chain).close()
    return folder


@pytest.fixture
def copy(ahead, tmp_path):
    """A copy of that folder."""
    return shutil.copytree(ahead, tmp_path / "copy")


def changed(folder, statement: str, *values) -> None:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as database:
        assert database.execute(statement, values).rowcount
        database.commit()


def rows_loaded(monkeypatch) -> list[int]:
    """The heights of the headers of which a start makes entries, from now on."""
    heights, load = [], loading._load_header

    def note(loaded, bodies, row):
        heights.append(row[3])
        load(loaded, bodies, row)

    monkeypatch.setattr(loading, "_load_header", note)
    return heights


def test_a_start_reads_no_row_of_a_header_that_the_pages_ahead_have(copy, monkeypatch):
    heights = rows_loaded(monkeypatch)
    with closing(opened(copy)) as ledger:
        assert ledger.tree.best_header.height == BLOCKS
        assert len(ledger.tree.columns) == AHEAD
        checked(ledger)
    assert heights == [*range(AHEAD, BLOCKS + 1)]


def test_pages_of_headers_ahead_are_written_with_the_headers(tmp_path, chain):
    with closing(opened(tmp_path)) as ledger:
        for at in range(0, BLOCKS, 10):
            ledger.add_headers(headers_of(chain.blocks[at : at + 10]), NOW)
            is_as_written(ledger)
        assert len(ledger.tree.columns) == AHEAD


def test_pages_that_a_ledger_lacks_are_made_from_runs_of_rows_and_written(copy, chain, monkeypatch):
    monkeypatch.setattr(loading, "HEADERS_AT_ONCE", 20)
    changed(copy, "DELETE FROM header_pages")
    heights = rows_loaded(monkeypatch)
    with closing(opened(copy)) as ledger:
        assert ledger.tree.best_header.height == BLOCKS
        assert len(ledger.tree.columns) == AHEAD
        # genesis, whose block is stored, with its neighbours; and the last, of no whole run
        assert heights == [*range(20), *range(220, BLOCKS + 1)]
        feed(ledger, chain.blocks[:1])
        is_as_written(ledger)
    del heights[:]
    opened(copy).close()
    assert min(heights) >= AHEAD


DAMAGED_ROWS = [
    "raw = (SELECT raw FROM headers WHERE height = 120)",
    "work = (SELECT work FROM headers WHERE height = 120)",
    "id = zeroblob(32)",
    "height = 400",
    "status = 1",
    "status = 2",
    "status = 7",
    "sequence = 9",
    "raw = substr(raw, 1, 79)",
]


@pytest.mark.parametrize("damage", DAMAGED_ROWS)
def test_a_damaged_row_of_a_header_ahead_is_found_at_start_or_in_the_background(copy, damage):
    changed(copy, f"UPDATE headers SET {damage} WHERE height = 121")
    with pytest.raises(DamagedError) as found, closing(opened(copy)) as ledger:
        checked(ledger)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("damage", DAMAGED_ROWS)
def test_a_damaged_row_in_a_run_of_headers_is_found(copy, monkeypatch, damage):
    monkeypatch.setattr(loading, "HEADERS_AT_ONCE", 20)
    changed(copy, "DELETE FROM header_pages")
    changed(copy, f"UPDATE headers SET {damage} WHERE height = 121")
    with pytest.raises(DamagedError):
        opened(copy)


@pytest.mark.parametrize("column", ["raw", "work", "checksum"])
@pytest.mark.parametrize("page", range(AHEAD // PAGE_HEADERS))
def test_a_bit_flipped_in_a_page_of_headers_ahead_is_found_at_start(copy, column, page):
    with closing(sqlite3.connect(copy / "ledger.sqlite")) as database:
        query = f"SELECT {column} FROM header_pages WHERE number = ?"
        [(value,)] = database.execute(query, (page,)).fetchall()
    flipped = bytearray(value)
    flipped[len(value) // 3] ^= 16
    changed(copy, f"UPDATE header_pages SET {column} = ? WHERE number = ?", bytes(flipped), page)
    with pytest.raises(DamagedError, match=f"page {page} of the headers is damaged"):
        opened(copy)
    [problem] = check_ledger(url_of(copy), REGTEST, verify_threads=1).problems
    assert f"page {page} of the headers" in problem


def test_a_reader_takes_no_page_of_headers_ahead_for_the_best_chain(tmp_path, chain):
    side = chain.fork(BLOCKS - 20)
    side.grow(120, extra=b"side")
    genesis = BlockTreeEntry(genesis_block(REGTEST).header, None)
    with closing(first_sync(tmp_path, chain)) as ledger:
        followed = FollowedHeaders(genesis, held_blocks=HELD)
        with closing(open_reader(url_of(tmp_path))) as reader:
            for at in range(0, 140, 35):
                feed(ledger, side.blocks[at : at + 35])
                with reader.snapshot() as snapshot:
                    tip = snapshot.query(partial(followed.tip, block_id=snapshot.tip_id))
                assert tip == ledger.tip
                assert tip.locator() == ledger.tip.locator()
        assert ledger.tree.best_header.id == chain.tip.id


def test_headers_that_build_on_a_wrong_signature_leave_the_pages_in_the_same_commit(
    tmp_path, chain
):
    wrong = chain.fork(BLOCKS - 110)
    wrong.add([bad_spend(wrong)], fees=0)
    wrong.grow(BLOCKS - 111)
    with closing(opened(tmp_path)) as ledger:
        ledger.add_headers(headers_of(wrong.blocks), NOW)
        assert len(ledger.tree.columns) == AHEAD
        verdicts = list(ledger.add_blocks(wrong.blocks[:120], NOW))
        assert [v.error is None for v in verdicts] == [True] * 110 + [False] * 10
        is_as_written(ledger)
        before = state(ledger)
    with closing(opened(tmp_path)) as ledger:
        assert state(ledger) == before


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("at", [1, 60, 100])
def test_what_follows_far_above_an_invalid_block_is_forgotten(
    tmp_path, chain, at, stored, monkeypatch
):
    monkeypatch.setattr("chain.ledger.tree.INVALID_MAX", 2 * PAGE_HEADERS)
    wrong = chain.fork(BLOCKS - at + 1)
    wrong.add(fees=1)
    wrong.grow(BLOCKS - at)
    with closing(first_sync(tmp_path, wrong)) as ledger:
        feed(ledger, wrong.blocks[: at - 1])
        if stored:  # they wait for those below
            feed(ledger, [wrong.blocks[n] for n in (at, 150, 188, 190, 189, BLOCKS - 1)])
        side = wrong.fork(20).grow(25, extra=b"side")  # from among those that are forgotten
        ledger.add_headers(headers_of(side), NOW)
        with pytest.raises(InvalidError) as refused:
            ledger.add_block(wrong.blocks[at - 1], NOW)
        assert refused.value.reason is Reason.COINBASE_AMOUNT
        kept = (at // PAGE_HEADERS + 1) * PAGE_HEADERS  # the first height that is forgotten
        remembered = wrong.blocks[: kept - 1]
        assert len(ledger.tree) == 1 + len(remembered)
        assert all(ledger.tree.is_invalid(block.id) for block in remembered[at - 1 :])
        assert ledger.tree.best_header.height == ledger.tip.height == at - 1
        assert not any(ledger.tree.is_awaited(block.id) for block in wrong.blocks)
        again = ledger.add_headers(headers_of(wrong.blocks[at - 1 :]), NOW)
        assert again.error.reason is Reason.KNOWN_INVALID
        again = ledger.add_headers(headers_of(wrong.blocks[kept - 1 :]), NOW)
        assert again.error.reason is Reason.PARENT_INVALID
        with ledger._reading():
            rows = read_rows(ledger._connection, "SELECT count(*) FROM headers")
            assert rows == [(1 + len(remembered),)]
            assert read_rows(ledger._connection, "SELECT count(*) FROM blocks") == [(at,)]
        before = state(ledger)
        is_as_written(ledger)
    with closing(opened(tmp_path)) as ledger:
        assert state(ledger) == before
        feed(ledger, chain.blocks[at - 1 :])
        assert ledger.tip.id == chain.tip.id
        is_as_written(ledger)
    assert check_ledger(url_of(tmp_path), REGTEST, verify_threads=1).problems == []


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 3, 20, PAGE_HEADERS, 70])
@pytest.mark.parametrize("seed", range(3))
def test_branches_ahead_are_the_same_after_a_restart(tmp_path, chain, seed, at_once, monkeypatch):
    """Two or three branches that grow in turns, some blocks of each already stored."""
    source = Random(seed)
    branches = [chain.fork(BLOCKS - 90), chain.fork(BLOCKS - 91), chain.fork(40)]
    for number, branch in enumerate(branches):
        branch.grow(source.randrange(20, 120), extra=b"%d" % number)
    with closing(opened(tmp_path)) as ledger:
        feed(ledger, chain.blocks[: source.choice([0, 30, 85])])
        lists = [headers_of(branch.blocks) for branch in (chain, *branches)]
        places = [0] * len(lists)
        while any(place < len(each) for place, each in zip(places, lists, strict=True)):
            number, count = source.randrange(len(lists)), source.randrange(1, 60)
            ledger.add_headers(lists[number][: places[number] + count], NOW)
            places[number] += count
        before = state(ledger)
    monkeypatch.setattr(loading, "HEADERS_AT_ONCE", at_once)
    with closing(opened(tmp_path)) as ledger:
        assert state(ledger) == before
        is_as_written(ledger)
        assert ledger.tree.connected == max(ledger.tip.height - HELD, 0) // PAGE_HEADERS * 64
        feed(ledger, chain.blocks)
        is_as_written(ledger)
        for branch in branches:
            for block in branch.blocks[-130:]:
                ledger.add_block(block, NOW)
        assert ledger.tip.chain_work == ledger.tree.best_header.chain_work
        is_as_written(ledger)
