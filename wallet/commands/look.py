"""Commands that look at the account: address, balance, history, utxos. None needs a password."""

import io
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import segno
import typer

from chain.primitives.address import p2wpkh_address
from chain.primitives.numbers import id_text, outpoint_index, outpoint_txid
from chain.primitives.script import p2wpkh_key_hash
from wallet.account import Branch
from wallet.amounts import amount_text, groat_text, parse_amount
from wallet.book import HistoryLine, OwnCoin
from wallet.errors import NodeDownError
from wallet.flags import Common
from wallet.past import Vanished, vanished
from wallet.recipient import payment_uri
from wallet.scan import GAP_LIMIT
from wallet.session import Look, Session
from wallet.view import date_text


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
        str | None,
        typer.Option(metavar="TEXT", help="Say what it is for (BIP21), and label it so here."),
    ] = None


def address(common: Common, flags: AddressFlags) -> None:
    """Show an address to be paid at: the first that was never used."""
    session = Session(common)
    amount = None if flags.amount is None else parse_amount(flags.amount, session.params)
    text, index, label = _next_address(session, flags)
    uri = payment_uri(text, session.params, amount, flags.label)
    lines = [text]
    if label is not None and flags.label is None:
        lines.append(f"label: {label}")
    if amount is not None or flags.label is not None:
        lines.append(uri)
    if flags.qr:
        lines.append(_drawn(uri))
    session.show({"address": text, "index": index, "uri": uri, "label": label}, lines)


def balance(common: Common) -> None:
    """Show what the wallet holds, by what can be done with it now."""
    session = Session(common)
    found = session.look().book.balance()
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


@dataclass(frozen=True, slots=True)
class HistoryFlags:
    """Flags of `history`."""

    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the newest so many.")
    ] = None


def history(common: Common, flags: HistoryFlags) -> None:
    """Show every payment that came or went, newest first.

    Those that a reorganisation dropped or another payment replaced are shown for two weeks; they
    count for nothing.
    """
    session = Session(common)
    look = session.look()
    lines = [_history_value(line, look) for line in look.book.history()]
    gone = [_vanished_value(each, look) for each in vanished(look.state.remembered, look.book)]
    shown = _merged(lines, gone)[: flags.limit]
    session.show_table(
        shown,
        ["date", "transaction", "GROAT>", "fee, GROAT>", "confirmations>", "label"],
        [
            [
                each["date"] or each["status"],
                each["txid"],
                amount_text(each["amount"], sign=True),
                "" if each["fee"] is None else amount_text(each["fee"]),
                str(each["confirmations"]),
                each["label"] or "",
            ]
            for each in shown
        ],
    )
    for each in shown:
        if each["status"] == "replaced":
            session.note(f"{each['txid']} was replaced by {each['replaced_by']}")
        elif each["status"] == "dropped":
            session.note(f"{each['txid']} is not in the chain or on its way any more")


def _merged(lines: list[dict[str, Any]], gone: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return both: what was replaced behind its replacement, what was dropped behind what waits."""
    behind = defaultdict(list)
    for each in gone:
        behind[each["replaced_by"]].append(each)
    waiting = sum(not line["confirmations"] for line in lines)
    merged = []
    for at, line in enumerate(lines):
        if at == waiting:
            merged += behind.pop(None, [])
        merged += [line, *behind[line["txid"]]]
    return merged + behind[None]


def utxos(common: Common) -> None:
    """Show the single coins, and which of them can be spent now."""
    session = Session(common)
    look = session.look()
    values = [_coin_value(coin, look) for coin in look.book.coins()]
    session.show_table(
        values,
        ["coin", "GROAT>", "status", "address", "label"],
        [
            [
                f"{each['txid']}:{each['vout']}",
                amount_text(each["amount"]),
                each["status"] + (", frozen" if each["frozen"] else ""),
                each["address"],
                each["label"] or "",
            ]
            for each in values
        ],
    )


def _next_address(session: Session, flags: AddressFlags) -> tuple[str, int, str | None]:
    """Return the address to show, its index and label, and remember them if nobody is in the way.

    Without a node, it is found from memory.
    """
    account = session.folder.account()
    with session.lock_if_free() as is_held:
        state = session.folder.state()
        used = state.used[Branch.RECEIVE]
        try:
            with session.node() as esplora:
                used = session.scan(account, esplora, state).used()[Branch.RECEIVE]
        except NodeDownError as error:
            session.note(f"from memory, it may have been used since: {error}")
        index = state.fresh(Branch.RECEIVE) if flags.new else state.unused(Branch.RECEIVE)
        text = account.address(Branch.RECEIVE, index)
        if flags.label is not None:
            state.set_label(text, flags.label)
        state.hand_out(Branch.RECEIVE, index)
        if is_held:
            session.save_if_possible(state)
        else:
            session.note_unsaved("another command holds this wallet")
    if index - used >= GAP_LIMIT:
        session.note(
            f"{GAP_LIMIT} addresses before it were never used: a wallet restored from its words "
            "may not look this far"
        )
    return text, index, state.labels.get(text)


def _drawn(uri: str) -> str:
    """Return a QR code for the terminal; where it lacks half blocks, in reversed spaces."""
    drawing = io.StringIO()
    code = segno.make(uri)
    code.terminal(out=drawing, compact=True)
    try:
        drawing.getvalue().encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        drawing = io.StringIO()
        code.terminal(out=drawing)
    return drawing.getvalue()


def _history_value(line: HistoryLine, look: Look) -> dict[str, Any]:
    status = "confirmed" if line.confirmations else "unconfirmed" if line.is_shown else "sent"
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
        "status": status,
        "replaced_by": None,
        "label": _label(look, id_text(line.txid), line.scripts),
    }


def _vanished_value(each: Vanished, look: Look) -> dict[str, Any]:
    transaction = each.was.transaction
    name = id_text(transaction.txid)
    return {
        "txid": name,
        "amount": each.was.net,
        "fee": None,
        "unit": "grain",
        "confirmations": 0,
        "height": None,
        "time": None,
        "date": None,
        "coinbase": transaction.is_coinbase,
        "status": "dropped" if each.replaced_by is None else "replaced",
        "replaced_by": None if each.replaced_by is None else id_text(each.replaced_by),
        "label": _label(look, name, [out.script for out in transaction.outputs]),
    }


def _coin_value(coin: OwnCoin, look: Look) -> dict[str, Any]:
    confirmations = 0 if coin.height is None else look.book.tip_height - coin.height + 1
    name = id_text(outpoint_txid(coin.point))
    is_frozen = coin.point in look.state.frozen
    return {
        "txid": name,
        "vout": outpoint_index(coin.point),
        "amount": coin.value,
        "unit": "grain",
        "address": look.account.address(*coin.place),
        "confirmations": confirmations,
        "status": coin.status.value,
        "spendable": coin.is_spendable and not is_frozen,
        "frozen": is_frozen,
        "label": _label(look, name, [coin.script]),
    }


def _label(look: Look, txid: str, scripts: Iterable[bytes]) -> str | None:
    """Return a transaction's own label, or else those of the addresses it pays to."""
    labels = look.state.labels
    if not labels:
        return None
    if txid in labels:
        return labels[txid]
    hashes = filter(None, map(p2wpkh_key_hash, scripts))
    prefix = look.account.params.bech32_prefix
    texts = (labels.get(p2wpkh_address(key_hash, prefix)) for key_hash in hashes)
    return ", ".join(dict.fromkeys(filter(None, texts))) or None
