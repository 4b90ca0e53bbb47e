"""Commands on a ledger without a running node: import, export, check, import benchmark."""

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from chain.durable_file import temporary_path
from chain.ledger.db.url import Database, database_file
from chain.ledger.ledger import Ledger
from chain.ledger.offline.blockfile import BlockFileError, check_first_frame
from chain.ledger.offline.checking import check_ledger
from chain.ledger.offline.exporting import export_blocks
from chain.ledger.offline.importing import Progress as ImportProgress
from chain.ledger.offline.importing import import_blocks, import_verdicts
from chain.ledger.reader import open_reader
from chain.primitives.numbers import counted, id_text
from chain.regular_file import refuse_to_overwrite
from chain.settings import LEDGER_NAME, Settings
from chain.standard_streams import naming_output
from chain.temporary_folder import temporary_folder

VERIFY_THREADS: Final = 2
_REFRESH_S: Final = 0.2
_BUFFER_BYTES: Final = 1 << 20  # of a file to import: with small blocks, fewer calls of the system


def import_file(settings: Settings, file: str, *, verify_only: bool = False) -> dict[str, Any]:
    """Import a block file, showing progress on standard error; return the figures.

    With `verify_only`, into a temporary ledger without indexes, which is deleted: `blocks` are then
    those of the best chain, and `unverified` the others whose rules were checked in part.
    """
    with _blocks_of(file, settings) as stream, _ledger(settings, verify_only) as ledger:
        with _progress() as progress:
            name = "verifying" if verify_only else "importing"
            task = progress.add_task(name, total=_size(file))
            shown = _Throttle()

            def report(now: ImportProgress) -> None:
                if shown.is_due():
                    text = f"block {now.height}, {counted(now.transactions, 'transaction')}"
                    progress.update(task, completed=now.bytes_read, description=text)

            result = import_blocks(ledger, stream, _clock, report)
        figures = asdict(result)
        orphaned = figures.pop("orphaned")
        values = {
            **figures,
            "tip": id_text(result.tip),
            "waiting": orphaned,
            "stored": not verify_only,
            "transactions_per_second": round(result.transactions_per_second, 1),
        }
        if verify_only:  # blocks off the best chain are not connected, so not validated completely
            values["blocks"], values["unverified"] = result.height, result.blocks - result.height
        return values


def verdicts(
    settings: Settings, file: str, *, verify_only: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield the ledger's verdict on each block of a file; see `import_file`."""
    with _blocks_of(file, settings) as stream, _ledger(settings, verify_only) as ledger:
        for verdict in import_verdicts(ledger, stream, _clock):
            yield {**asdict(verdict), "tip": id_text(verdict.tip)}


def export_file(settings: Settings, file: str, *, force: bool = False) -> dict[str, Any]:
    """Write the best chain to a file, or to standard output for `-`.

    Raises UsageError: the file exists, and `force` is False.
    """
    with closing(open_reader(settings.database)) as reader, _created(file, force=force) as stream:
        result = export_blocks(reader, settings.params, stream)
    return {**asdict(result), "tip": id_text(result.tip)}


def check(settings: Settings) -> dict[str, Any]:
    """Verify a ledger that is not in use, showing progress on standard error."""
    with _progress() as progress:
        task = progress.add_task("checking", total=None)

        def report(blocks: int) -> None:
            progress.update(task, description=f"{counted(blocks, 'block')} replayed")

        if database_file(settings.database) is None:  # the rebuilt ledger is kept in the folder
            open_reader(settings.database).close()  # which nothing needs if there is no ledger
            settings.folder.mkdir(parents=True, exist_ok=True)
        result = check_ledger(
            settings.database,
            settings.params,
            verify_threads=VERIFY_THREADS,
            folder=settings.folder,
            progress=report,
        )
    values = asdict(result)
    values["supply_grains"] = values.pop("supply")
    if not result.problem_count:
        del values["problems"]
    return values


def bench_import(settings: Settings, file: str) -> dict[str, Any]:
    """Import a file into a temporary ledger, and delete it."""
    with temporary_folder("groat-bench-") as folder:
        database = folder / LEDGER_NAME
        return import_file(replace(settings, folder=folder, database=database), file)


@contextmanager
def _ledger(settings: Settings, verify_only: bool) -> Iterator[Ledger]:  # noqa: FBT001
    """Open the node's ledger, or make a temporary one without indexes."""
    if not verify_only:
        settings.folder.mkdir(parents=True, exist_ok=True)
        with closing(_open(settings.database, settings)) as ledger:
            yield ledger
        return
    with (
        temporary_folder("groat-verify-") as folder,
        closing(_open(folder / LEDGER_NAME, settings)) as ledger,
    ):
        ledger.leave_out_indexes()
        yield ledger


def _open(database: Database, settings: Settings) -> Ledger:
    return Ledger(database, settings.params, verify_threads=VERIFY_THREADS)


def _clock() -> int:
    return int(time.time())


@contextmanager
def _blocks_of(file: str, settings: Settings) -> Iterator[BinaryIO]:
    """Open a block file whose start is right, before a ledger is made for it.

    Raises BlockFileError, with the file's name, for what is read later too.
    """
    try:
        with _opened(file) as stream:
            check_first_frame(stream, settings.params)
            yield stream
    except BlockFileError as error:
        shown = "standard input" if file == "-" else file
        raise BlockFileError(f"{shown}: {error}") from error


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
    else:
        with Path(file).open("rb", buffering=_BUFFER_BYTES) as stream:
            yield stream


@contextmanager
def _created(file: str, *, force: bool) -> Iterator[BinaryIO]:
    """Open a stream for writing. Raises OSError with the name of the file."""
    if file == "-":
        with naming_output():
            yield sys.stdout.buffer
        return
    try:
        with _written(Path(file), force=force) as stream:
            yield stream
    except OSError as error:
        raise OSError(error.errno, error.strerror, file) from error


@contextmanager
def _written(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Open a file for writing; a regular one gets its name only when it is complete.

    Pipes and devices are written directly: replacing them by a file would break them.
    """
    target = Path(os.path.realpath(path))
    if target.is_symlink():  # a loop of links
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if target.exists() and not target.is_file():
        with target.open("wb") as stream:
            yield stream
        return
    refuse_to_overwrite(path, force=force)
    unfinished = temporary_path(target)
    try:
        with unfinished.open("wb") as stream:
            yield stream
        refuse_to_overwrite(path, force=force)  # it may have been made meanwhile
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _size(file: str) -> int | None:
    return None if file == "-" else Path(file).stat().st_size


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


class _Throttle:
    """Returns True at most once every _REFRESH_S."""

    def __init__(self) -> None:
        self._next = 0.0

    def is_due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _REFRESH_S
        return True
