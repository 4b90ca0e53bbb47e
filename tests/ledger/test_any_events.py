"""Any events, in any order, with restarts: what is in the database is what is in memory."""

import shutil
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from random import Random

import pytest

from chain.consensus.entry import BlockTreeEntry
from chain.ledger.db.engine import read_rows
from chain.ledger.ledger import Ledger
from chain.primitives.block import Block
from tests.builders import ChainBuilder
from tests.ledger.chains import FEE, NOW, QUICK, bad_spend, quick_chain, url_of
from tests.ledger.test_columns import is_as_written, state

HELD = 16
EVENTS = 12
_ROWS = (
    "SELECT * FROM headers ORDER BY number",
    "SELECT * FROM blocks ORDER BY id",
    "SELECT * FROM header_pages ORDER BY number",
    "SELECT * FROM node_state WHERE name <> 'epoch' ORDER BY name",
)
Play = Callable[[Ledger], object]


@cache
def branches() -> list[list[Block]]:
    """Chains of different lengths upon one another, two of them with an invalid block."""
    trunk = quick_chain(150)
    wrong_amount, wrong_signature = trunk.fork(70), trunk.fork(20)
    wrong_amount.add(fees=1, extra=b"amount")
    wrong_signature.add([bad_spend(trunk)], fees=FEE, extra=b"signature")
    grown: list[tuple[ChainBuilder, int]] = [
        (wrong_amount, 90),
        (wrong_signature, 10),
        (trunk.fork(100), 101),
        (trunk.fork(3), 5),
        (trunk.fork(130), 60),
        (trunk, 10),
    ]
    for number, (chain, count) in enumerate(grown):
        chain.grow(count, extra=bytes([number]))
    return [chain.blocks for chain, _ in grown]


def opened(folder: Path, *, always_flushes: bool = False) -> Ledger:
    ledger = Ledger(url_of(folder), QUICK, verify_threads=1, held_blocks=HELD)
    if always_flushes:
        chain = ledger._chain
        kind = type(chain)

        class Flushing(kind):
            def flush(self) -> None:
                self.coins.written(self._writer.write(self.take()))

        chain.__class__ = Flushing
        add_pages = chain.archive.add_pages

        def add_all_pages(first, pages):
            chain.archive._page_count = None
            add_pages(first, pages)

        chain.archive.add_pages = add_all_pages
    return ledger


def any_event(source: Random, ledger: Ledger) -> Play:
    """Return a random event that suits the state of `ledger`."""
    blocks = source.choice(branches())
    block = source.choice(blocks)
    stored = [height for height, one in enumerate(blocks, 1) if ledger.tree.is_stored(one.id)]
    start = source.choice([0, stored[-1] if stored else 0])
    some = blocks[start : start + source.choice([1, 1, 5, 50, 200])]
    headers = [one.header for one in blocks[: source.randint(1, len(blocks))]]
    pipelined = source.random() < 0.6

    def on_known(act: Callable[[Ledger, BlockTreeEntry], object]) -> Play:
        excluded = [*ledger.tree.excluded, ledger.tree.get(block.id)]
        chosen = next((one.id for one in excluded if one is not None), block.id)

        def play(to: Ledger) -> None:
            entry = to.tree.get(chosen)
            if entry is not None:
                act(to, entry)

        return play

    def invalidate(to: Ledger) -> None:
        entry = to.tree.get(block.id)
        if entry is not None and entry.is_ancestor_of(to.tree.best_header):
            to.invalidate(entry)

    choices: list[tuple[Play, int]] = [
        (lambda to: str(to.add_headers(headers, NOW).error), 4),
        (lambda to: [str(v.error) for v in to.add_blocks(some, NOW, pipelined=pipelined)], 8),
        (invalidate, 2),
        (on_known(Ledger.reconsider), 2),
        (on_known(Ledger.mark_precious), 1),
        (lambda to: to.save(is_durable=True), 2),
    ]
    plays, weights = zip(*choices, strict=True)
    return source.choices(plays, weights)[0]


def rows(ledger: Ledger) -> list:
    with ledger._reading():
        return [read_rows(ledger._connection, query) for query in _ROWS]


@pytest.mark.parametrize("seed", range(8))
def test_each_commit_leaves_what_one_that_writes_everything_would(tmp_path, seed):
    source = Random(seed)
    folders = [tmp_path / name for name in ("usual", "flushing", "killed")]
    for folder in folders[:2]:
        folder.mkdir()
    with (
        closing(opened(folders[0])) as usual,
        closing(opened(folders[1], always_flushes=True)) as flushing,
    ):
        for _ in range(EVENTS):
            event = any_event(source, usual)
            assert event(usual) == event(flushing)
            assert (state(usual), rows(usual)) == (state(flushing), rows(flushing))
            is_as_written(usual)
        shutil.copytree(folders[0], folders[2])  # as a kill would leave it
        for lock in folders[2].glob("*lock*"):
            lock.unlink()
        precious = bool(usual.tree._precious)  # not stored
        with closing(opened(folders[2])) as again:
            assert precious or state(again) == state(usual)
            is_as_written(again)
