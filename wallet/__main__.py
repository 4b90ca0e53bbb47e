"""The entry point of the `groat-wallet` command, and of `python -m wallet`."""

import sys
from typing import Final

EXIT_INTERRUPTED: Final = 130


def app() -> None:
    """Run the command line; Ctrl-C ends it quietly, even while its parts are still loading."""
    try:
        from wallet.command_line import app as command_line  # noqa: PLC0415 - takes a while to load

        command_line(prog_name="groat-wallet")
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    app()
