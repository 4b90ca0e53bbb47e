"""Blocks that are read together, for peers: as many as fit, each with its proof."""

import sqlite3
from contextlib import closing

import pytest

from chain.consensus.params import REGTEST
from chain.ledger.errors import DatabaseFailedError
from chain.ledger.ledger import Ledger
from chain.primitives.numbers import NULL_HASH, Hash32
from tests.ledger.chains import NOW, feed, mature_chain, url_of


@pytest.fixture
def chain():
    return mature_chain(8)


@pytest.fixture
def ledger(tmp_path, chain):
    made = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    feed(made, chain.blocks)
    yield made
    if made.is_usable:
        made.close()


@pytest.mark.parametrize(("spare_bytes", "count"), [(-1, 2), (0, 3), (1, 3)])
def test_as_many_blocks_are_read_as_fit_into_the_limit(ledger, chain, spare_bytes, count):
    blocks = chain.blocks[-5:]
    limit = sum(len(block.raw) for block in blocks[:3]) + spare_bytes
    found = ledger.blocks([block.id for block in blocks], limit)
    assert found == [block.raw for block in blocks[:count]]


def test_one_block_is_read_whatever_the_limit_is(ledger, chain):
    assert ledger.blocks([chain.tip.id, chain.blocks[0].id], 0) == [chain.blocks[-1].raw]


def test_blocks_are_read_in_the_order_of_the_request_with_none_for_those_not_stored(ledger, chain):
    header = chain.fork(3).add(extra=b"header only").header
    ledger.add_headers([header], NOW)
    wanted = [chain.blocks[4].id, NULL_HASH, chain.blocks[1].id, header.id, chain.blocks[4].id]
    found = ledger.blocks(wanted, 1_000_000)
    assert found == [chain.blocks[4].raw, None, chain.blocks[1].raw, None, chain.blocks[4].raw]


@pytest.mark.parametrize("unknown", [1, 200])
def test_blocks_that_are_not_stored_take_three_statements_however_many_they_are(ledger, unknown):
    statements: list[str] = []
    raw = ledger._connection.connection.driver_connection
    ledger._connection.rollback()
    raw.set_trace_callback(statements.append)
    wanted = [Hash32(number.to_bytes(32)) for number in range(unknown)]
    assert ledger.blocks(wanted, 1_000_000) == [None] * unknown
    raw.set_trace_callback(None)
    assert len([one for one in statements if one.startswith("SELECT id")]) == 3


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE blocks SET checksum = zeroblob(32) WHERE id = ?", "is damaged"),
        ("DELETE FROM blocks WHERE id = ?", "is missing"),
    ],
)
def test_a_damaged_block_among_others_is_not_served(tmp_path, ledger, chain, statement, why):
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as database, database:
        assert database.execute(statement, (chain.blocks[4].id,)).rowcount == 1
    with pytest.raises(DatabaseFailedError, match=why):
        ledger.blocks([block.id for block in chain.blocks[2:6]], 1_000_000)
