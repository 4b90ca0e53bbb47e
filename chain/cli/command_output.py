"""What the `groat` commands share: errors in one line, exit codes, and the form of results."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO

import typer

from chain.errors import ShownError, UsageError
from chain.standard_streams import STANDARD_OUTPUT, naming_output
from chain.text_file import escaped

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


class FailedError(ShownError):
    """The command ran, but its result is a failure."""


@contextmanager
def failing() -> Iterator[None]:
    """Convert errors from outside to one line and an exit status."""
    try:
        yield
    except ShownError as error:
        write_error(error)
        code = EXIT_USAGE if isinstance(error, UsageError) else error.exit_code
        raise typer.Exit(code) from None
    except BrokenPipeError:
        raise  # the reader closed the pipe: typer exits silently
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        write_error(f"{where}{error.strerror or error}")
        raise typer.Exit(EXIT_FAILED) from None


def write_error(problem: object) -> None:
    """Write an error in one printable line, whatever it quotes: a file may have any name."""
    sys.stderr.write(f"groat: {escaped(str(problem))}\n")


def show(values: dict[str, Any], *, as_json: bool, to_stderr: bool = False) -> None:
    """Print one line of JSON, or a line for each value; ids are not wrapped, for copying."""
    stream = sys.stderr if to_stderr else sys.stdout
    lines = [json.dumps(values)] if as_json else _lines(values)
    with naming_output(_name(stream)):
        stream.write("".join(f"{line}\n" for line in lines))


def show_result(
    values: dict[str, Any],
    lines_of: Callable[[dict[str, Any]], Iterable[str]],
    *,
    as_json: bool,
    to_stderr: bool = False,
) -> None:
    """Print one line of JSON, or the result in words."""
    if as_json:
        show(values, as_json=True, to_stderr=to_stderr)
        return
    stream = sys.stderr if to_stderr else sys.stdout
    with naming_output(_name(stream)):
        stream.write("".join(f"{line}\n" for line in lines_of(values)))
        stream.flush()


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show on a terminal that something is being done, and for how long."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        bar.add_task(text, total=None)
        yield


def _lines(values: dict[str, Any]) -> Iterator[str]:
    width = max(map(len, values)) + 2
    for name, value in values.items():
        text = _text(value).replace("\n", "\n" + " " * width)
        yield f"{name.replace('_', ' '):{width}}{text}"


def _name(stream: TextIO) -> str:
    return "standard error" if stream is sys.stderr else STANDARD_OUTPUT


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if value < 1000 else f"{value:,.0f}"
    return str(value)
