"""The command that spends: send."""

import secrets
import sys
import time
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from chain.primitives.numbers import Amount, id_text
from chain.primitives.transaction import Transaction, TxOut
from wallet.account import Branch
from wallet.amounts import groat_text
from wallet.errors import InputError, RejectedError
from wallet.esplora import Esplora
from wallet.fees import (
    RATE_UNIT,
    TARGET_DEFAULT,
    TARGET_MAX,
    check_fee,
    parse_rate,
    rate_for_target,
    rate_text,
)
from wallet.flags import Common
from wallet.passwords import confirm
from wallet.payment import Draft, Order, draft_payment, sign_draft
from wallet.recipient import parse_data, parse_recipients
from wallet.session import Session
from wallet.state import Pending, State
from wallet.view import printable

_RANDOM: Final = secrets.SystemRandom()


@dataclass(frozen=True, slots=True)
class SendFlags:
    """Arguments and flags of `send`."""

    recipients: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ADDRESS AMOUNT [ADDRESS AMOUNT ...]",
            help='Amounts in GROAT; "max" is all that is left.',
        ),
    ] = None
    fee_rate: Annotated[
        str | None, typer.Option(metavar="RATE", help=f"Fee rate in {RATE_UNIT}.")
    ] = None
    target: Annotated[
        int | None,
        typer.Option(
            metavar="BLOCKS",
            min=1,
            max=TARGET_MAX,
            help=f"Take the node's fee rate for this many blocks (default {TARGET_DEFAULT}).",
        ),
    ] = None
    data: Annotated[
        str | None,
        typer.Option(metavar="TEXT|0xHEX", help="Write data into the chain (OP_RETURN)."),
    ] = None
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the signed transaction, do not send it.")
    ] = False
    force: Annotated[bool, typer.Option("--force", help="Pay even an absurd fee.")] = False


def send(common: Common, flags: SendFlags) -> None:
    """Pay one or several recipients in one transaction.

    Lines of standard input, if it is no terminal: the password, then y unless --yes.
    """
    session = Session(common)
    asked = _Asked(session, flags)
    account = session.folder.account()
    with session.node() as esplora, session.folder.lock():
        state = session.folder.state()
        book = session.scan(account, esplora, state)
        change_index = state.fresh(Branch.CHANGE)
        draft = draft_payment(
            asked.order(esplora),
            book.coins(),
            account.script(Branch.CHANGE, change_index),
            book.tip_height,
            _RANDOM,
        )
        if not flags.force:
            check_fee(draft.fee, draft.rate, draft.paid)
        signed = sign_draft(draft, session.open()[1], session.params)
        if not session.json or not flags.yes:
            _tell(asked, draft, signed)
        if not flags.dry_run:
            if not flags.yes:
                confirm("Send it?")
            if draft.change is not None:
                state.hand_out(Branch.CHANGE, change_index)
            _broadcast(session, esplora, state, signed)
    _report(session, draft, signed, flags)


class _Asked:
    """What the arguments ask to be paid."""

    def __init__(self, session: Session, flags: SendFlags) -> None:
        """Read the arguments. Raises InputError."""
        self.recipients = parse_recipients(flags.recipients or [], session.params)
        self.data = flags.data
        data_script = None if flags.data is None else parse_data(flags.data)
        if not self.recipients and data_script is None:
            raise InputError("nothing to send: give ADDRESS AMOUNT, or --data")
        if flags.fee_rate is not None and flags.target is not None:
            raise InputError("--fee-rate and --target exclude each other")
        self.rate = None if flags.fee_rate is None else parse_rate(flags.fee_rate)
        self.target = flags.target or TARGET_DEFAULT
        self.outputs = [
            TxOut(each.amount, each.script) for each in self.recipients if each.amount is not None
        ]
        if data_script is not None:
            self.outputs.append(TxOut(Amount(0), data_script))
        self.rest_to = next((each.script for each in self.recipients if each.amount is None), None)

    def order(self, esplora: Esplora) -> Order:
        """Return the order, at the asked fee rate or one that the node estimates."""
        rate = self.rate
        if rate is None:
            rate = rate_for_target(esplora.fee_estimates(), self.target)
        return Order(tuple(self.outputs), self.rest_to, rate)


def _tell(asked: _Asked, draft: Draft, signed: Transaction) -> None:
    """Say on standard error, in plain words, what the payment does."""
    fixed = sum(out.value for out in asked.outputs)
    lines = ["This pays"]
    for each in asked.recipients:
        amount = draft.paid - fixed if each.amount is None else each.amount
        lines.append(f"    {groat_text(amount):>24}  to {each.address}")
    if asked.data is not None:
        lines.append(
            f"    and writes into the chain, for everyone to read: {printable(asked.data)}"
        )
    lines.append(
        f"    {groat_text(draft.fee):>24}  to the miner "
        f"({rate_text(draft.rate)}, {signed.vsize} vB)"
    )
    lines.append(f"{groat_text(draft.paid + draft.fee)} in all leave this wallet.")
    sys.stderr.write("\n".join(lines) + "\n")


def _broadcast(session: Session, esplora: Esplora, state: State, signed: Transaction) -> None:
    """Send, remembering it first: after a crash or a lost answer its coins stay taken."""
    state.pending[signed.txid] = Pending(signed, int(time.time()))
    session.folder.save(state)
    try:
        esplora.broadcast(signed)
    except RejectedError:
        del state.pending[signed.txid]
        session.folder.save(state)
        raise


def _report(session: Session, draft: Draft, signed: Transaction, flags: SendFlags) -> None:
    value = {
        "txid": id_text(signed.txid),
        "broadcast": not flags.dry_run,
        "amount": draft.paid,
        "fee": draft.fee,
        "change": draft.change or 0,
        "unit": "grain",
        "vsize": signed.vsize,
        "fee_rate": rate_text(draft.rate),
        "hex": signed.raw.hex(),
    }
    session.show(value, [signed.raw.hex() if flags.dry_run else id_text(signed.txid)])
