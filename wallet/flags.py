"""Commands whose flags are the fields of dataclasses, so that many commands share them.

A command is a function of a `Common` and, if it has flags of its own, of one more dataclass. The
common flags may be given before or after the command's name; the later one wins.
"""

import inspect
import os
from collections.abc import Callable, Collection, Mapping
from copy import copy
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

import typer

from chain.help_text import COMMON_FLAGS
from chain.network_file import network_names
from wallet.data_folder import default_datadir, wallet_names

NETWORK_DEFAULT: Final = "main"
NODE_VARIABLE: Final = "GROAT_WALLET_NODE"
NETWORK_VARIABLE: Final = "GROAT_NETWORK"
DATADIR_VARIABLE: Final = "GROAT_DATADIR"


def _wallets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of wallets that begin so, for the shell's completion."""
    given: dict[str, Any] = {}
    context: Any = ctx
    while context is not None:  # the command's flags, and those before it
        given = {name: value for name, value in context.params.items() if value} | given
        context = context.parent
    common = from_environment(os.environ)
    datadir = given.get("datadir") or common.datadir or default_datadir()
    network = given.get("network") or common.network or NETWORK_DEFAULT
    names = wallet_names(Path(datadir), str(network))
    return [name for name in names if name.startswith(incomplete)]


@dataclass(frozen=True, slots=True)
class Common:
    """Flags that every command has; None and False mean not given."""

    wallet: Annotated[
        str | None,
        typer.Option(
            "--wallet",
            "-w",
            metavar="NAME",
            help="Which wallet.",
            rich_help_panel=COMMON_FLAGS,
            autocompletion=_wallets,
        ),
    ] = None
    network: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.toml",
            help="main (the default), test, devnet, regtest.",
            rich_help_panel=COMMON_FLAGS,
            autocompletion=network_names,
        ),
    ] = None
    node: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="An Esplora server; default a local node.",
            rich_help_panel=COMMON_FLAGS,
        ),
    ] = None
    datadir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the wallets.", rich_help_panel=COMMON_FLAGS),
    ] = None
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Machine output; amounts in grains.", rich_help_panel=COMMON_FLAGS
        ),
    ] = False
    password_fd: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Read the password from this descriptor.",
            rich_help_panel=COMMON_FLAGS,
        ),
    ] = None

    def over(self, other: "Common") -> "Common":
        """Return these flags, with those not given here taken from `other`."""
        mine = {each.name: getattr(self, each.name) for each in fields(self)}
        given = {name: v for name, v in mine.items() if v is not None and v is not False}
        return replace(other, **given)


def from_environment(environment: Mapping[str, str]) -> Common:
    """Return what the environment gives; empty variables count as not set."""
    datadir = environment.get(DATADIR_VARIABLE)
    return Common(
        network=environment.get(NETWORK_VARIABLE) or None,
        node=environment.get(NODE_VARIABLE) or None,
        datadir=Path(datadir) if datadir else None,
    )


def with_flags(
    function: Callable[..., None], unused: Collection[str] = frozenset()
) -> Callable[..., None]:
    """Return a function for typer: it takes each field as a flag, and calls `function`.

    Fields of `Common` that are `unused` are not in its help, but accepted: a script may have all
    flags once.
    """
    kinds = get_type_hints(function)
    kinds.pop("return")
    parameters = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    ]
    for kind in kinds.values():
        hints = get_type_hints(kind, include_extras=True)
        parameters += (
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=_hidden(hints[field.name])
                if kind is Common and field.name in unused
                else hints[field.name],
            )
            for field in fields(kind)
        )

    def run(context: typer.Context, **values: object) -> None:
        function(*(_fill(kind, values, context) for kind in kinds.values()))

    run.__name__, run.__doc__ = function.__name__, _reflowed(function)
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _hidden(hint: Any) -> Any:  # noqa: ANN401 - a type with typer's option
    option = copy(hint.__metadata__[0])
    option.hidden = True
    return Annotated[hint.__origin__, option]


def _reflowed(function: Callable[..., None]) -> str:
    """Return the docstring with each paragraph on one line: the terminal's width breaks it."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _fill(kind: type[Any], values: Mapping[str, object], context: typer.Context) -> object:
    filled = kind(**{field.name: values[field.name] for field in fields(kind)})
    if not isinstance(filled, Common):
        return filled
    before = context.obj if isinstance(context.obj, Common) else from_environment(os.environ)
    context.obj = filled.over(before)  # the command's context inherits it from the group's
    return context.obj
