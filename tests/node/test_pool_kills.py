"""A node killed at any SQL statement has tip and pool of one commit: the last or the next."""

import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from chain.ledger.db.engine import read_rows
from chain.ledger.ledger import Ledger
from chain.node.node import Node
from tests.ledger.chains import QUICK, quick_ledger, url_of
from tests.node.pool_killing import state_of
from tests.node.pool_walk import POLICY, PoolWalk
from tests.node.world import NOW

_ROOT = Path(__file__).resolve().parents[2]


def run(folder, seed, steps, every, rows):
    """Return the folders of the walks that were killed, and the states of one that was not."""
    arguments = map(str, (seed, steps, folder, every, rows))
    command = [sys.executable, "-m", "tests.node.pool_killing", *arguments]
    said = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    ends = [line.split(" ", 1) for line in said.stdout.splitlines()]
    assert ends[-1][1] == "ended 0", said.stderr
    assert {end for _, end in ends[:-1]} == {"killed"}, said.stderr
    return [folder / name for name, _ in ends[:-1]], states(folder / ends[-1][0])


def committed_tips(seed, steps):
    """The tips of the walk after each of its steps."""
    with closing(quick_ledger()) as ledger:
        walk = PoolWalk(ledger, seed)
        tips = {walk.node.view.tip.id.hex()}
        walk.node.listeners.append(lambda change: tips.update(ids_of(change)))
        for _ in range(steps):
            walk.step()
        return tips


def ids_of(change):
    moved = (*change.connected, *change.disconnected)
    return {change.view.tip.id.hex(), *(block.id.hex() for block in moved)}


def states(folder):
    return [json.loads(line) for line in (folder / "states").read_text().splitlines()]


def found(folder):
    """The state with which a node starts; it refuses nothing: the rows are those of its tip."""
    with closing(Ledger(url_of(folder), QUICK, verify_threads=1)) as ledger:
        node = Node(ledger, POLICY)
        [(latest,)] = ledger.read(lambda c: read_rows(c, "SELECT max(time) FROM pool"))
        loaded = node.restore_pool(latest or NOW)
        assert (loaded.refused, loaded.expired) == (0, 0), folder.name
        assert node.unsaved == 0
        walk = PoolWalk.__new__(PoolWalk)
        walk.node, walk.ledger = node, ledger
        assert walk.rows() == walk.expected_rows(), folder.name
        return state_of(node)


def check(tmp_path, seed, steps, every, rows=10**6):
    killed, whole = run(tmp_path, seed, steps, every, rows)
    ends, good = set(), committed_tips(seed, steps)
    for folder in killed:
        known = states(folder)
        assert known == whole[: len(known)], "each walk is the same"
        at = found(folder)
        # A batch with a wrong signature is written in the transaction of the commit after it.
        last = known[-2:] if known[-2:][0][0] in good else known[-3:]
        assert at in last, f"{folder.name}: neither the last commit nor the next"
        ends.add(json.dumps(at))
        shutil.rmtree(folder)
    assert len({tip for tip, _, _ in whole}) > steps // 10
    assert len({json.dumps(pool) for _, pool, _ in whole}) > steps // 6
    assert len(ends) > min(len(killed), steps) // 3, "commits were seen one by one"


def test_a_node_killed_at_a_statement_has_tip_and_pool_of_one_commit(tmp_path):
    check(tmp_path, seed=14, steps=18, every=53)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [10**6, 12])  # with 12, the writer's thread commits, too
def test_a_node_killed_at_any_statement_has_tip_and_pool_of_one_commit(tmp_path, rows):
    check(tmp_path, seed=5, steps=25, every=1, rows=rows)
