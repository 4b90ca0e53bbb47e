"""The `groat-wallet` command: lists the commands, and turns errors into one line."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
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


_COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "create": keys.create,
    "restore": keys.restore,
    "list": keys.list_wallets,
    "export": keys.export,
    "show-seed": keys.show_seed,
    "password": keys.password,
    "info": info.info,
    "address": address.address,
    "addresses": addresses.addresses,
    "balance": history.balance,
    "history": history.history,
    "rescan": rescan.rescan,
    "utxos": history.utxos,
    "send": send.send,
    "bump": bump.bump,
    "cpfp": bump.cpfp,
    "broadcast": raw.broadcast,
    "decode": raw.decode,
    "freeze": coins.freeze,
    "unfreeze": coins.unfreeze,
    "label": coins.label,
}
_PSBT_COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "create": psbts.create,
    "show": psbts.show,
    "sign": psbts.sign,
    "combine": psbts.combine,
    "finalize": psbts.finalize,
    "broadcast": psbts.broadcast,
}
_NO_NODE: Final = frozenset(
    {"create", "list", "export", "show-seed", "password", "decode", "unfreeze", "label"}
    | {"psbt show", "psbt sign", "psbt combine", "psbt finalize"}
)
_PASSWORD: Final = frozenset(
    {"create", "restore", "show-seed", "password", "send", "bump", "cpfp", "psbt sign"}
)


def _unused_flags(path: str) -> frozenset[str]:
    """Return the common flags that would have no effect on a command."""
    unused = {"node"} if path in _NO_NODE else set()
    if path not in _PASSWORD:
        unused.add("password_fd")
    if path in {"list", "decode"}:
        unused.add("wallet")
    if path == "decode":
        unused.add("datadir")
    return frozenset(unused)


_psbt = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Make, sign and send partially signed transactions (PSBT).",
)
app.add_typer(_psbt, name="psbt")
for _group, _prefix, _commands in ((app, "", _COMMANDS), (_psbt, "psbt ", _PSBT_COMMANDS)):
    for _name, _command in _commands.items():
        _unused = _unused_flags(_prefix + _name)
        _group.command(_name, cls=Command)(with_flags(_command, _unused))


if __name__ == "__main__":
    app(prog_name="groat-wallet")
