"""Coin selection: an exact match without change if possible, else a random draw.

Everything is computed in the weight that the signed transaction will have, so the fee is known
before any key is used.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from chain.primitives.encoding import compact_size
from chain.primitives.numbers import Amount
from chain.primitives.transaction import WITNESS_SCALE, TxOut
from wallet.amounts import groat_text
from wallet.errors import FundsError
from wallet.fees import RATE_SCALE, FeeRate, fee_for

DUST: Final = Amount(294)  # Bitcoin: GetDustThreshold of a P2WPKH output; less is not relayed
INPUTS_MAX: Final = 1_400  # keeps a transaction within the 400,000 weight units that are relayed
LONG_TERM_RATE: Final = FeeRate(10 * RATE_SCALE)  # Bitcoin: DEFAULT_CONSOLIDATE_FEERATE
_INPUT_BASE_BYTES: Final = 41  # outpoint, empty script, sequence
_WITNESS_BYTES: Final = 107  # count, 71 bytes of low-R signature, 33 of key, their lengths
INPUT_WEIGHT: Final = _INPUT_BASE_BYTES * WITNESS_SCALE + _WITNESS_BYTES
_CHANGE_BYTES: Final = 31  # a P2WPKH output
_FRAME_BYTES: Final = 8  # version and lock time
_MARKER_WEIGHT: Final = 2
_ROUNDING_WEIGHT: Final = WITNESS_SCALE - 1  # a virtual size is rounded up
_EXACT_TRIES_MAX: Final = 100_000  # Bitcoin: TOTAL_TRIES
_CHANGE_AIM: Final = Amount(50_000)  # Bitcoin: CHANGE_LOWER; change that is worth having
_SCALE: Final = WITNESS_SCALE * RATE_SCALE  # a weight unit at a rate of 1 costs 1/_SCALE grain


@dataclass(frozen=True, slots=True)
class Goal:
    """The sum that the coins have to pay: outputs and fee."""

    paid: Amount  # all outputs except change
    outputs_bytes: int  # their encoding
    outputs_count: int
    feerate: FeeRate

    def fee(self, inputs: int, *, change: bool) -> Amount:
        """Return the fee of `inputs` inputs at exactly the rate."""
        return fee_for(self.weight(inputs, change=change), self.feerate)

    def weight(self, inputs: int, *, change: bool) -> int:
        """Return the signed transaction's weight; signatures may come out a few bytes shorter."""
        counts = len(compact_size(inputs)) + len(compact_size(self.outputs_count + change))
        outputs_bytes = self.outputs_bytes + (_CHANGE_BYTES if change else 0)
        base = (_FRAME_BYTES + counts + outputs_bytes) * WITNESS_SCALE
        return base + _MARKER_WEIGHT + inputs * INPUT_WEIGHT

    def change(self, total: int, inputs: int) -> int:
        """Return the change of `inputs` worth `total`; negative if they do not suffice."""
        return total - self.paid - self.fee(inputs, change=True)

    def suffices(self, total: int, inputs: int) -> bool:
        """Return whether `inputs` worth `total` pay for everything, if necessary without change."""
        return total >= self.paid + self.fee(inputs, change=False)


def goal_for(outputs: Sequence[TxOut], feerate: FeeRate) -> Goal:
    """Return the goal of paying these outputs."""
    paid = Amount(sum(out.value for out in outputs))
    return Goal(paid, sum(len(out.encode()) for out in outputs), len(outputs), feerate)


def is_worth_spending(value: int, feerate: FeeRate) -> bool:
    """Return whether a coin is worth more than its own input costs."""
    return value * _SCALE > INPUT_WEIGHT * feerate


def select(values: Sequence[int], goal: Goal, random: Random) -> list[int]:
    """Return which coins (indices into `values`) to spend, in an order that reveals nothing.

    An exact match is preferred; else the less wasteful of a random draw and largest-first.
    Raises FundsError: not enough, or only with too many inputs.
    """
    usable = [index for index, value in enumerate(values) if is_worth_spending(value, goal.feerate)]
    exact = _exact_match(values, usable, goal)
    if exact is not None:
        random.shuffle(exact)
        return exact
    drawn = usable.copy()
    random.shuffle(drawn)
    largest = sorted(drawn, key=lambda index: values[index], reverse=True)
    found = [
        candidate
        for candidate in (_take_until_enough(values, order, goal) for order in (drawn, largest))
        if candidate is not None and len(candidate) <= INPUTS_MAX
    ]
    if not found:
        raise _not_enough(values, usable, goal)
    best = min(found, key=lambda candidate: waste(values, candidate, goal))
    random.shuffle(best)
    return best


def waste(values: Sequence[int], chosen: Sequence[int], goal: Goal) -> int:
    """Return a selection's waste in 1/_SCALE grains; may be negative.

    That is the cost of spending now instead of at the long-term rate, plus either the cost of
    making and spending change, or the excess added to the fee (Bitcoin: GetSelectionWaste).
    """
    total = sum(values[index] for index in chosen)
    timing = len(chosen) * INPUT_WEIGHT * (goal.feerate - LONG_TERM_RATE)
    if goal.change(total, len(chosen)) >= DUST:
        change_cost = _CHANGE_BYTES * WITNESS_SCALE * goal.feerate + INPUT_WEIGHT * LONG_TERM_RATE
        return timing + change_cost
    excess = total - goal.paid - goal.fee(len(chosen), change=False)
    return timing + excess * _SCALE


def _take_until_enough(values: Sequence[int], order: Sequence[int], goal: Goal) -> list[int] | None:
    """Return the first coins of `order` that leave worthwhile change, else that suffice."""
    total = 0
    sufficing = None
    for count, index in enumerate(order, 1):
        total += values[index]
        if goal.change(total, count) >= _CHANGE_AIM:
            return list(order[:count])
        if sufficing is None and goal.suffices(total, count):
            sufficing = count
    return None if sufficing is None else list(order[:sufficing])


def _exact_match(values: Sequence[int], usable: Iterable[int], goal: Goal) -> list[int] | None:
    """Return the least wasteful coins that pay for all and leave only dust, or None.

    A depth-first search that includes or omits each coin, largest first, and leaves a branch as
    soon as it exceeds the window or cannot reach it (Murch 2016, branch and bound).
    """
    worth = {index: values[index] * _SCALE - INPUT_WEIGHT * goal.feerate for index in usable}
    order = sorted(worth, key=lambda index: worth[index], reverse=True)
    low = goal.paid * _SCALE + (goal.weight(0, change=False) + _ROUNDING_WEIGHT) * goal.feerate
    high = low + _CHANGE_BYTES * WITNESS_SCALE * goal.feerate + (DUST - 1) * _SCALE
    best = _search([worth[index] for index in order], (low, high), goal.feerate)
    if best is None:
        return None
    chosen = [order[at] for at in best]
    total = sum(values[index] for index in chosen)
    fits = goal.suffices(total, len(chosen)) and goal.change(total, len(chosen)) < DUST
    return chosen if fits and len(chosen) <= INPUTS_MAX else None


_Chain = tuple[int, "_Chain"] | None  # the places chosen so far, last first


def _search(worth: Sequence[int], window: tuple[int, int], feerate: FeeRate) -> list[int] | None:
    """Return places in `worth` (descending) whose sum is in the window, with the least waste."""
    low, high = window
    left = [0] * (len(worth) + 1)  # the sum of all coins from each place on
    smaller = [len(worth)] * len(worth)  # the place of the next smaller coin
    for at in range(len(worth) - 1, -1, -1):
        left[at] = left[at + 1] + worth[at]
        if at + 1 < len(worth):
            smaller[at] = smaller[at + 1] if worth[at + 1] == worth[at] else at + 1
    timing = INPUT_WEIGHT * (feerate - LONG_TERM_RATE)
    best: tuple[int, list[int]] | None = None
    open_branches: list[tuple[int, int, _Chain]] = [(0, 0, None)]
    for _ in range(_EXACT_TRIES_MAX):
        if not open_branches:
            break
        at, total, taken = open_branches.pop()
        if low <= total <= high:
            chosen = _places(taken)
            cost = len(chosen) * timing + total - low
            if best is None or cost < best[0]:
                best = cost, chosen
        elif total < low <= total + left[at]:
            # without this coin, an equal one would give the same sums again
            open_branches.append((smaller[at], total, taken))
            open_branches.append((at + 1, total + worth[at], (at, taken)))
    return best[1] if best else None


def _places(taken: _Chain) -> list[int]:
    places = []
    while taken is not None:
        at, taken = taken
        places.append(at)
    return places


def _not_enough(values: Sequence[int], usable: Sequence[int], goal: Goal) -> FundsError:
    total = sum(values[index] for index in usable)
    if goal.suffices(total, len(usable)) and usable:
        return FundsError(f"this needs over {INPUTS_MAX} coins: pay it in several transactions")
    fee = goal.fee(max(len(usable), 1), change=False)
    return FundsError(
        f"not enough: {groat_text(goal.paid)} and a fee of about {groat_text(fee)} are needed, "
        f"{groat_text(total)} can be spent now"
    )
