"""Headers that a reader follows: columns and entries, across reorganisations of any depth."""

from contextlib import closing
from functools import partial

import pytest
from sqlalchemy.exc import SQLAlchemyError

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.genesis import genesis_block
from chain.ledger import followed_headers as module
from chain.ledger.errors import DamagedError, UnavailableError
from chain.ledger.followed_headers import FollowedHeaders
from chain.ledger.header_columns import PAGE_HEADERS
from chain.ledger.ledger import Ledger
from chain.ledger.reader import open_reader
from tests.ledger.chains import NOW, QUICK, quick_chain, url_of

HELD = 12


@pytest.fixture(scope="module")
def chain():
    return quick_chain(3 * PAGE_HEADERS)


@pytest.fixture
def ledger(tmp_path):
    with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=1, held_blocks=HELD)) as ledger:
        yield ledger


@pytest.fixture
def reader(ledger, tmp_path):
    with closing(open_reader(url_of(tmp_path))) as reader:
        yield reader


def headers():
    genesis = BlockTreeEntry(genesis_block(QUICK).header, None)
    return FollowedHeaders(genesis, held_blocks=HELD)


def add(ledger, blocks):
    for verdict in ledger.add_blocks(blocks, NOW):
        verdict.result()


def tip_of(reader, followed):
    with reader.snapshot() as snapshot:
        return snapshot.query(partial(followed.tip, block_id=snapshot.tip_id))


def find(reader, followed, block_id):
    with reader.snapshot() as snapshot:
        return snapshot.query(partial(followed.get, block_id=block_id))


def test_a_chain_is_in_columns_whether_it_was_there_or_came_block_by_block(ledger, reader, chain):
    followed = headers()
    for start in range(0, len(chain.blocks), 40):
        add(ledger, chain.blocks[start : start + 40])
        assert tip_of(reader, followed) == ledger.tip
    late = headers()
    for each in (followed, late):
        tip = tip_of(reader, each)
        assert len(each._columns) == 2 * PAGE_HEADERS
        assert len(each) == len(chain.blocks) + 1
        for entry in ledger.tree:
            found = tip.ancestor(entry.height)
            assert (found, found.chain_work) == (entry, entry.chain_work)
            assert found.median_time_past == entry.median_time_past


@pytest.mark.parametrize("depth", [2, HELD + PAGE_HEADERS + 5])
def test_a_reorganisation_moves_the_tip_also_below_the_columns(ledger, reader, chain, depth):
    add(ledger, chain.blocks)
    followed = headers()
    before = tip_of(reader, followed)
    side = chain.fork(depth)
    add(ledger, side.grow(depth + 1, extra=b"side"))
    tip = tip_of(reader, followed)
    assert tip.id == side.tip.id
    assert find(reader, followed, before.id) == before
    assert not before.is_ancestor_of(tip)
    assert before.ancestor(before.height - depth).is_ancestor_of(tip)
    assert before.ancestor(before.height - 1).chain_work < before.chain_work
    add(ledger, side.grow(PAGE_HEADERS + HELD))
    assert tip_of(reader, followed).ancestor(5).id == side.blocks[4].id


def test_unknown_headers_are_none_and_far_ones_are_refused(ledger, reader, chain, monkeypatch):
    add(ledger, chain.blocks[:30])
    followed = headers()
    assert find(reader, followed, b"\x07" * 32) is None
    monkeypatch.setattr(module, "WALK_MAX", 20)
    ledger.add_headers([block.header for block in chain.blocks[30:60]], NOW)
    far = chain.blocks[59].id
    with pytest.raises(UnavailableError):
        find(reader, followed, far)
    monkeypatch.setattr(module, "WALK_MAX", 60)
    assert find(reader, followed, far).height == 60


def test_a_reader_that_many_blocks_passed_by_follows_again(ledger, reader, chain, monkeypatch):
    followed = headers()
    add(ledger, chain.blocks[:30])
    assert tip_of(reader, followed).height == 30
    add(ledger, chain.blocks[30:])
    monkeypatch.setattr(module, "WALK_MAX", HELD + PAGE_HEADERS)
    assert tip_of(reader, followed) == ledger.tip


def test_a_first_reading_that_fails_is_done_again(ledger, reader, chain, tmp_path, monkeypatch):
    add(ledger, chain.blocks)
    followed = headers()
    with closing(open_reader(url_of(tmp_path))) as other, other.snapshot() as snapshot:
        ended, tip_id = snapshot._connection, snapshot.tip_id
    with pytest.raises(SQLAlchemyError):
        followed.tip(ended, tip_id)
    monkeypatch.setattr(module, "WALK_MAX", HELD + PAGE_HEADERS)
    assert tip_of(reader, followed) == ledger.tip
    assert len(followed._columns) == 2 * PAGE_HEADERS


def test_a_damaged_header_is_refused(ledger, reader, chain):
    add(ledger, chain.blocks[:5])
    with ledger._connection.begin():
        ledger._connection.exec_driver_sql("UPDATE headers SET raw = zeroblob(80) WHERE height = 4")
    with pytest.raises(DamagedError, match="header"):
        tip_of(reader, headers())


def test_entries_beside_the_best_chain_are_bounded(ledger, reader, chain, monkeypatch):
    monkeypatch.setattr(module, "ENTRIES_MAX", 20)
    add(ledger, chain.blocks[:10])
    followed = headers()
    for number in range(30):
        side = chain.fork(len(chain.blocks) - 9)
        [block] = side.grow(1, extra=b"%d" % number)
        ledger.add_block(block, NOW)
        find(reader, followed, block.id)
    add(ledger, chain.blocks[10:12])
    assert tip_of(reader, followed) == ledger.tip
    assert len(followed) <= 20
