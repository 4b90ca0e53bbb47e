"""A child process for test_crash.py: adds blocks until it is killed, and prints each result.

Arguments: database URL, block file, rows in a batch (0: a commit for each block).
"""

import sys
from pathlib import Path

from chain.ledger import chain_tip as chain_tip_module
from chain.ledger.ledger import Ledger
from chain.ledger.offline.blockfile import read_frames
from chain.primitives.block import decode_block
from tests.ledger.chains import NOW, QUICK


def main(url: str, path: str, batch_rows: int) -> None:
    ledger = Ledger(url, QUICK, verify_threads=2)
    with Path(path).open("rb") as file:
        blocks = [decode_block(raw) for raw in read_frames(file, QUICK)]
    if batch_rows:
        chain_tip_module.BATCH_ROWS_MAX = batch_rows
    if batch_rows:
        added = (verdict.result() for verdict in ledger.add_blocks(blocks, NOW))
    else:
        added = (ledger.add_block(block, NOW) for block in blocks)
    for one in added:
        if one.is_new:
            sys.stdout.write(f"{ledger.tip.id.hex()}\n")
            sys.stdout.flush()
    ledger.close()
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
