"""A process in which somebody always reads a ledger: `python -m … FOLDER READ_S LOG_BYTES_HARD`."""

import sys
import threading
import time
from pathlib import Path

from chain.ledger.db import log_file as log_file_module
from chain.ledger.reader import Reader, open_reader
from tests.ledger.chains import url_of

READERS = 3
STEP_BYTES = 500_000
PAUSES_PER_PERIOD = 3
GROWING_S = 0.5


def shrink(hard: int) -> None:
    """Pause at such sizes of the log in this process."""
    log_file_module.LOG_BYTES_HARD = hard
    log_file_module.STEP_BYTES = STEP_BYTES
    log_file_module.GROWING_S = GROWING_S
    log_file_module.PAUSES_PER_PERIOD = PAUSES_PER_PERIOD


def read_on(reader: Reader, read_s: float) -> None:
    while True:
        with reader.snapshot():
            time.sleep(read_s)


def main(folder: str, read_s: str, hard: str) -> None:
    shrink(int(hard))
    reader = open_reader(url_of(Path(folder)))
    for number in range(READERS):
        time.sleep(float(read_s) * number / READERS)  # so that their snapshots overlap
        threading.Thread(target=read_on, args=(reader, float(read_s)), daemon=True).start()
    sys.stdout.write("reading\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
