"""What a payment does, in plain words, for the person who is to agree to it."""

from collections.abc import Iterable

from chain.consensus.params import Params
from chain.primitives.address import script_address
from chain.primitives.script import operations
from chain.primitives.transaction import TxOut
from wallet.amounts import groat_text
from wallet.fees import FeeRate, rate_text
from wallet.payment import Draft, expected_vsize
from wallet.view import printable

_RETURN = b"\x6a"


def output_line(out: TxOut, params: Params) -> str:
    """Return whom an output pays how much, or what it writes."""
    if out.script.startswith(_RETURN):
        text = f"    and writes into the chain, for everyone to read: {_data_text(out.script)}"
        return text if out.value == 0 else f"{text} (and burns {groat_text(out.value)})"
    address = script_address(out.script, params.bech32_prefix)
    return f"    {groat_text(out.value):>24}  to {address or f'script {out.script.hex()}'}"


def fee_line(fee: int, rate: FeeRate, vsize: int) -> str:
    """Return what the miner gets."""
    return f"    {groat_text(fee):>24}  to the miner ({rate_text(rate)}, {vsize} vB)"


def payment_lines(draft: Draft, params: Params) -> list[str]:
    """Return the outputs, the fee and the sum of what leaves the wallet."""
    return [
        *output_lines(draft.payments, params),
        fee_line(draft.fee, draft.rate, expected_vsize(draft)),
        f"{groat_text(draft.paid + draft.fee)} in all leave this wallet.",
    ]


def output_lines(outputs: Iterable[TxOut], params: Params) -> list[str]:
    """Return a line for each output."""
    return [output_line(out, params) for out in outputs]


def _data_text(script: bytes) -> str:
    data = b"".join(pushed or b"" for _, pushed in operations(script[1:]))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    return text if text and printable(text) == text else f"0x{data.hex()}"
