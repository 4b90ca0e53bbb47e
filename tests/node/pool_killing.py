"""A process for test_pool_kills.py: walks the same way over and over, killed at each statement.

Arguments: the seed of a PoolWalk, its steps, a folder, which statements count (one in so many), and
rows in a batch of a run of blocks.
It writes a line for each walk, up to the first that is not killed. In the walk's folder is a file
of the states that its commits had, the last of which may not have been made. No thread is running
when it forks.
"""

import json
import os
import shutil
import signal
import sys
from itertools import count
from pathlib import Path
from typing import IO

from sqlalchemy import event

from chain.ledger import chain_tip as chain_tip_module
from chain.ledger.db.pool_rows import PoolChanges
from chain.ledger.ledger import Ledger
from chain.ledger.outcomes import ChainMove
from chain.node.node import Node
from tests.ledger.chains import QUICK, url_of
from tests.node.pool_walk import PoolWalk

_STATEMENTS_MAX = 20_000


def main(seed: int, steps: int, folder: Path, every: int) -> None:
    template = folder / "template"
    template.mkdir()
    child = os.fork()  # or the threads of this ledger would be there when the others fork
    if child == 0:
        ledger = Ledger(url_of(template), QUICK, verify_threads=1)
        PoolWalk(ledger, seed)
        ledger.close()
        os._exit(0)
    os.waitpid(child, 0)
    for number in range(0, _STATEMENTS_MAX, every):
        copy = folder / str(number)
        shutil.copytree(template, copy)
        child = os.fork()
        if child == 0:
            _walk_and_die(copy, seed, steps, number)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        end = "killed" if killed else f"ended {os.waitstatus_to_exitcode(status)}"
        sys.stdout.write(f"{number} {end}\n")
        if not killed:
            return


def _walk_and_die(folder: Path, seed: int, steps: int, number: int) -> None:
    """Walk, with a kill just before the statement or commit with this number."""
    status = 1
    try:
        ledger = Ledger(url_of(folder), QUICK, verify_threads=1)
        walk = PoolWalk(ledger, seed)
        with (folder / "states").open("w") as states:
            ledger.set_commit_hook(_Recorder(walk, states))
            walk.save()
            statements = count()

            def kill_at_last(*_: object) -> None:
                if next(statements) == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            for name in ("before_cursor_execute", "commit"):
                event.listen(ledger._connection.engine, name, kill_at_last)
            for _ in range(steps):
                walk.step()
        ledger.close()
        status = 0
    finally:
        os._exit(status)


class _Recorder:
    """The node's hook, which also writes what each commit is going to have."""

    def __init__(self, walk: PoolWalk, file: IO[str]) -> None:
        self._walk = walk
        self._file = file

    def before_commit(self, move: ChainMove, sequence: int) -> PoolChanges:
        rows = self._walk.node.before_commit(move, sequence)
        self._file.write(json.dumps(state_of(self._walk.node)) + "\n")
        self._file.flush()
        return rows


def state_of(node: Node) -> list:
    """The tip, the pool in its order, and the fee deltas, as the next commit has them."""
    pool = [entry.txid.hex() for entry in node._mempool.pool.entries()]
    deltas = sorted([txid.hex(), grains] for txid, grains in node.deltas().items())
    return [node._ledger.tip.id.hex(), pool, deltas]


if __name__ == "__main__":
    chain_tip_module.BATCH_ROWS_MAX = int(sys.argv[5])
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
