"""A process for test_pool_kills.py: walks the same way over and over, killed at each statement.

Arguments: the seed of a PoolWalk, its steps, a folder, which statements count (one in so many), and
rows in a batch of a run of blocks.
It writes a line for each walk, up to the first that is not killed. In the walk's folder is a file
of the states that its commits had, the last of which may not have been made. No thread is running
when it forks.
"""

import json
import os
import sys
from pathlib import Path
from typing import IO

from chain.ledger import chain_tip as chain_tip_module
from chain.ledger.db.pool_rows import PoolChanges
from chain.ledger.ledger import Ledger
from chain.ledger.outcomes import ChainMove
from chain.node.node import Node
from tests.killed_children import KillLater, kill_each
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

    def walk(copy: Path, kill_later: KillLater) -> None:
        ledger = Ledger(url_of(copy), QUICK, verify_threads=1)
        made = PoolWalk(ledger, seed)
        with (copy / "states").open("w") as states:
            ledger.set_commit_hook(_Recorder(made, states))
            made.save()
            kill_later(ledger._connection.engine)
            for _ in range(steps):
                made.step()
        ledger.close()

    kill_each(template, folder, range(0, _STATEMENTS_MAX, every), walk)


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
