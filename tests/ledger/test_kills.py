"""A pipelined import with an invalid block inside, killed at every SQL statement that writes."""

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from chain.consensus.params import REGTEST
from chain.ledger.db.coins import coin_of_row
from chain.ledger.ledger import Ledger
from chain.ledger.offline.checking import check_ledger
from chain.ledger.offline.importing import import_blocks
from tests.ledger.chains import (
    NOW,
    bad_spend,
    coins_after,
    grow_busy,
    mature_chain,
    tables,
    url_of,
)
from tests.ledger.killing import HELD
from tests.ledger.offline.test_importing import file_of

_ROOT = Path(__file__).resolve().parents[2]
_TRUNK = 101
_BEFORE = 4  # good blocks before the invalid one
_STATEMENTS_MIN = 30  # of an import; fewer would mean that the test sees too little


@pytest.fixture(scope="module")
def chain():
    """The trunk and 13 blocks with payments."""
    builder = mature_chain(_TRUNK)
    grow_busy(builder, 13, seed=5)
    return builder


@pytest.fixture(scope="module")
def given(chain):
    """Valid blocks, one with a wrong signature, two on top of it, and the valid continuation."""
    fork = chain.fork(13 - _BEFORE)
    bad = fork.add([bad_spend(fork, fork.tip.height + 1 - 100)], fees=0, extra=b"bad")
    later = fork.grow(2, extra=b"later")
    return [
        *chain.blocks[_TRUNK : _TRUNK + _BEFORE],
        bad,
        *later,
        *chain.blocks[_TRUNK + _BEFORE :],
    ]


@pytest.fixture(scope="module")
def template(tmp_path_factory, chain):
    """A folder with a ledger that has the trunk."""
    folder = tmp_path_factory.mktemp("template")
    with closing(Ledger(url_of(folder), REGTEST, verify_threads=1)) as ledger:
        for verdict in ledger.add_blocks(chain.blocks[:_TRUNK], NOW):
            verdict.result()
    return folder


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, template, given):
    """The content of a ledger whose import was not killed."""
    folder = tmp_path_factory.mktemp("whole") / "ledger"
    shutil.copytree(template, folder)
    return import_rest(folder, given)


def import_rest(folder, blocks):
    """Import; return the ledger's content, its headers and which of them are invalid."""
    with closing(Ledger(url_of(folder), REGTEST, verify_threads=2, held_blocks=HELD)) as ledger:
        import_blocks(ledger, file_of(blocks), lambda: NOW)
        headers = {entry.id: ledger.tree.is_invalid(entry.id) for entry in ledger.tree}
        assert len(ledger.tree.columns) == 64
        return tables(ledger), headers


def kill(template, folder, given, rows, run):
    """Return the folders of the ledgers whose process was killed, and whether one was not."""
    path = folder / "blocks.dat"
    path.write_bytes(file_of(given).getvalue())
    copies = folder / "copies"
    copies.mkdir()
    arguments = [template, copies, path, rows, run]
    command = [sys.executable, "-m", "tests.ledger.killing", *map(str, arguments)]
    said = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    ends = dict(line.split(" ", 1) for line in said.stdout.splitlines())
    assert set(ends.values()) <= {"killed", "ended 0"}, said.stderr
    return [copies / name for name, end in ends.items() if end == "killed"], "ended 0" in (
        ends.values()
    )


@pytest.fixture(scope="module")
def check_killed(chain, given, uninterrupted):
    """A check that a ledger is at a block boundary and continues from there; returns its height."""
    bad = given[_BEFORE]

    def check(folder):
        with closing(Ledger(url_of(folder), REGTEST, verify_threads=1, held_blocks=HELD)) as ledger:
            height = ledger.tip.height
            assert ledger.tip.id == chain.blocks[height - 1].id, "a good block is the tip"
            coins = dict(map(coin_of_row, tables(ledger)["coins"]))
            assert coins == coins_after(chain.blocks[:height])
            assert ledger.tree.get(bad.id) is None or ledger.tree.is_invalid(bad.id)
            assert not ledger.tree.is_stored(bad.id)
        assert import_rest(folder, given) == uninterrupted, folder.name
        problems = check_ledger(url_of(folder), REGTEST, verify_threads=1).problems
        assert problems == [], folder.name
        return height

    return check


@pytest.mark.slow
@pytest.mark.parametrize(
    "batch", [(1, 1, 10), (25, 1, 4), (60, 1, 2), (1, 3, 4), (25, 3, 2), (10**6, 32, 1)], ids=str
)
def test_an_import_killed_at_any_statement_is_at_a_block_boundary(
    tmp_path, template, given, check_killed, batch
):
    rows, run, heights_min = batch  # heights that are seen
    killed, has_ended = kill(template, tmp_path, given, rows, run)
    assert has_ended, "there is no statement without a kill"
    assert len(killed) > _STATEMENTS_MIN
    heights = []
    for folder in killed:
        heights.append(check_killed(folder))
        shutil.rmtree(folder)
    assert len(set(heights)) >= heights_min, "batches were committed one by one"
