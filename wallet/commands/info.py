"""The `info` command."""

from wallet.amounts import groat_text
from wallet.commands.keys import state_of
from wallet.flags import Common
from wallet.keys.account import Keychain
from wallet.session import Session


def info(common: Common) -> None:
    """Show what wallet this is, on which network and node, and how much it holds."""
    session = Session(common)
    view = session.look()
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
        "addresses": view.state.fresh(Keychain.RECEIVE),
        "frozen": len(view.state.frozen),
        "total": view.book.balance().total,
        "unit": "grain",
        "as_of": view.as_of_value(),
    }
    shown = {name: each for name, each in value.items() if name not in {"unit", "as_of"}}
    shown["total"] = groat_text(view.book.balance().total)
    width = max(map(len, shown))
    session.show(
        value, [f"{name:<{width}}  {'-' if each is None else each}" for name, each in shown.items()]
    )
