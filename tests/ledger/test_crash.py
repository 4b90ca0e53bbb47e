"""A process killed at any instant leaves a ledger at a block boundary (C1 on a small scale)."""

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chain.ledger.ledger import Ledger
from chain.ledger.offline.blockfile import write_frame
from chain.ledger.offline.checking import check_ledger
from chain.primitives.block import Block
from tests.ledger.chains import QUICK, coins_after, grow_busy, quick_chain, tables, url_of

_ROOT = Path(__file__).resolve().parents[2]
_KILLS = 5
_KILLS_DEEP = 60


def _contest(seed: int) -> tuple[list[Block], dict[bytes, list[Block]]]:
    """Blocks of two branches that overtake each other, and the chain to each block."""
    left = quick_chain()
    right = left.fork(0)
    order = list(left.blocks)
    chains = {block.id: order[: at + 1] for at, block in enumerate(order)}
    source = random.Random(seed)
    for _ in range(12):
        lead = right.tip.height - left.tip.height + source.randrange(1, 4)
        for block in grow_busy(left, lead, seed=source.randrange(1 << 30)):
            order.append(block)
            chains[block.id] = left.blocks[: left.blocks.index(block) + 1]
        left, right = right, left
    return order, chains


def _run_and_kill(url: str, path: Path, batch_rows: int, source: random.Random) -> list[str]:
    """Run the child, kill it some milliseconds after some line; return the lines it wrote."""
    command = [sys.executable, "-m", "tests.ledger.crashing", url, str(path), str(batch_rows)]
    child = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    after_lines = source.choice([0, source.randrange(10), source.randrange(25)])
    lines = []
    with child.stdout:
        for line in child.stdout:
            lines.append(line.strip())
            if len(lines) == after_lines + 1:
                threading.Timer(source.random() * 0.02, child.send_signal, [signal.SIGKILL]).start()
    child.wait(60)
    return lines


@pytest.mark.parametrize("batch_rows", [0, 40])
def test_a_killed_ledger_is_at_a_block_boundary(tmp_path, batch_rows):
    _crash_again_and_again(tmp_path, batch_rows, _KILLS)


@pytest.mark.slow
@pytest.mark.parametrize("batch_rows", [0, 7, 40, 500])
def test_a_ledger_killed_many_times_is_at_a_block_boundary(tmp_path, batch_rows):
    _crash_again_and_again(tmp_path, batch_rows, _KILLS_DEEP)


def _crash_again_and_again(tmp_path, batch_rows, kills):
    order, chains = _contest(batch_rows)
    path = tmp_path / "blocks.dat"
    with path.open("wb") as file:
        for block in order:
            write_frame(file, block.raw, QUICK)
    source = random.Random(batch_rows)
    killed, rounds, folder = 0, 0, tmp_path
    while killed < kills:
        rounds += 1
        if rounds == 1 or lines[-1:] == ["done"]:  # noqa: F821 - of the round before
            folder = tmp_path / f"ledger-{rounds}"
            folder.mkdir()
        lines = _run_and_kill(url_of(folder), path, batch_rows, source)
        killed += lines[-1:] != ["done"]
        where = f"seed {batch_rows}, round {rounds}"
        _check_state(folder, chains, None if batch_rows else lines, where)
        assert rounds < 4 * kills, "the children must die now and then"
    ledger = Ledger(url_of(folder), QUICK, verify_threads=1)
    _finish(ledger, order, chains)


def _check_state(folder, chains, acknowledged, where):
    """Check that the ledger is that of one chain, and has all that was acknowledged."""
    ledger = Ledger(url_of(folder), QUICK, verify_threads=1)
    tip = ledger.tip.id
    expected = coins_after(chains[tip]) if ledger.tip.height else {}
    rows = {row[0]: row[1] for row in tables(ledger)["coins"]}
    assert rows == {point: coin.value for point, coin in expected.items()}, where
    if acknowledged and acknowledged[-1] != "done":
        last = ledger.tree.get(bytes.fromhex(acknowledged[-1]))
        assert last is not None, where
        assert ledger.tip.chain_work >= last.chain_work, where
    ledger.close()
    assert check_ledger(url_of(folder), QUICK, verify_threads=1).problems == [], where


def _finish(ledger, order, chains):
    for block in order:
        ledger.add_block(block, 1 << 31)
    best = max(len(blocks) for blocks in chains.values())
    assert ledger.tip.height == best
    ledger.close()
