"""Flags and arguments that several `groat` commands have."""

from typing import Annotated

import typer

from chain.help_text import COMMON_FLAGS

Json = Annotated[bool, typer.Option("--json", help="Machine output.", rich_help_panel=COMMON_FLAGS)]
File = Annotated[str, typer.Argument(metavar="FILE", help="A block file, or - for a pipe.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that exists.")]
Threads = Annotated[
    int, typer.Option(metavar="N", min=1, max=1024, help="How many threads search.")
]
