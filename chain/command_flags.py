"""Flags and arguments that several `groat` commands have."""

from pathlib import Path
from typing import Annotated

import typer

from chain.help_text import COMMON_FLAGS
from chain.network_file import PORTS


def network_names(incomplete: str) -> list[str]:
    """Return what completes a network: a built-in one, or a file of this folder."""
    known = [*PORTS, *sorted(path.name for path in Path().glob("*.toml"))]
    return [name for name in known if name.startswith(incomplete)]


Json = Annotated[bool, typer.Option("--json", help="Machine output.", rich_help_panel=COMMON_FLAGS)]
File = Annotated[str, typer.Argument(metavar="FILE", help="A block file, or - for a pipe.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that exists.")]
Threads = Annotated[
    int, typer.Option(metavar="N", min=1, max=1024, help="How many threads search.")
]
