"""Commands for partially signed transactions (PSBT, BIP174): signing on another machine."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from chain.consensus.errors import InvalidError
from chain.consensus.transaction import check_transaction
from chain.primitives.address import script_address
from chain.primitives.numbers import id_text, outpoint_index, outpoint_txid
from chain.primitives.psbt import (
    PSBT_BYTES_MAX,
    PSBT_MAGIC,
    Psbt,
    PsbtError,
    decode_psbt,
    parse_psbt,
)
from chain.printable import printable
from wallet.commands.send import PaymentFlags, PaymentRequest
from wallet.commands.spending import (
    ConfirmFlags,
    SpendSession,
    broadcast_transaction,
    check_fee_sane,
    open_spend,
)
from wallet.commands.summary import payment_lines, psbt_lines
from wallet.errors import InputError, UnsafeError
from wallet.fees import check_fee, feerate_text
from wallet.flags import Common
from wallet.history.scan import GAP_LIMIT
from wallet.keys.account import Keychain
from wallet.keys.passwords import confirm
from wallet.psbt.cosign import (
    PsbtFacts,
    combine_psbts,
    create_psbt,
    extract,
    finalize_psbt,
    read_facts,
    sign_psbt,
)
from wallet.psbt.ownership import WalletScripts
from wallet.psbt.stream import check_encoding, read_psbt
from wallet.session import Session
from wallet.spend.payment import Draft, expected_feerate

_JUMP_MAX: Final = 1_000  # addresses by which a signer's state may advance at once
_FILE_BYTES_MAX: Final = 2 * PSBT_BYTES_MAX  # base64 takes 4/3, and its line ends
_SHOWN_CHARACTERS_MAX: Final = 80  # of an argument that is no PSBT
_SIGNER: Final = "sign with the wallet that has them"
_BASE64_START: Final = "cHNidP"
_ARGUMENT: Final = typer.Argument(
    metavar="PSBT", help="In base64, a file, or - for standard input."
)


@dataclass(frozen=True, slots=True)
class PsbtCreateFlags(PaymentFlags):
    """Arguments and flags of `psbt create`."""

    force: Annotated[bool, typer.Option("--force", help="Pay even an absurd fee.")] = False


@dataclass(frozen=True, slots=True)
class PsbtFlags:
    """The argument of `psbt show` and `psbt finalize`."""

    psbt: Annotated[str, _ARGUMENT]


@dataclass(frozen=True, slots=True)
class CombineFlags:
    """The arguments of `psbt combine`."""

    psbts: Annotated[list[str], _ARGUMENT]


@dataclass(frozen=True, slots=True)
class SignFlags(PsbtFlags):
    """Arguments and flags of `psbt sign` and `psbt broadcast`."""

    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False
    force: Annotated[bool, typer.Option("--force", help="Pay even an absurd fee.")] = False


def create(common: Common, flags: PsbtCreateFlags) -> None:
    """Make an unsigned payment, to be signed by the wallet that has the keys."""
    session = Session(common)
    request = PaymentRequest(session, flags)
    with open_spend(session, session.lock_for_draft()) as spend:
        draft = request.draft(spend)
        check_fee_sane(draft, draft.paid, ConfirmFlags(force=flags.force))
        show_unsigned(spend, draft, ["This would pay", *payment_lines(draft, session.params)])


def show_unsigned(spend: SpendSession, draft: Draft, words: Sequence[str]) -> None:
    """Print the PSBT of a draft and hold its change address for a while; `words` describe it."""
    session = spend.session
    psbt = create_psbt(draft, spend.book, spend.account)
    index = spend.held_change(draft)
    if index is not None:
        spend.state.hold_change(index, int(time.time()))
    session.save_if_possible(spend.state)
    if not session.json:
        sys.stderr.write("".join(f"{line}\n" for line in words))
    _show(session, psbt, read_facts(psbt, WalletScripts(spend.account, spend.state)))


def sign(common: Common, flags: SignFlags) -> None:
    """Sign this wallet's inputs; needs no node.

    Lines of standard input, if it is no terminal: the PSBT if it is -, the password, then y unless
    --yes.
    """
    session = Session(common)
    psbt, facts = _read(session, flags.psbt)
    if not facts.own_inputs:
        raise InputError("it has no input of this wallet to sign")
    session.check_keys(_SIGNER)
    _guard(psbt, facts, flags)
    if not flags.force:
        _guard_signer(facts)
    if not session.json or not flags.yes:
        sys.stderr.write("".join(f"{line}\n" for line in _lines(session, psbt, facts)))
    _, key = session.open(_SIGNER)
    if not flags.yes:
        confirm("Sign it?", session.input, "nothing was signed")
    signed = sign_psbt(psbt, facts, key)
    _note_outputs(session, facts)
    _show(session, signed, read_facts(signed, _wallet_scripts(session)))


def combine(common: Common, flags: CombineFlags) -> None:
    """Combine the PSBTs of several signers of one transaction."""
    session = Session(common)
    psbts = [_parse(text, session) for text in flags.psbts]
    psbt = combine_psbts(psbts)
    _show(session, psbt, read_facts(psbt, _wallet_scripts(session)))


def finalize(common: Common, flags: PsbtFlags) -> None:
    """Make the witnesses from the signatures; the result can be sent."""
    session = Session(common)
    psbt, _ = _read(session, flags.psbt)
    done = finalize_psbt(psbt)
    signed = extract(done, session.params)
    _show(session, done, read_facts(done, _wallet_scripts(session)), hex=signed.raw.hex())


def show(common: Common, flags: PsbtFlags) -> None:
    """Show what a PSBT pays, and which parts are this wallet's."""
    session = Session(common)
    psbt, facts = _read(session, flags.psbt)
    session.show(_value(psbt, facts, session), _lines(session, psbt, facts))


def broadcast(common: Common, flags: SignFlags) -> None:
    """Send a PSBT; it is finalized first if necessary.

    Lines of standard input, if it is no terminal: the PSBT if it is -, then y unless --yes.
    """
    session = Session(common)
    psbt, facts = _read(session, flags.psbt)
    signed = extract(finalize_psbt(psbt), session.params)
    _guard(psbt, facts, flags)
    if not session.json or not flags.yes:
        sys.stderr.write("".join(f"{line}\n" for line in _lines(session, psbt, facts)))
    if not flags.yes:
        confirm("Send it?", session.input)
    with session.node("nothing was sent") as esplora, session.lock():
        broadcast_transaction(session, esplora, session.folder.state(), signed)
    name = id_text(signed.txid)
    value = _value(psbt, facts, session) | {"broadcast": True, "hex": signed.raw.hex()}
    session.show(value, [name])


def _parse(text: str, session: Session) -> Psbt:
    """Return the PSBT of an argument. Raises InputError."""
    try:
        psbt = _read_psbt(text, session)
    except UnicodeDecodeError:
        raise InputError(f"{_name(text)}: not a PSBT: neither base64 nor its bytes") from None
    except PsbtError as error:
        raise InputError(f"{_name(text)}: {error}") from None
    if not psbt.inputs:
        raise InputError(f"{_name(text)}: its transaction has no inputs: there is nothing to sign")
    return psbt


def _name(text: str) -> str:
    """Return a PSBT's argument as errors name it."""
    return "standard input" if text == "-" else repr(printable(text, _SHOWN_CHARACTERS_MAX))


def _read_psbt(text: str, session: Session) -> Psbt:
    if text.strip().startswith(_BASE64_START):
        return parse_psbt(text)
    data = read_psbt(session.input) if text == "-" else _read_file(text)
    if data.startswith(PSBT_MAGIC):
        return decode_psbt(data)
    check_encoding(data)
    return parse_psbt(data.decode("utf-8-sig"))


def _read_file(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:  # the latter for a zero byte in the name
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{_name(name)}: not a PSBT in base64, nor its file: {why}") from None
    if len(data) > _FILE_BYTES_MAX:
        raise InputError(f"{_name(name)}: over {_FILE_BYTES_MAX:,} bytes, too long for a PSBT")
    return data


def _wallet_scripts(session: Session) -> WalletScripts:
    return WalletScripts(session.folder.account(), session.folder.state())


def _read(session: Session, text: str) -> tuple[Psbt, PsbtFacts]:
    own = _wallet_scripts(session)
    psbt = _parse(text, session)
    try:
        check_transaction(psbt.transaction, session.params)
    except InvalidError as error:
        raise InputError(f"the PSBT's transaction is not valid: {error.reject_reason}") from None
    return psbt, read_facts(psbt, own)


def _guard(psbt: Psbt, facts: PsbtFacts, flags: SignFlags) -> None:
    """Refuse a fee that is unknown or absurd, unless forced."""
    fee = facts.fee(psbt.transaction)
    if flags.force:
        return
    if fee is None:
        raise InputError("the PSBT lacks coins that it spends, so its fee is not known")
    if fee < 0:
        raise InputError("the PSBT pays out more than it spends")
    paid = sum(
        out.value
        for index, out in enumerate(psbt.transaction.outputs)
        if index not in facts.own_outputs
    )
    check_fee(fee, expected_feerate(psbt.transaction, fee), paid)


def _guard_signer(facts: PsbtFacts) -> None:
    """Refuse a PSBT that could make a signer lose coins unnoticed."""
    if not facts.is_own_proved:
        raise UnsafeError(
            "what this wallet's coins are worth is claimed, not proved: two such PSBTs can make a "
            "fee that none of them shows. Have the previous transactions of the coins included "
            "(--force signs it all the same)"
        )
    if facts.far_outputs:
        at = min(facts.far_outputs)
        keychain, index = facts.own_outputs[at]
        raise UnsafeError(
            f"output {at} goes to {keychain.name.lower()} address {index} of this wallet, over "
            f"{GAP_LIMIT} further than it has got: a wallet restored from its words would not find "
            "it (--force signs it all the same)"
        )


def _note_outputs(session: Session, facts: PsbtFacts) -> None:
    """Mark the wallet's addresses in a PSBT as used; warn of those beyond the gap limit.

    Spent coins are in the chain before the PSBT is: their addresses count as used, too.
    """
    now = int(time.time())
    with session.lock_for_draft():
        state = session.folder.state()
        used = dict(state.used)
        for keychain, index in facts.own_inputs.values():
            used[keychain] = max(used[keychain], index + 1)
        for keychain, index in sorted(facts.own_outputs.values()):
            if index < state.fresh(keychain) + _JUMP_MAX:  # every address up to it will be scanned
                state.hand_out(keychain, index)
            if keychain is Keychain.CHANGE and index < used[keychain] + GAP_LIMIT:
                state.hold_change(index, now)
            if index >= used[keychain] + GAP_LIMIT:
                session.note(
                    f"{keychain.name.lower()} address {index} is over {GAP_LIMIT} behind the last "
                    "one that this wallet knows to be used: a wallet restored from its words may "
                    "need `rescan` to find it"
                )
        session.save_if_possible(state)


def _lines(session: Session, psbt: Psbt, facts: PsbtFacts) -> list[str]:
    return psbt_lines(psbt.transaction, facts, session.params)


def _show(session: Session, psbt: Psbt, facts: PsbtFacts, **more: Any) -> None:  # noqa: ANN401
    session.show(_value(psbt, facts, session) | more, [psbt.text()])


def _value(psbt: Psbt, facts: PsbtFacts, session: Session) -> dict[str, Any]:
    fee = facts.fee(psbt.transaction)
    return {
        "psbt": psbt.text(),
        "txid": id_text(psbt.transaction.txid),
        "inputs": [_input_value(psbt, facts, index) for index in range(len(psbt.inputs))],
        "outputs": [
            {
                "amount": out.value,
                "address": script_address(out.script, session.params.address_prefixes),
                "script": out.script.hex(),
                "ours": index in facts.own_outputs,
                "change": facts.is_change(index),
            }
            for index, out in enumerate(psbt.transaction.outputs)
        ],
        "fee": fee,
        "unit": "grain",
        "fee_rate": None if fee is None else feerate_text(expected_feerate(psbt.transaction, fee)),
        "signatures": sum(facts.is_signed),
        "complete": all(facts.is_signed),
        "proved": facts.is_proved,
    }


def _input_value(psbt: Psbt, facts: PsbtFacts, index: int) -> dict[str, Any]:
    point, coin = psbt.transaction.inputs[index].outpoint, facts.coins[index]
    return {
        "txid": id_text(outpoint_txid(point)),
        "vout": outpoint_index(point),
        "amount": None if coin is None else coin.value,
        "ours": index in facts.own_inputs,
        "signed": facts.is_signed[index],
    }
