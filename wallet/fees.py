"""Fee rates, the fee of a transaction's weight at a rate, and the limits on absurd fees."""

import re
from collections.abc import Mapping
from typing import Final, NewType

from chain.primitives.numbers import GRAINS_PER_GROAT, Amount
from chain.primitives.transaction import WITNESS_SCALE
from chain.printable import printable
from wallet.amounts import groat_text
from wallet.errors import InputError, UnsafeError

FeeRate = NewType("FeeRate", int)  # grains for 1000 virtual bytes

RATE_UNIT: Final = "grain/vB"
RATE_SCALE: Final = 1000
RATE_FLOOR: Final = FeeRate(1 * RATE_SCALE)  # the nodes' default relay floor
RATE_MAX: Final = FeeRate(1000 * RATE_SCALE)  # higher ones need --force
RATE_STEP: Final = FeeRate(5 * RATE_SCALE)  # Bitcoin: WALLET_INCREMENTAL_RELAY_FEE
FEE_MAX: Final = Amount(GRAINS_PER_GROAT // 10)  # Bitcoin: DEFAULT_TRANSACTION_MAXFEE
FEE_SHARE_MAX: Final = 10  # a fee over a tenth of the payment needs force
TARGET_DEFAULT: Final = 6
TARGET_MAX: Final = 1008
_WRITTEN: Final = re.compile(r"-?(?=\.?\d)(\d{0,9})(?:\.(\d{0,3}))?", re.ASCII)  # as an amount


def parse_feerate(text: str) -> FeeRate:
    """Return the rate of a text in grain/vB (up to 3 decimals). Raises InputError."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise InputError(
            f"not a fee rate in {RATE_UNIT}: {printable(text, 40)!r} (write it as 2 or 1.5)"
        )
    feerate = int(found[1] or 0) * RATE_SCALE + int((found[2] or "").ljust(3, "0"))
    if feerate == 0 or text.strip().startswith("-"):
        raise InputError(f"a fee rate must be more than 0: {text.strip()!r}")
    return FeeRate(feerate)


def feerate_text(feerate: FeeRate) -> str:
    """Return a rate with its unit."""
    whole, rest = divmod(feerate, RATE_SCALE)
    decimals = f".{rest:03d}".rstrip("0") if rest else ""
    return f"{whole}{decimals} {RATE_UNIT}"


def feerate_for_target(estimates: Mapping[int, FeeRate], target_blocks: int) -> FeeRate:
    """Return the rate that should confirm within the target, from a server's estimates.

    Takes the next shorter target that the server knows, or its shortest; at least the relay floor.
    """
    known = [target for target in estimates if target <= target_blocks]
    if known:
        return max(estimates[max(known)], RATE_FLOOR)
    if estimates:
        return max(estimates[min(estimates)], RATE_FLOOR)
    return RATE_FLOOR


def raised_feerate(old: FeeRate, estimate: FeeRate) -> FeeRate:
    """Return the rate to bump from `old` to: the estimate, but at least RATE_STEP more.

    Bitcoin: feebumper's EstimateFeeRate.
    """
    return max(estimate, FeeRate(old + RATE_STEP))


def fee_for(weight: int, feerate: FeeRate) -> Amount:
    """Return the fee of a transaction, rounded up: never below the rate for its virtual size."""
    vsize = -(-weight // WITNESS_SCALE)
    return Amount(-(-vsize * feerate // RATE_SCALE))


def check_fee(fee: Amount, feerate: FeeRate, paid: int) -> None:
    """Refuse a fee that is most likely a mistake; `paid` is the sum to others, 0 for data only.

    Raises UnsafeError: over FEE_MAX, over RATE_MAX, over 10 % of the payment.
    """
    if fee > FEE_MAX:
        raise UnsafeError(f"the fee is {groat_text(fee)}, more than {groat_text(FEE_MAX)}{_FORCE}")
    if feerate > RATE_MAX:
        raise UnsafeError(f"the fee rate is over {feerate_text(RATE_MAX)}{_FORCE}")
    if paid and fee * FEE_SHARE_MAX > paid:
        share = f"{100 // FEE_SHARE_MAX} %"
        raise UnsafeError(f"the fee of {groat_text(fee)} is over {share} of the payment{_FORCE}")


_FORCE: Final = " (--force pays it all the same)"
