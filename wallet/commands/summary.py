"""A payment's summary in plain words, for the person who confirms it."""

from collections.abc import Iterable

from chain.consensus.params import Params
from chain.primitives.address import script_address
from chain.primitives.numbers import id_text
from chain.primitives.script import operations
from chain.primitives.transaction import Transaction, TxOut
from chain.printable import printable
from wallet.amounts import groat_text
from wallet.fees import FeeRate, feerate_text
from wallet.psbt.cosign import PsbtFacts
from wallet.spend.payment import Draft, expected_feerate, expected_vsize

_RETURN = b"\x6a"


def verb_parts(*, is_sent: bool) -> tuple[str, str]:
    """Return what stands before and after the verbs of a summary: pays, or would pay."""
    return ("", "s") if is_sent else ("would ", "")


def output_line(out: TxOut, params: Params) -> str:
    """Return an output's amount and recipient, or its data."""
    if out.script.startswith(_RETURN):
        text = f"    and writes to the chain, for everyone to read: {_data_text(out.script)}"
        return text if out.value == 0 else f"{text} (and burns {groat_text(out.value)})"
    address = script_address(out.script, params.address_prefixes)
    return f"    {groat_text(out.value):>24}  to {address or f'script {out.script.hex()}'}"


def fee_line(fee: int, feerate: FeeRate, vsize: int) -> str:
    """Return the line with the fee."""
    return f"    {groat_text(fee):>24}  to the miner ({feerate_text(feerate)}, {vsize} vB)"


def payment_lines(draft: Draft, params: Params) -> list[str]:
    """Return the outputs, the fee, and the sum that leaves the wallet."""
    return [
        *output_lines(draft.payments, params),
        fee_line(draft.fee, draft.feerate, expected_vsize(draft.transaction)),
        f"{groat_text(draft.paid + draft.fee)} in total leave this wallet.",
    ]


def output_lines(outputs: Iterable[TxOut], params: Params) -> list[str]:
    """Return a line for each output."""
    return [output_line(out, params) for out in outputs]


def psbt_lines(transaction: Transaction, facts: PsbtFacts, params: Params) -> list[str]:
    """Return a PSBT's summary: inputs, outputs, change, fee, and missing signatures."""
    lines = [f"transaction {id_text(transaction.txid)} pays"]
    back = []
    for index, out in enumerate(transaction.outputs):
        if index in facts.own_outputs:
            kind = "change" if facts.is_change(index) else "an address"
            place = "verified"
            if index in facts.far_outputs:
                place = f"but number {facts.own_outputs[index][1]}: too far to be found again"
            back.append(f"{output_line(out, params)} ({kind} of this wallet, {place})")
        else:
            lines.append(output_line(out, params))
    fee = facts.fee(transaction)
    if fee is None:
        lines.append("    an unknown fee: the PSBT lacks coins that it spends")
    else:
        feerate = expected_feerate(transaction, fee)
        lines.append(fee_line(fee, feerate, expected_vsize(transaction)))
    lines += ["and gives back", *back] if back else []
    return [*lines, *_state_lines(facts)]


def _state_lines(facts: PsbtFacts) -> list[str]:
    count, own, signed = len(facts.coins), len(facts.own_inputs), sum(facts.is_signed)
    values = [coin.value for at, coin in enumerate(facts.coins) if coin and at in facts.own_inputs]
    lines = [f"It spends {own} of this wallet's coins, {groat_text(sum(values))}."]
    if own < count:
        lines.append(f"{count - own} of its {count} inputs are not this wallet's.")
    if not facts.is_proved:
        lines.append("The amounts it spends are claimed, not proved: trust its creator or refuse.")
    state = "complete" if signed == count else "not complete"
    return [*lines, f"{signed} of {count} inputs are signed: {state}."]


def _data_text(script: bytes) -> str:
    data = b"".join(pushed or b"" for _, pushed in operations(script[1:]))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    return text if text and printable(text) == text else f"0x{data.hex()}"
