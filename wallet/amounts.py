"""Amounts as people write them: GROAT with up to 8 decimals, exactly, never through a float."""

import re
from typing import Final

from chain.consensus.params import Params
from chain.primitives.numbers import GRAINS_PER_GROAT, Amount, coins_text
from chain.printable import printable
from wallet.errors import InputError

UNIT: Final = "GROAT"
_DECIMALS: Final = 8
_WRITTEN: Final = re.compile(
    r"-?(?=\.?\d)(\d{0,30})(?:\.(\d{0,20}))?", re.ASCII
)  # BIP21: .5 and 5.

assert GRAINS_PER_GROAT == 10**_DECIMALS, "the decimals are those of the base unit"


def parse_amount(text: str, params: Params) -> Amount:
    """Return a positive amount in GROAT as grains.

    Raises InputError: not a plain decimal number, finer than a grain, zero, more than can exist.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise InputError(f"not an amount in {UNIT}: {printable(text, 40)!r} (write it as 1.25)")
    decimals = (found[2] or "").rstrip("0")
    if len(decimals) > _DECIMALS:
        raise InputError(f"amount {text} is finer than {_DECIMALS} decimals")
    grains = int(found[1] or 0) * GRAINS_PER_GROAT + int(decimals.ljust(_DECIMALS, "0"))
    if grains == 0 or text.strip().startswith("-"):
        raise InputError(f"an amount must be more than 0: {text.strip()!r}")
    if grains > params.amount_max:
        raise InputError(f"amount {text} {UNIT} is more than can ever exist")
    return Amount(grains)


def amount_text(grains: int, *, sign: bool = False) -> str:
    """Return grains as GROAT with 8 decimals and no unit; with `sign`, also a plus sign."""
    return f"{'+' if sign and grains >= 0 else ''}{coins_text(grains)}"


def groat_text(grains: int, *, sign: bool = False) -> str:
    """Return grains as GROAT, with the unit."""
    return f"{amount_text(grains, sign=sign)} {UNIT}"
