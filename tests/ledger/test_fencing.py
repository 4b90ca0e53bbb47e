"""A writer whose place another one has taken ends with one line, and writes nothing.

The lock file keeps a second writer away, unless somebody deletes it.
"""

import sqlite3
from contextlib import closing

import pytest

from chain.ledger import chain_tip as chain_tip_module
from chain.ledger.errors import DatabaseFailedError, FencedError, LockedError
from chain.ledger.ledger import Ledger
from tests.ledger.chains import NOW, QUICK, entry_of, feed, quick_chain, url_of

TRUNK = 12


@pytest.fixture(scope="module")
def chain():
    """The trunk, and two blocks on top."""
    builder = quick_chain(TRUNK)
    builder.grow(2)
    return builder


@pytest.fixture
def fenced(tmp_path, chain):
    """A ledger whose lock file was deleted, and the second one that was opened then."""
    with closing(opened(tmp_path)) as first:
        feed(first, chain.blocks[:TRUNK])
        with pytest.raises(LockedError):
            opened(tmp_path)
        (tmp_path / "ledger.sqlite.lock").unlink()
        with closing(opened(tmp_path)) as second:
            yield first, second


def opened(folder):
    return Ledger(url_of(folder), QUICK, verify_threads=1)


def content(folder):
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as other:
        return list(other.iterdump())


CHANGES = {
    "a block": lambda ledger, chain: ledger.add_block(chain.blocks[TRUNK], NOW),
    "blocks": lambda ledger, chain: list(ledger.add_blocks(chain.blocks[TRUNK:], NOW)),
    "a header": lambda ledger, chain: ledger.add_headers([chain.blocks[TRUNK].header], NOW),
    "a mempool batch": lambda ledger, _: ledger.save(is_durable=False),
    "a durable batch": lambda ledger, _: ledger.save(is_durable=True),
    "a heartbeat": lambda ledger, _: ledger.note({"heartbeat": b"1"}),
    "an exclusion": lambda ledger, chain: ledger.invalidate(entry_of(ledger, chain.blocks[3])),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_writer_whose_epoch_was_replaced_ends_and_writes_nothing(fenced, tmp_path, chain, change):
    first, second = fenced
    feed(second, chain.blocks[TRUNK : TRUNK + 1])  # which the first one would write, too
    before = content(tmp_path)
    with pytest.raises(FencedError, match="another node has taken over") as caught:
        CHANGES[change](first, chain)
    assert str(tmp_path / "ledger.sqlite") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert content(tmp_path) == before
    with pytest.raises(DatabaseFailedError, match="open it again"):
        first.save(is_durable=True)
    feed(second, chain.blocks[TRUNK + 1 :])


def test_a_batch_that_waits_for_the_writers_thread_is_not_written(
    fenced, tmp_path, chain, monkeypatch
):
    first, _ = fenced
    monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", 1)
    before = content(tmp_path)
    with pytest.raises(FencedError):
        list(first.add_blocks(chain.blocks[TRUNK:], NOW))
    assert content(tmp_path) == before


def test_a_writer_that_was_locked_out_changed_nothing_for_the_one_that_holds_the_lock(
    tmp_path, chain
):
    with closing(opened(tmp_path)) as first:
        feed(first, chain.blocks[:TRUNK])
        with pytest.raises(LockedError):
            opened(tmp_path)
        feed(first, chain.blocks[TRUNK:])
