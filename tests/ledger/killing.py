"""A process for test_kills.py: imports a file over and over, killed at each statement.

Arguments: the folder of a ledger to begin with, a folder for copies of it, a block file, rows in a
batch, blocks in a run (1: they are connected one by one). It writes one line for each copy, up to
the first that is not killed: the folder's name and how the import in it ended. No thread is running
when it forks.
"""

import sys
from pathlib import Path

from chain.consensus import block_run as block_run_module
from chain.consensus.params import REGTEST
from chain.ledger import chain_tip as chain_tip_module
from chain.ledger import pipeline as pipeline_module
from chain.ledger.ledger import Ledger
from chain.ledger.offline.importing import import_blocks
from tests.killed_children import KillLater, kill_each
from tests.ledger.chains import NOW, url_of

HELD = 44  # so that a page of headers is written in the middle of the import
_STATEMENTS_MAX = 5_000


def main(template: Path, copies: Path, path: Path) -> None:
    def import_file(folder: Path, kill_later: KillLater) -> None:
        ledger = Ledger(url_of(folder), REGTEST, verify_threads=2, held_blocks=HELD)
        kill_later(ledger._connection.engine)
        with path.open("rb") as file:
            import_blocks(ledger, file, lambda: NOW)
        ledger.close()

    kill_each(template, copies, range(_STATEMENTS_MAX), import_file)


if __name__ == "__main__":
    chain_tip_module.BATCH_ROWS_MAX = int(sys.argv[4])
    if sys.argv[5] == "1":
        block_run_module._TRANSACTIONS_MAX = 0
    else:
        pipeline_module.UNVERIFIED_BLOCKS_MAX = 2 * int(sys.argv[5])
    main(*map(Path, sys.argv[1:4]))
