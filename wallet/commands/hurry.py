"""Commands for a payment that waits: bump, cpfp, broadcast."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32, id_text
from chain.primitives.transaction import Transaction, decode_transaction
from wallet.ancestors import package_of
from wallet.commands.deal import (
    ConfirmFlags,
    Till,
    conclude,
    guard,
    hold_for,
    open_till,
    report,
    send_off,
)
from wallet.commands.psbts import show_unsigned
from wallet.errors import InputError
from wallet.fees import RATE_UNIT, parse_rate, rate_text
from wallet.flags import Common
from wallet.past import vanished
from wallet.payment import expected_rate, expected_vsize
from wallet.replacement import draft_bump, draft_child
from wallet.session import Session
from wallet.state import State
from wallet.summary import fee_line, payment_lines
from wallet.view import parse_txid

_TXID_CHARACTERS = 64


@dataclass(frozen=True, kw_only=True)
class HurryFlags(ConfirmFlags):
    """Arguments and flags of `bump` and `cpfp`."""

    txid: Annotated[str, typer.Argument(metavar="TXID", help="As `history` shows it.")]
    fee_rate: Annotated[str, typer.Option(metavar="RATE", help=f"The new rate in {RATE_UNIT}.")]
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Print an unsigned PSBT instead: see psbt.")
    ] = False


@dataclass(frozen=True, slots=True)
class BroadcastFlags:
    """The argument of `broadcast`."""

    transaction: Annotated[
        str, typer.Argument(metavar="HEX|TXID", help="A transaction, or an own one's id.")
    ]


def bump(common: Common, flags: HurryFlags) -> None:
    """Replace an own payment that waits by one with a higher fee (BIP125).

    Its recipients get the same; the change gets less, and coins are added if need be. Lines of
    standard input, if it is no terminal: the password, then y unless --yes.
    """
    session = Session(common)
    txid, rate = parse_txid(flags.txid), parse_rate(flags.fee_rate)
    with open_till(session, _hold(session, flags)) as till:
        _check_not_replaced(txid, till)
        draft = draft_bump(txid, rate, till.book, till.coins, till.change_script)
        guard(draft, draft.paid, flags)
        words = [f"This replaces {id_text(txid)} and pays", *payment_lines(draft, session.params)]
        if flags.unsigned:
            show_unsigned(till, draft, words)
            return
        signed = conclude(till, draft, words, flags)
    report(session, draft, signed, broadcast=not flags.dry_run, replaces=id_text(txid))


def cpfp(common: Common, flags: HurryFlags) -> None:
    """Speed up a payment that waits, sent or coming, by spending from it (child pays for parent).

    What it pays to this wallet goes to a new address of this wallet, with a fee for both. Lines of
    standard input, if it is no terminal: the password, then y unless --yes.
    """
    session = Session(common)
    txid, rate = parse_txid(flags.txid), parse_rate(flags.fee_rate)
    with open_till(session, _hold(session, flags)) as till:
        _check_not_replaced(txid, till)
        package = package_of(txid, till.esplora)
        own = (till.change_script, till.book.tip_height)
        draft = draft_child(txid, rate, package, till.coins, own)
        guard(draft, sum(coin.value for coin in draft.coins), flags)
        draft = replace(draft, rate=expected_rate(draft.transaction, draft.fee))  # its own, higher
        words = [
            f"This spends what {id_text(txid)} pays to this wallet, to this wallet, and pays",
            fee_line(draft.fee, draft.rate, expected_vsize(draft.transaction)),
            f"so that both pay {rate_text(rate)} instead of {rate_text(package.rate)}.",
        ]
        if flags.unsigned:
            show_unsigned(till, draft, words)
            return
        signed = conclude(till, draft, words, flags)
    report(session, draft, signed, broadcast=not flags.dry_run, parent=id_text(txid))


def broadcast(common: Common, flags: BroadcastFlags) -> None:
    """Send a signed transaction, or an own payment once more; the same one twice does no harm."""
    session = Session(common)
    session.folder.account()  # it must exist
    with session.node() as esplora, session.lock():
        state = session.folder.state()
        signed = _signed(flags.transaction, state)
        if signed.txid in state.pending or signed.txid in state.remembered:
            send_off(session, esplora, state, signed)
        else:
            esplora.broadcast(signed)
    name = id_text(signed.txid)
    session.show({"txid": name, "broadcast": True}, [name])


def _hold(session: Session, flags: HurryFlags) -> AbstractContextManager[None]:
    return session.lock_for_draft() if flags.unsigned else hold_for(session, flags)


def _check_not_replaced(txid: Hash32, till: Till) -> None:
    """Raise InputError, with what replaced it, if the node shows `txid` no longer for that."""
    for each in vanished(till.state.remembered, till.book):
        if each.was.transaction.txid == txid and each.replaced_by is not None:
            raise InputError(f"{id_text(txid)} was replaced by {id_text(each.replaced_by)}")


def _signed(text: str, state: State) -> Transaction:
    text = text.strip()
    if len(text) == _TXID_CHARACTERS:
        return _remembered(parse_txid(text), state)
    try:
        return decode_transaction(bytes.fromhex(text))
    except (ValueError, DecodeError):
        raise InputError("not a transaction in hex") from None


def _remembered(txid: Hash32, state: State) -> Transaction:
    found = state.pending.get(txid) or state.remembered.get(txid)
    if found is None:
        raise InputError(f"this wallet remembers no transaction {id_text(txid)}: see history")
    return found.transaction
