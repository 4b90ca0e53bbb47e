"""Rules for transactions: their form, the coins they spend, and their time locks."""

from collections.abc import Sequence
from typing import Final

from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.params import Params
from chain.primitives.numbers import NULL_OUTPOINT, Amount, OutPoint, counted, id_text
from chain.primitives.transaction import (
    LOCK_TIME_THRESHOLD,
    SEQUENCE_FINAL,
    SEQUENCE_LOCK_IS_TIME,
    SEQUENCE_LOCK_MASK,
    SEQUENCE_LOCK_OFF,
    WITNESS_SCALE,
    Transaction,
)

BLOCK_WEIGHT_MAX: Final = 4_000_000  # BIP141
SEQUENCE_LOCK_UNIT_S: Final = 512  # BIP68
COINBASE_SCRIPT_BYTES: Final = range(2, 101)


def check_transaction(transaction: Transaction, params: Params) -> None:
    """Check a transaction's form, without any context (Bitcoin: CheckTransaction).

    Raises InvalidError: INPUTS_EMPTY, OUTPUTS_EMPTY, TX_OVERSIZE, VALUE_NEGATIVE, VALUE_TOO_LARGE,
    VALUE_SUM_TOO_LARGE, INPUTS_DUPLICATE (CVE-2018-17144), COINBASE_LENGTH, PREVOUT_NULL.
    """
    inputs = transaction.inputs
    if not inputs:
        raise InvalidError(Reason.INPUTS_EMPTY)
    if not transaction.outputs:
        raise InvalidError(Reason.OUTPUTS_EMPTY)
    if transaction.base_size * WITNESS_SCALE > BLOCK_WEIGHT_MAX:
        raise InvalidError(Reason.TX_OVERSIZE, f"{transaction.base_size} bytes without witness")
    _check_output_values(transaction, params.amount_max)
    if len(inputs) > 1:
        _check_points_differ([txin.outpoint for txin in inputs])
    elif transaction.is_coinbase and len(inputs[0].script_sig) not in COINBASE_SCRIPT_BYTES:
        raise InvalidError(Reason.COINBASE_LENGTH)


def _check_points_differ(points: list[OutPoint]) -> None:
    if len(set(points)) < len(points):
        raise InvalidError(Reason.INPUTS_DUPLICATE)
    if NULL_OUTPOINT in points:
        raise InvalidError(Reason.PREVOUT_NULL)


def _check_output_values(transaction: Transaction, amount_max: Amount) -> None:
    total = 0
    for out in transaction.outputs:
        value = out.value
        if value < 0:
            raise InvalidError(Reason.VALUE_NEGATIVE)
        if value > amount_max:
            raise InvalidError(Reason.VALUE_TOO_LARGE)
        total += value
        if total > amount_max:
            raise InvalidError(Reason.VALUE_SUM_TOO_LARGE)


def check_inputs(
    transaction: Transaction, coins: Sequence[Coin | None], height: int, params: Params
) -> Amount:
    """Check the coins that a transaction in a block at `height` spends, and return its fee.

    `coins` are the coins of its inputs in order, None for a missing one.
    Raises InvalidError: COIN_MISSING, COIN_IMMATURE, INPUT_VALUES_RANGE, OUT_EXCEEDS_IN, FEE_RANGE.
    Bitcoin: Consensus::CheckTxInputs.
    """
    if None in coins:
        point = transaction.inputs[coins.index(None)].outpoint
        raise InvalidError(Reason.COIN_MISSING, f"in {id_text(point[:32])}")
    total, amount_max = 0, params.amount_max
    for coin in coins:
        assert coin is not None, "checked above"
        value = coin.value
        if coin.from_coinbase and height - coin.height < params.coinbase_maturity_blocks:
            age = counted(height - coin.height, "block")
            raise InvalidError(Reason.COIN_IMMATURE, f"{age} old")
        total += value
        if not 0 <= value <= amount_max or total > amount_max:
            raise InvalidError(Reason.INPUT_VALUES_RANGE)
    spent = transaction.output_value
    if total < spent:
        raise InvalidError(Reason.OUT_EXCEEDS_IN, f"{total} < {spent}")
    if total - spent > amount_max:
        raise InvalidError(Reason.FEE_RANGE)
    return Amount(total - spent)


def is_final(transaction: Transaction, height: int, median_time_past: int) -> bool:
    """Return whether the lock time allows a transaction in a block at `height` (BIP113).

    `median_time_past` is that of the block before.
    """
    lock_time = transaction.lock_time
    if lock_time == 0:
        return True
    if lock_time < (height if lock_time < LOCK_TIME_THRESHOLD else median_time_past):
        return True
    return all(txin.sequence == SEQUENCE_FINAL for txin in transaction.inputs)


def check_sequence_locks(
    transaction: Transaction, coins: Sequence[Coin], parent: BlockTreeEntry
) -> None:
    """Check relative locks (BIP68) of a transaction in the block after `parent`.

    `version` is unsigned here. Raises InvalidError: NOT_FINAL. Bitcoin: SequenceLocks.
    """
    if transaction.version < 2:
        return
    for txin, coin in zip(transaction.inputs, coins, strict=True):
        sequence = txin.sequence
        if sequence & SEQUENCE_LOCK_OFF:
            continue
        length = sequence & SEQUENCE_LOCK_MASK
        if sequence & SEQUENCE_LOCK_IS_TIME:
            start = parent.ancestor(max(coin.height - 1, 0)).median_time_past
            open_now = parent.median_time_past >= start + length * SEQUENCE_LOCK_UNIT_S
        else:
            open_now = parent.height + 1 >= coin.height + length
        if not open_now:
            raise InvalidError(Reason.NOT_FINAL, "relative lock")
