"""The `groat-wallet` command: lists the commands, and turns errors into one line."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.metadata import version as installed_version
from typing import Annotated, Any, Final

import typer

from chain.standard_streams import standard_streams
from chain.usage import Command, Group
from wallet.commands import (
    address,
    addresses,
    bump,
    coins,
    history,
    info,
    keys,
    psbts,
    raw,
    rescan,
    send,
)
from wallet.errors import ExitCode, WalletError, os_error_text
from wallet.flags import Common, with_flags
from wallet.process import forbid_dumps
from wallet.view import replace_unprintable

_EPILOG: Final = (
    "The environment stands for flags: GROAT_NETWORK, GROAT_WALLET_NODE, GROAT_DATADIR.\n\n"
    "Exit codes: 0 done; 1 output not written; 2 wrong flag, address, amount or words; 3 node "
    "unreachable or no Esplora server; 4 node of another network; 5 wallet missing, in the way, "
    "unsafe, damaged, or wrong password; 6 not enough coins; 7 refused by the node; 8 refused here "
    "as absurd; 9 not confirmed; 130 interrupted."
)


class _Group(Group):
    """The commands; a WalletError ends as one line on standard error."""

    def main(self, *words: Any, **more: Any) -> Any:  # noqa: ANN401 - typer's own types
        with standard_streams("groat-wallet"):
            return super().main(*words, **more)

    def make_context(self, *words: Any, **more: Any) -> Any:  # noqa: ANN401 - typer's own types
        replace_unprintable()
        return super().make_context(*words, **more)

    def invoke(self, ctx: Any) -> object:  # noqa: ANN401 - typer's own type
        try:
            return super().invoke(ctx)
        except WalletError as error:
            sys.stderr.write(f"groat-wallet: {error}\n")
            raise typer.Exit(int(error.code)) from None
        except OSError as error:
            if error.filename is None:  # standard output: every file that is written is named
                raise
            sys.stderr.write(f"groat-wallet: {os_error_text(error)}\n")
            raise typer.Exit(int(ExitCode.WALLET)) from None


app = typer.Typer(
    name="groat-wallet",
    cls=_Group,
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would print local variables: keys and words
)


def _print_version(is_requested: bool) -> None:  # noqa: FBT001 - typer's form
    if is_requested:
        sys.stdout.write(f"groat-wallet {installed_version('groat')}\n")
        raise typer.Exit


@dataclass(frozen=True, slots=True)
class _StartFlags:
    """Flags that no command has."""

    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False


@app.callback()
@with_flags
def _start(common: Common, flags: _StartFlags) -> None:
    """Keep and spend groat coins. Keys stay here; the node only sees finished transactions."""
    del common, flags  # the common flags are kept in the context, for the command
    forbid_dumps()


@dataclass(frozen=True, slots=True)
class _Entry:
    """A command, and which of the common flags have an effect on it.

    A flag without one is not in the command's help, but accepted.
    """

    function: Callable[..., None]
    wallet: bool = True
    node: bool = True
    datadir: bool = True
    password_fd: bool = False  # whether it asks for the wallet's password

    def unused(self) -> frozenset[str]:
        """Return the names of the common flags without an effect."""
        effects = {each.name: getattr(self, each.name) for each in fields(self)}
        return frozenset(name for name, has_effect in effects.items() if has_effect is False)


_COMMANDS: Final = {
    "create": _Entry(keys.create, node=False, password_fd=True),
    "restore": _Entry(keys.restore, password_fd=True),
    "list": _Entry(keys.list_wallets, wallet=False, node=False),
    "export": _Entry(keys.export, node=False),
    "show-seed": _Entry(keys.show_seed, node=False, password_fd=True),
    "password": _Entry(keys.password, node=False, password_fd=True),
    "info": _Entry(info.info),
    "address": _Entry(address.address),
    "addresses": _Entry(addresses.addresses),
    "balance": _Entry(history.balance),
    "history": _Entry(history.history),
    "rescan": _Entry(rescan.rescan),
    "utxos": _Entry(history.utxos),
    "send": _Entry(send.send, password_fd=True),
    "bump": _Entry(bump.bump, password_fd=True),
    "cpfp": _Entry(bump.cpfp, password_fd=True),
    "broadcast": _Entry(raw.broadcast),
    "decode": _Entry(raw.decode, wallet=False, node=False, datadir=False),
    "freeze": _Entry(coins.freeze),
    "unfreeze": _Entry(coins.unfreeze, node=False),
    "label": _Entry(coins.label, node=False),
}
_PSBT_COMMANDS: Final = {
    "create": _Entry(psbts.create),
    "show": _Entry(psbts.show, node=False),
    "sign": _Entry(psbts.sign, node=False, password_fd=True),
    "combine": _Entry(psbts.combine, node=False),
    "finalize": _Entry(psbts.finalize, node=False),
    "broadcast": _Entry(psbts.broadcast),
}
_psbt = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Make, sign and send partially signed transactions (PSBT).",
)
app.add_typer(_psbt, name="psbt")
for _group, _commands in ((app, _COMMANDS), (_psbt, _PSBT_COMMANDS)):
    for _name, _entry in _commands.items():
        _group.command(_name, cls=Command)(with_flags(_entry.function, _entry.unused()))
