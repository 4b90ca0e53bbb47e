"""Copies of a folder, in each of which a child process is killed at another statement."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

from sqlalchemy import Engine, event

KillLater = Callable[[Engine], None]  # arms the kill, at a statement or commit from now on


def kill_each(
    template: Path, copies: Path, numbers: Iterable[int], work: Callable[[Path, KillLater], None]
) -> None:
    """Let children do `work` in copies of a folder, killed just before statement or commit number.

    Writes a line for each copy, up to the first whose child is not killed: the copy's name and how
    its child ended. No thread may be running, as it forks.
    """
    for number in numbers:
        folder = copies / str(number)
        shutil.copytree(template, folder)
        child = os.fork()
        if child == 0:
            _work_and_die(folder, number, work)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        end = "killed" if killed else f"ended {os.waitstatus_to_exitcode(status)}"
        sys.stdout.write(f"{number} {end}\n")
        if not killed:
            return


def _work_and_die(folder: Path, number: int, work: Callable[[Path, KillLater], None]) -> None:
    statements = count()

    def kill_at_last(*_: object) -> None:
        if next(statements) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def kill_later(engine: Engine) -> None:
        for name in ("before_cursor_execute", "commit"):
            event.listen(engine, name, kill_at_last)

    status = 1
    try:
        work(folder, kill_later)
        status = 0
    finally:
        os._exit(status)
