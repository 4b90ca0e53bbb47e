"""A process for test_kills.py: imports a file over and over, killed at each statement.

Arguments: the folder of a ledger to begin with, a folder for copies of it, a block file, rows in a
batch. It writes one line for each copy, up to the first that is not killed: the folder's name and
how the import in it ended. No thread is running when it forks.
"""

import os
import shutil
import signal
import sys
from itertools import count
from pathlib import Path

from sqlalchemy import event

from chain.consensus.params import REGTEST
from chain.ledger import chain_tip as chain_tip_module
from chain.ledger.ledger import Ledger
from chain.ledger.offline.importing import import_blocks
from tests.ledger.chains import NOW, url_of

HELD = 44  # so that a page of headers is written in the middle of the import
_STATEMENTS_MAX = 5_000


def main(template: Path, copies: Path, path: Path) -> None:
    for number in range(_STATEMENTS_MAX):
        folder = copies / str(number)
        shutil.copytree(template, folder)
        child = os.fork()
        if child == 0:
            _import_and_die(folder, path, number)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        end = "killed" if killed else f"ended {os.waitstatus_to_exitcode(status)}"
        sys.stdout.write(f"{number} {end}\n")
        if not killed:
            return


def _import_and_die(folder: Path, path: Path, number: int) -> None:
    """Import, with a kill just before the statement or commit with this number."""
    status = 1
    try:
        ledger = Ledger(url_of(folder), REGTEST, verify_threads=2, held_blocks=HELD)
        statements = count()

        def kill_at_last(*_: object) -> None:
            if next(statements) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        for name in ("before_cursor_execute", "commit"):
            event.listen(ledger._connection.engine, name, kill_at_last)
        with path.open("rb") as file:
            import_blocks(ledger, file, lambda: NOW)
        ledger.close()
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    chain_tip_module.BATCH_ROWS_MAX = int(sys.argv[4])
    main(*map(Path, sys.argv[1:4]))
