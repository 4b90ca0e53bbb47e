"""Commands for an unconfirmed payment: bump, cpfp."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from chain.primitives.numbers import Hash32, id_text
from wallet.commands.psbts import show_unsigned
from wallet.commands.spending import (
    ConfirmFlags,
    FeeTarget,
    SpendSession,
    check_fee_sane,
    hold_for,
    open_spend,
    report,
    sign_and_send,
)
from wallet.commands.summary import fee_line, payment_lines, verb_parts
from wallet.errors import InputError
from wallet.fees import (
    RATE_SCALE,
    RATE_STEP,
    RATE_UNIT,
    TARGET_DEFAULT,
    FeeRate,
    feerate_for_target,
    feerate_text,
    parse_feerate,
    raised_feerate,
)
from wallet.flags import Common
from wallet.history.dropped import dropped_transactions
from wallet.session import Session
from wallet.spend.ancestors import package_of
from wallet.spend.descendants import replaced_by_a_bump
from wallet.spend.payment import expected_feerate, expected_vsize
from wallet.spend.replacement import (
    check_replaceable,
    draft_bump,
    draft_child,
    others_text,
    replaceable_feerate,
)
from wallet.view import parse_txid


@dataclass(frozen=True, kw_only=True)
class BumpFlags(ConfirmFlags):
    """Arguments and flags of `bump` and `cpfp`."""

    txid: Annotated[str, typer.Argument(metavar="TXID", help="As `history` shows it.")]
    fee_rate: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help=f"The new rate in {RATE_UNIT}; default the node's, but at least "
            f"{RATE_STEP // RATE_SCALE} more than now.",
        ),
    ] = None
    target: FeeTarget = None
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Print an unsigned PSBT instead: see psbt.")
    ] = False


def bump(common: Common, flags: BumpFlags) -> None:
    """Replace an unconfirmed payment of this wallet by one with a higher fee (BIP125).

    Its recipients get the same; the change gets less, and coins are added if necessary. Its label
    goes with it. Lines of standard input, if it is not a terminal: the password, then y unless
    --yes.
    """
    session = Session(common)
    txid, given = parse_txid(flags.txid), _given_feerate(flags)
    with open_spend(session, _hold(session, flags)) as spend:
        _check_not_replaced(txid, spend)
        check_replaceable(txid, spend.book)
        replaced = replaced_by_a_bump(txid, spend.esplora)
        old = replaceable_feerate(replaced, spend.book)
        feerate = given or raised_feerate(old, _estimate(spend, flags))
        draft = draft_bump(replaced, feerate, spend.book, spend.coins, spend.change_script)
        check_fee_sane(draft, draft.paid, flags)
        would, s = verb_parts(is_sent=not (flags.dry_run or flags.unsigned))
        words = [
            f"This {would}replace{s} {id_text(txid)} and pay{s}",
            *payment_lines(draft, session.params),
        ]
        if replaced.descendants:
            others = others_text(replaced.descendants)
            words.append(f"It {would}drop{s} {others}, and pay{s} their fees too.")
        if flags.unsigned:
            show_unsigned(spend, draft, words)
            return
        label = spend.state.labels.get(id_text(txid))  # the payment is still the same
        signed = sign_and_send(spend, draft, words, flags, label)
    report(session, draft, signed, broadcast=not flags.dry_run, replaces=id_text(txid))


def cpfp(common: Common, flags: BumpFlags) -> None:
    """Speed up an unconfirmed payment, sent or received, by a child with a higher fee (CPFP).

    What it pays to this wallet is sent to a new address of this wallet, with a fee for both. Lines
    of standard input, if it is not a terminal: the password, then y unless --yes.
    """
    session = Session(common)
    txid, given = parse_txid(flags.txid), _given_feerate(flags)
    with open_spend(session, _hold(session, flags)) as spend:
        _check_not_replaced(txid, spend)
        package = package_of(txid, spend.esplora)
        feerate = given or raised_feerate(package.feerate, _estimate(spend, flags))
        own = (spend.change_script, spend.book.tip_height)
        draft = draft_child(txid, feerate, package, spend.coins, own)
        check_fee_sane(draft, sum(coin.value for coin in draft.coins), flags)
        draft = replace(
            draft, feerate=expected_feerate(draft.transaction, draft.fee)
        )  # its own, higher
        would, s = verb_parts(is_sent=not (flags.dry_run or flags.unsigned))
        words = [
            f"This {would}send{s} this wallet's coins of {id_text(txid)} to itself, and pay{s}",
            fee_line(draft.fee, draft.feerate, expected_vsize(draft.transaction)),
            f"so that both pay {feerate_text(feerate)} instead of {feerate_text(package.feerate)}.",
        ]
        if flags.unsigned:
            show_unsigned(spend, draft, words)
            return
        signed = sign_and_send(spend, draft, words, flags)
    report(session, draft, signed, broadcast=not flags.dry_run, parent=id_text(txid))


def _hold(session: Session, flags: BumpFlags) -> AbstractContextManager[None]:
    return session.lock_for_draft() if flags.unsigned else hold_for(session, flags)


def _given_feerate(flags: BumpFlags) -> FeeRate | None:
    """Return the rate that --fee-rate gives. Raises InputError."""
    if flags.fee_rate is None:
        return None
    if flags.target is not None:
        raise InputError("--fee-rate and --target exclude each other")
    return parse_feerate(flags.fee_rate)


def _estimate(spend: SpendSession, flags: BumpFlags) -> FeeRate:
    return feerate_for_target(spend.esplora.fee_estimates(), flags.target or TARGET_DEFAULT)


def _check_not_replaced(txid: Hash32, spend: SpendSession) -> None:
    """Raise InputError, naming the replacement, if `txid` was replaced."""
    for each in dropped_transactions(spend.state.remembered, spend.book):
        if each.remembered.transaction.txid == txid and each.replaced_by is not None:
            raise InputError(f"{id_text(txid)} was replaced by {id_text(each.replaced_by)}")
