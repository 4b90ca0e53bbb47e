"""The `address` command."""

import io
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from wallet.amounts import parse_amount
from wallet.flags import Common
from wallet.history.scan import GAP_LIMIT
from wallet.keys.account import Keychain
from wallet.session import AWAY, Session
from wallet.spend.recipient import payment_uri


@dataclass(frozen=True, slots=True)
class AddressFlags:
    """Flags of `address`."""

    new: Annotated[
        bool, typer.Option("--new", help="An address that was never shown, not only unused.")
    ] = False
    uri: Annotated[
        bool, typer.Option("--uri", help="Print the payment request (BIP21) instead.")
    ] = False
    qr: Annotated[bool, typer.Option("--qr", help="Draw the payment request as a QR code.")] = False
    amount: Annotated[
        str | None, typer.Option(metavar="GROAT", help="Request this amount (BIP21).")
    ] = None
    label: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Purpose of the payment (BIP21); also the label here."),
    ] = None


def address(common: Common, flags: AddressFlags) -> None:
    """Print the first unused receive address.

    With an amount or a label, a note on standard error is the payment request.
    """
    session = Session(common)
    amount = None if flags.amount is None else parse_amount(flags.amount, session.params)
    text, index, label = _next_address(session, flags)
    uri = payment_uri(text, session.params, amount, flags.label)
    lines = [uri if flags.uri else text]
    if flags.qr:
        lines.append(_qr_code(uri))
    session.show({"address": text, "index": index, "uri": uri, "label": label}, lines)
    if session.json:
        return
    if label is not None and flags.label is None:
        session.note(f"label: {label}")
    if not flags.uri and uri.partition("?")[2]:
        session.note(f"payment request: {uri}")


def _next_address(session: Session, flags: AddressFlags) -> tuple[str, int, str | None]:
    """Return the address to show, its index and label; save them if the wallet can be locked.

    Without a node, it comes from the saved state.
    """
    account = session.folder.account()
    with session.lock_if_free() as is_held:
        state = session.folder.state()
        used = state.used[Keychain.RECEIVE]
        try:
            with session.node() as esplora:
                used = session.scan(account, esplora, state).used()[Keychain.RECEIVE]
        except AWAY as error:
            session.note(f"from memory, it may have been used since: {error}")
        index = state.fresh(Keychain.RECEIVE) if flags.new else state.unused(Keychain.RECEIVE)
        text = account.address(Keychain.RECEIVE, index)
        if flags.label is not None:
            state.set_label(text, flags.label)
        state.hand_out(Keychain.RECEIVE, index)
        if is_held:
            session.save_if_possible(state)
        else:
            session.note_unsaved("another command has locked this wallet")
    if index - used >= GAP_LIMIT:
        session.note(
            f"{GAP_LIMIT} addresses before it were never used: a wallet restored from its words "
            "may not scan this far"
        )
    return text, index, state.labels.get(text)


def _qr_code(uri: str) -> str:
    """Return a QR code for the terminal; in reversed spaces if the encoding lacks half blocks."""
    drawing = io.StringIO()
    import segno  # noqa: PLC0415 - a sixth of the start of every command

    code = segno.make(uri)
    code.terminal(out=drawing, compact=True)
    try:
        drawing.getvalue().encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        drawing = io.StringIO()
        code.terminal(out=drawing)
    return drawing.getvalue()
