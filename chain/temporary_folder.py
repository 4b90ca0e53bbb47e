"""A temporary folder that is deleted also if the process is asked to end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType


@contextmanager
def temporary_folder(prefix: str, within: Path | None = None) -> Iterator[Path]:
    """Make a folder, by default where the system has temporary files, and delete it at the end.

    On the main thread, SIGTERM raises SystemExit meanwhile: by default it ends Python at once.
    """
    with _raising_on_sigterm(), TemporaryDirectory(prefix=prefix, dir=within) as folder:
        yield Path(folder)


@contextmanager
def _raising_on_sigterm() -> Iterator[None]:
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # as a shell shows it
