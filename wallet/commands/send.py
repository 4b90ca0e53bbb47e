"""The `send` command."""

from dataclasses import dataclass
from typing import Annotated

import typer

from chain.primitives.numbers import Amount
from chain.primitives.transaction import TxOut
from wallet.commands.spending import (
    RANDOM,
    ConfirmFlags,
    FeeTarget,
    SpendSession,
    check_fee_sane,
    hold_for,
    open_spend,
    report,
    sign_and_send,
)
from wallet.commands.summary import payment_lines, verb_parts
from wallet.errors import InputError
from wallet.fees import RATE_UNIT, TARGET_DEFAULT, feerate_for_target, parse_feerate
from wallet.flags import Common
from wallet.session import Session
from wallet.spend.payment import Draft, PaymentOrder, draft_payment
from wallet.spend.recipient import parse_data, parse_recipients
from wallet.store.state import check_label
from wallet.view import parse_outpoint


@dataclass(frozen=True)
class PaymentFlags:
    """Arguments and flags that say what is to be paid."""

    recipients: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ADDRESS AMOUNT",
            help='Amounts in GROAT; "max" or "all" means everything left. A payment request '
            "(groat:ADDRESS?amount=1.5) stands for both.",
        ),
    ] = None
    fee_rate: Annotated[
        str | None, typer.Option(metavar="RATE", help=f"Fee rate in {RATE_UNIT}.")
    ] = None
    target: FeeTarget = None
    data: Annotated[
        str | None,
        typer.Option(metavar="TEXT|0xHEX", help="Write data to the chain (OP_RETURN)."),
    ] = None
    coins: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="TXID:N", help="Spend exactly this coin; repeatable."),
    ] = None


@dataclass(frozen=True)
class SendFlags(ConfirmFlags, PaymentFlags):
    """Arguments and flags of `send`."""

    label: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Label of the payment, kept here only.")
    ] = None


def send(common: Common, flags: SendFlags) -> None:
    """Pay one or several recipients in one transaction.

    Lines of standard input, if it is not a terminal: the password, then y unless --yes.
    """
    session = Session(common)
    request = PaymentRequest(session, flags)
    check_label(flags.label or "")
    with open_spend(session, hold_for(session, flags)) as spend:
        draft = request.draft(spend)
        check_fee_sane(draft, draft.paid, flags)
        would, s = verb_parts(is_sent=not flags.dry_run)
        words = [f"This {would}pay{s}", *payment_lines(draft, session.params)]
        signed = sign_and_send(spend, draft, words, flags, flags.label)
    report(session, draft, signed, broadcast=not flags.dry_run, label=flags.label or None)


class PaymentRequest:
    """The payment that the arguments describe."""

    def __init__(self, session: Session, flags: PaymentFlags) -> None:
        """Read the arguments. Raises InputError."""
        recipients = parse_recipients(flags.recipients or [], session.params)
        data_script = None if flags.data is None else parse_data(flags.data)
        if not recipients and data_script is None:
            raise InputError("nothing to send: give ADDRESS AMOUNT, or --data")
        if flags.fee_rate is not None and flags.target is not None:
            raise InputError("--fee-rate and --target exclude each other")
        self._rate = None if flags.fee_rate is None else parse_feerate(flags.fee_rate)
        self._target = flags.target or TARGET_DEFAULT
        self._points = [parse_outpoint(text) for text in flags.coins or ()]
        self._outputs = [
            TxOut(each.amount, each.script) for each in recipients if each.amount is not None
        ]
        if data_script is not None:
            self._outputs.append(TxOut(Amount(0), data_script))
        self._rest_to = next((each.script for each in recipients if each.amount is None), None)

    def draft(self, spend: SpendSession) -> Draft:
        """Return the payment, at the requested fee rate or the node's estimate."""
        feerate = self._rate
        if feerate is None:
            feerate = feerate_for_target(spend.esplora.fee_estimates(), self._target)
        order = PaymentOrder(tuple(self._outputs), self._rest_to, feerate, spend.pick(self._points))
        height = spend.book.tip_height
        return draft_payment(order, spend.coins, spend.change_script, height, RANDOM)
