"""Flags and arguments that several `groat` commands have."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from chain.debug_categories import CATEGORIES
from chain.help_text import COMMON_FLAGS
from chain.network_file import network_names
from chain.usage import Command, FlagError

LOG_FLAGS: Final = "Log"  # a heading of help


def _categories(incomplete: str) -> list[str]:
    return [name for name in (*CATEGORIES, "all", "none") if name.startswith(incomplete)]


Json = Annotated[bool, typer.Option("--json", help="Machine output.", rich_help_panel=COMMON_FLAGS)]
File = Annotated[str, typer.Argument(metavar="FILE", help="A block file, or - for a pipe.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that exists.")]
Threads = Annotated[
    int, typer.Option(metavar="N", min=1, max=1024, help="How many threads search.")
]
Network = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE.toml",
        help="main (the default), test, devnet, regtest, or one of your own.",
        autocompletion=network_names,
        rich_help_panel=COMMON_FLAGS,
    ),
]
Datadir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where all files are; default the user's data folder.",
        rich_help_panel=COMMON_FLAGS,
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="SQLAlchemy's; default SQLite in the data directory.",
        rich_help_panel=COMMON_FLAGS,
    ),
]
Api = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Where API, RPC and explorer listen.")
]
RpcAuth = Annotated[
    list[str] | None,
    typer.Option(metavar="USER:SALT$HMAC", help="An RPC login (Core's rpcauth); repeatable."),
]
ApiHost = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME[:PORT]", help="A Host that the API answers to; repeatable."),
]
Debug = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CATEGORY",
        help="Log more: net, mempool, ..., all; repeatable.",
        autocompletion=_categories,
        rich_help_panel=LOG_FLAGS,
    ),
]
HostPort = typer.Option(
    metavar="HOST:PORT", help="Where the node's API listens; default the running node's."
)
# What other commands take as a flag, and where `groat mine` has it from.
_NOT_OF_MINE: Final = {
    "--api": "--node URL names the node",
    "--datadir": "--cookie DATADIR/NETWORK/.cookie is the login of a node on this machine",
    "--network": "the network is that of the node at --node",
}


class MineCommand(Command):
    """`groat mine`: says where it has from what other commands take as a flag."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own type
        """Look for flags of other commands, and parse. Raises typer's usage errors."""
        for word in args:
            flag = word.split("=")[0]
            if flag in _NOT_OF_MINE:
                raise FlagError(f"no such option: {flag}; {_NOT_OF_MINE[flag]}", ctx)
        return super().parse_args(ctx, args)
