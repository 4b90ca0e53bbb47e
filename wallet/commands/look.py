"""Commands that look at the account: address, balance, history, utxos. None needs a password."""

import io
from dataclasses import dataclass
from typing import Annotated, Any

import segno
import typer

from chain.primitives.numbers import id_text, outpoint_index, outpoint_txid
from wallet.account import Branch
from wallet.amounts import amount_text, groat_text, parse_amount
from wallet.book import HistoryLine, OwnCoin
from wallet.errors import InputError, NodeDownError
from wallet.flags import Common
from wallet.recipient import payment_uri
from wallet.scan import GAP_LIMIT
from wallet.session import Session
from wallet.view import date_text, outpoint_text

_LABEL_CHARACTERS_MAX = 100


@dataclass(frozen=True, slots=True)
class AddressFlags:
    """Flags of `address`."""

    new: Annotated[
        bool, typer.Option("--new", help="One that was never handed out, not just unused.")
    ] = False
    qr: Annotated[bool, typer.Option("--qr", help="Draw the payment request as a QR code.")] = False
    amount: Annotated[
        str | None, typer.Option(metavar="GROAT", help="Ask for this amount (BIP21).")
    ] = None
    label: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Say what it is for (BIP21).")
    ] = None


def address(common: Common, flags: AddressFlags) -> None:
    """Show an address to be paid at: the first that was never used."""
    session = Session(common)
    amount = None if flags.amount is None else parse_amount(flags.amount, session.params)
    if flags.label is not None and len(flags.label) > _LABEL_CHARACTERS_MAX:
        raise InputError(f"a label has at most {_LABEL_CHARACTERS_MAX} characters")
    account = session.folder.account()
    index = _next_index(session, new=flags.new)
    text = account.address(Branch.RECEIVE, index)
    uri = payment_uri(text, session.params, amount, flags.label)
    lines = [text]
    if amount is not None or flags.label is not None:
        lines.append(uri)
    if flags.qr:
        drawing = io.StringIO()
        segno.make(uri).terminal(out=drawing, compact=True)
        lines.append(drawing.getvalue())
    session.show({"address": text, "index": index, "uri": uri}, lines)


def balance(common: Common) -> None:
    """Show what the wallet holds, by what can be done with it now."""
    session = Session(common)
    found = session.look().balance()
    session.show(
        {
            "trusted": found.trusted,
            "untrusted_pending": found.untrusted_pending,
            "immature": found.immature,
            "total": found.total,
            "unit": "grain",
        },
        [
            f"trusted            {groat_text(found.trusted):>24}",
            f"untrusted pending  {groat_text(found.untrusted_pending):>24}",
            f"immature           {groat_text(found.immature):>24}",
            f"total              {groat_text(found.total):>24}",
        ],
    )


def history(common: Common) -> None:
    """Show every payment that came or went, newest first."""
    session = Session(common)
    lines = session.look().history()
    session.show_table(
        [_history_value(line) for line in lines],
        ["date", "transaction", "GROAT>", "fee, GROAT>", "confirmations>"],
        [
            [
                "unconfirmed" if line.time is None else date_text(line.time),
                id_text(line.txid),
                amount_text(line.net, sign=True),
                "" if line.fee is None else amount_text(line.fee),
                str(line.confirmations),
            ]
            for line in lines
        ],
    )


def utxos(common: Common) -> None:
    """Show the single coins, and which of them can be spent now."""
    session = Session(common)
    book = session.look()
    coins = book.coins()
    account = session.folder.account()
    session.show_table(
        [_coin_value(coin, account.address(*coin.place), book.tip_height) for coin in coins],
        ["coin", "GROAT>", "status", "address"],
        [
            [
                outpoint_text(coin.point),
                amount_text(coin.value),
                coin.status.value,
                account.address(*coin.place),
            ]
            for coin in coins
        ],
    )


def _next_index(session: Session, *, new: bool) -> int:
    """Return the index to show, and remember that it was; without a node, from memory."""
    account = session.folder.account()
    with session.folder.lock():
        state = session.folder.state()
        try:
            with session.node() as esplora:
                session.scan(account, esplora, state)
        except NodeDownError as error:
            session.note(f"from memory, it may have been used since: {error}")
        index = state.fresh(Branch.RECEIVE) if new else state.unused(Branch.RECEIVE)
        state.hand_out(Branch.RECEIVE, index)
        session.folder.save(state)
    if index - state.used[Branch.RECEIVE] >= GAP_LIMIT:
        session.note(
            f"{GAP_LIMIT} addresses before it were never used: a wallet restored from its words "
            "may not look this far"
        )
    return index


def _history_value(line: HistoryLine) -> dict[str, Any]:
    return {
        "txid": id_text(line.txid),
        "amount": line.net,
        "fee": line.fee,
        "unit": "grain",
        "confirmations": line.confirmations,
        "height": line.height,
        "time": line.time,
        "date": None if line.time is None else date_text(line.time),
        "coinbase": line.from_coinbase,
    }


def _coin_value(coin: OwnCoin, text: str, tip_height: int) -> dict[str, Any]:
    confirmations = 0 if coin.height is None else tip_height - coin.height + 1
    return {
        "txid": id_text(outpoint_txid(coin.point)),
        "vout": outpoint_index(coin.point),
        "amount": coin.value,
        "unit": "grain",
        "address": text,
        "confirmations": confirmations,
        "status": coin.status.value,
        "spendable": coin.is_spendable,
    }
