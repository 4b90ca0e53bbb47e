"""The entry point of the `groat` command, and of `python -m chain`."""

import atexit
import gc
import io
import sys
from typing import Final

from chain.standard_streams import standard_streams

EXIT_INTERRUPTED: Final = 130
# New objects before Python looks for garbage. A command loads hundreds of thousands that all stay:
# looking through them at Python's 700, and once more at the end, was a quarter of a node's start.
_GARBAGE_THRESHOLD: Final = 50_000


def app() -> None:
    """Run the command line; Ctrl-C ends it quietly, even while its parts are still loading."""
    gc.set_threshold(_GARBAGE_THRESHOLD)
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # the terminal may lack characters
    try:
        with standard_streams("groat"):
            from chain.cli.commands import app as command_line  # noqa: PLC0415 - takes a while to load

            command_line(prog_name="groat")
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    app()
