"""The `info` command."""

from typing import Final

from wallet.amounts import groat_text
from wallet.commands.addresses import address_counts
from wallet.commands.keys import CLEAR_TEXT, NO_PASSWORD, state_of
from wallet.flags import Common
from wallet.keys.account import Keychain
from wallet.session import Session

_ONLY_JSON: Final = frozenset({"unit", "as_of", "change_addresses"})


def info(common: Common) -> None:
    """Show what wallet this is, on which network and node, and how much it holds."""
    session = Session(common)
    view = session.look()
    counts = address_counts(view)
    history = view.book.history()
    value = {
        "wallet": session.folder.name,
        "network": session.params.name,
        "state": state_of(session.folder),
        "folder": str(session.folder.path),
        "node": session.chosen_url() or None,
        "height": view.book.tip_height,
        "transactions": len(history),
        "unconfirmed": sum(line.height is None for line in history),
        "addresses": counts[Keychain.RECEIVE],
        "change_addresses": counts[Keychain.CHANGE],
        "frozen": len(view.state.frozen),
        "total": view.book.balance().total,
        "unit": "grain",
        "as_of": view.as_of_value(),
    }
    shown = {name: each for name, each in value.items() if name not in _ONLY_JSON}
    shown["addresses"] = f"{counts[Keychain.RECEIVE]}, and {counts[Keychain.CHANGE]} for change"
    if value["state"] == CLEAR_TEXT:
        shown["state"] = f"{NO_PASSWORD}: anyone who reads the file can spend"
    shown["total"] = groat_text(view.book.balance().total)
    width = max(map(len, shown))
    session.show(
        value, [f"{name:<{width}}  {'-' if each is None else each}" for name, each in shown.items()]
    )
