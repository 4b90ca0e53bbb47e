"""The `addresses` command."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from wallet.amounts import amount_text
from wallet.errors import InputError
from wallet.flags import Common
from wallet.history.book import UNUSED
from wallet.keys.account import Keychain
from wallet.session import Session, WalletView
from wallet.table import Column

_COLUMNS: Final = (
    Column("number", is_right=True),
    Column("kind"),
    Column("GROAT", is_right=True),
    Column("payments", is_right=True),
    Column("address", is_long=True),
    Column("label", is_long=True),
)


@dataclass(frozen=True, slots=True)
class AddressesFlags:
    """Flags of `addresses`."""

    receive: Annotated[bool, typer.Option("--receive", help="Only those to receive at.")] = False
    change: Annotated[bool, typer.Option("--change", help="Only those of change.")] = False
    unused: Annotated[bool, typer.Option("--unused", help="Only those never paid.")] = False
    funded: Annotated[bool, typer.Option("--funded", help="Only those with coins.")] = False


def addresses(common: Common, flags: AddressesFlags) -> None:
    """List the addresses that were shown or paid, with balance, payments and label."""
    session = Session(common)
    if flags.receive and flags.change:
        raise InputError("--receive and --change exclude each other")
    view = session.look()
    values = [each for each in _values(view) if _is_wanted(each, flags)]
    rows = [
        [
            str(each["index"]),
            each["branch"],
            amount_text(each["balance"]),
            str(each["payments"]),
            each["address"],
            each["label"] or "",
        ]
        for each in values
    ]
    session.show_table(values, _COLUMNS, rows, "no such addresses")


def address_counts(view: WalletView) -> dict[Keychain, int]:
    """Return how many addresses of each keychain were shown or paid, as `addresses` lists them."""
    places = [place for place in map(view.book.key_index, view.book.uses()) if place]
    return {
        keychain: max(
            view.state.fresh(keychain),
            *(index + 1 for found, index in places if found is keychain),
            0,
        )
        for keychain in Keychain
    }


def _values(view: WalletView) -> list[dict[str, Any]]:
    uses = view.book.uses()
    values = []
    for keychain, count in address_counts(view).items():
        for index in range(count):
            use = uses.get(view.account.script(keychain, index), UNUSED)
            address = view.account.address(keychain, index)
            values.append(
                {
                    "address": address,
                    "branch": keychain.name.lower(),
                    "index": index,
                    "balance": use.balance,
                    "unit": "grain",
                    "payments": use.payments,
                    "used": use.payments > 0,
                    "label": view.state.labels.get(address),
                    "as_of": view.as_of_value(),
                }
            )
    return values


def _is_wanted(value: dict[str, Any], flags: AddressesFlags) -> bool:
    branch = "receive" if flags.receive else "change" if flags.change else value["branch"]
    return (
        value["branch"] == branch
        and not (flags.unused and value["used"])
        and not (flags.funded and not value["balance"])
    )
