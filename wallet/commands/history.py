"""Commands that show the account: balance, history, utxos. They need no password."""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from chain.primitives.address import script_address
from chain.primitives.numbers import id_text, outpoint_index, outpoint_txid
from wallet.amounts import UNIT, amount_text, groat_text
from wallet.errors import InputError
from wallet.flags import Common
from wallet.history.book import HistoryLine, Kind, WalletCoin, kind_of
from wallet.history.dropped import DroppedTransaction, dropped_transactions
from wallet.session import Session, WalletView
from wallet.table import Column
from wallet.view import date_text, parse_date, parse_height

_HISTORY_COLUMNS: Final = (
    Column("date"),
    Column("kind"),
    Column("GROAT", is_right=True),
    Column("fee, GROAT", is_right=True),
    Column("confirmations", is_right=True),
    Column("transaction", is_long=True),
    Column("label", is_long=True),
)
_CSV_FIELDS: Final = (
    *("date", "kind", "amount", "fee", "unit", "confirmations", "height", "status"),
    *("txid", "replaced_by", "label"),
)
_UNDATED: Final = {"sent": "not seen yet"}  # `sent` is a kind too; other states say themselves
_NAMED_MAX: Final = 3  # payments of one status that have a note of their own
_NOTES: Final = {
    "replaced": "{txid} was replaced by {replaced_by}",
    "sent": "{txid} was sent, but the node has not shown it yet: broadcast repeats it",
}
_COIN_COLUMNS: Final = (
    Column("GROAT", is_right=True),
    Column("status"),
    Column("coin", is_long=True),
    Column("address", is_long=True),
    Column("label", is_long=True),
)


def balance(common: Common) -> None:
    """Show the balance: what can be spent now, and what cannot yet.

    Frozen coins are in the other sums too.
    """
    session = Session(common)
    view = session.look()
    found = view.book.balance()
    frozen = sum(coin.value for coin in view.book.coins() if coin.point in view.state.frozen)
    frozen_line = f"frozen             {groat_text(frozen):>24}, in the sums above"
    session.show(
        {
            "trusted": found.trusted,
            "untrusted_pending": found.untrusted_pending,
            "immature": found.immature,
            "total": found.total,
            "frozen": frozen,
            "unit": "grain",
            "as_of": view.as_of_value(),
        },
        [
            f"trusted            {groat_text(found.trusted):>24}",
            f"untrusted pending  {groat_text(found.untrusted_pending):>24}",
            f"immature           {groat_text(found.immature):>24}",
            f"total              {groat_text(found.total):>24}",
            *([frozen_line] if frozen else []),
        ],
    )


@dataclass(frozen=True, slots=True)
class HistoryFlags:
    """Flags of `history`."""

    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only this many, the newest.")
    ] = None
    kind: Annotated[
        list[Kind] | None,
        typer.Option(metavar="KIND", help="received, sent, mined or immature; repeatable."),
    ] = None
    since: Annotated[
        str | None,
        typer.Option(
            metavar="DATE|HEIGHT",
            help="From this day on (2026-01-31, in UTC), or from this block on.",
        ),
    ] = None
    dropped: Annotated[
        bool,
        typer.Option("--dropped", help="Also mined coins whose block is no longer in the chain."),
    ] = False
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False


def history(common: Common, flags: HistoryFlags) -> None:
    """Show all payments, received and sent, newest first.

    Payments that a reorganisation dropped or another payment replaced are shown for two weeks; they
    do not affect the balance. Mined coins that it dropped are only counted, unless --dropped asks.
    """
    session = Session(common)
    if flags.csv and session.json:
        raise InputError("--csv and --json exclude each other")
    is_wanted = _filter(flags)
    view = session.look()
    lines = [_history_value(line, view) for line in view.book.history()]
    dropped = [
        _dropped_value(each, view)
        for each in dropped_transactions(view.state.remembered, view.book)
    ]
    wanted = [each for each in _merged(lines, dropped) if is_wanted(each)]
    hidden = [] if flags.dropped else [each for each in wanted if _is_lost_reward(each)]
    shown = [each for each in wanted if flags.dropped or not _is_lost_reward(each)][: flags.limit]
    if flags.csv:
        session.show(shown, csv_lines(shown))
        return
    session.show_table(
        shown, _HISTORY_COLUMNS, [_history_row(each) for each in shown], "no payments"
    )
    for text in _notes(shown, hidden):
        session.note(text)


def _is_lost_reward(line: dict[str, Any]) -> bool:
    """Return whether only another reorganisation could bring it back; nobody can send it again."""
    return bool(line["coinbase"] and line["status"] == "dropped")


def _notes(shown: list[dict[str, Any]], hidden: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what the rows leave open, a few payments by name, and one line for all the others."""
    by_status = defaultdict(list)
    for each in shown:
        by_status[each["status"]].append(each)
    for status, text in _NOTES.items():
        lines = by_status[status]
        for each in lines[:_NAMED_MAX]:
            yield text.format(**each)
        if len(lines) > _NAMED_MAX:
            yield f"the same of {len(lines) - _NAMED_MAX} more shown as {status}: see --json"
    dropped_count = len(by_status["dropped"])
    if dropped_count == 1:
        yield f"{by_status['dropped'][0]['txid']} is no longer in the chain or in the mempool"
    elif dropped_count:
        yield f"the {dropped_count} shown as dropped are no longer in the chain or in the mempool"
    if hidden:
        what = "mined transaction is" if len(hidden) == 1 else "mined transactions are"
        hint = "groat-wallet history --dropped shows them"
        yield f"{len(hidden)} {what} no longer in the chain: {hint}"


def _filter(flags: HistoryFlags) -> Callable[[dict[str, Any]], bool]:
    """Return what tells the lines that the flags ask for. Raises InputError.

    What has no height or time yet is newer than all that has.
    """
    kinds = set(flags.kind or Kind)
    field, least = "height", 0
    if flags.since is not None and flags.since.isdecimal():
        least = parse_height(flags.since, "--since")
    elif flags.since is not None:
        field, least = "time", parse_date(flags.since, "--since")
    return lambda line: line["kind"] in kinds and (line[field] is None or line[field] >= least)


def csv_lines(values: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line of names and a line for each payment; amounts in GROAT, dates in UTC."""
    written = io.StringIO()
    writer = csv.DictWriter(written, _CSV_FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for each in values:
        amounts = {
            name: None if each[name] is None else amount_text(each[name])
            for name in ("amount", "fee")
        }
        writer.writerow(each | amounts | {"unit": UNIT})
    return written.getvalue().splitlines()


def _history_row(each: dict[str, Any]) -> list[str]:
    return [
        each["date"] or _UNDATED.get(each["status"], each["status"]),
        each["kind"],
        amount_text(each["amount"], sign=True),
        "" if each["fee"] is None else amount_text(each["fee"]),
        str(each["confirmations"]),
        each["txid"],
        each["label"] or "",
    ]


def _merged(lines: list[dict[str, Any]], dropped: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return both lists: replaced ones after the replacement, dropped ones after pending ones."""
    after = defaultdict(list)
    for each in dropped:
        after[each["replaced_by"]].append(each)
    unconfirmed_count = sum(not line["confirmations"] for line in lines)
    merged = []
    for at, line in enumerate(lines):
        if at == unconfirmed_count:
            merged += after.pop(None, [])
        merged += [line, *after[line["txid"]]]
    return merged + after[None]


def utxos(common: Common) -> None:
    """Show the coins, and which of them can be spent now."""
    session = Session(common)
    view = session.look()
    values = [_coin_value(coin, view) for coin in view.book.coins()]
    rows = [
        [
            amount_text(each["amount"]),
            each["status"] + (", frozen" if each["frozen"] else ""),
            f"{each['txid']}:{each['vout']}",
            each["address"],
            each["label"] or "",
        ]
        for each in values
    ]
    session.show_table(values, _COIN_COLUMNS, rows, "no coins")


def _history_value(line: HistoryLine, view: WalletView) -> dict[str, Any]:
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
        "kind": line.kind.value,
        "status": status,
        "replaced_by": None,
        "label": _label(view, id_text(line.txid), line.scripts),
        "as_of": view.as_of_value(),
    }


def _dropped_value(each: DroppedTransaction, view: WalletView) -> dict[str, Any]:
    transaction = each.remembered.transaction
    name = id_text(transaction.txid)
    return {
        "txid": name,
        "amount": each.remembered.net,
        "fee": None,
        "unit": "grain",
        "confirmations": 0,
        "height": None,
        "time": None,
        "date": None,
        "coinbase": transaction.is_coinbase,
        "kind": kind_of(transaction, each.remembered.net).value,
        "status": "dropped" if each.replaced_by is None else "replaced",
        "replaced_by": None if each.replaced_by is None else id_text(each.replaced_by),
        "label": _label(view, name, [out.script for out in transaction.outputs]),
        "as_of": view.as_of_value(),
    }


def _coin_value(coin: WalletCoin, view: WalletView) -> dict[str, Any]:
    confirmations = 0 if coin.height is None else view.book.tip_height - coin.height + 1
    name = id_text(outpoint_txid(coin.point))
    is_frozen = coin.point in view.state.frozen
    return {
        "txid": name,
        "vout": outpoint_index(coin.point),
        "amount": coin.value,
        "unit": "grain",
        "address": view.account.address(*coin.key_index),
        "confirmations": confirmations,
        "status": coin.status.value,
        "spendable": coin.is_spendable and not is_frozen,
        "frozen": is_frozen,
        "label": _label(view, name, [coin.script]),
        "as_of": view.as_of_value(),
    }


def _label(view: WalletView, txid: str, scripts: Iterable[bytes]) -> str | None:
    """Return a transaction's own label, or those of the addresses it pays to."""
    labels = view.state.labels
    if not labels:
        return None
    if txid in labels:
        return labels[txid]
    prefixes = view.account.params.address_prefixes
    addresses = filter(None, (script_address(script, prefixes) for script in scripts))
    texts = map(labels.get, addresses)
    return ", ".join(dict.fromkeys(filter(None, texts))) or None
