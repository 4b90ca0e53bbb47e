"""Rules for single transactions."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.coin import Coin
from chain.consensus.errors import Reason
from chain.consensus.params import REGTEST
from chain.consensus.transaction import (
    check_inputs,
    check_sequence_locks,
    check_transaction,
    is_final,
)
from chain.primitives.numbers import NULL_OUTPOINT, OutPoint
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.builders import pay
from tests.consensus.checks import refused
from tests.consensus.test_headers import GENESIS, LONG, line

MAX = REGTEST.amount_max
A, B = OutPoint(b"a" * 36), OutPoint(b"b" * 36)


def tx(inputs=(A,), outputs=(1000,), version=2, sequence=0xFFFFFFFF, lock_time=0) -> Transaction:
    outs = [out if isinstance(out, TxOut) else pay(out) for out in outputs]
    return Transaction(
        version, [TxIn(point, sequence=sequence) for point in inputs], outs, lock_time
    )


def coin(value=5000, height=1, from_coinbase=False) -> Coin:
    return Coin(value, b"", height, from_coinbase)


def test_a_transaction_needs_inputs():
    with refused(Reason.INPUTS_EMPTY):
        check_transaction(tx(inputs=()), REGTEST)


def test_a_transaction_needs_outputs():
    with refused(Reason.OUTPUTS_EMPTY):
        check_transaction(tx(outputs=()), REGTEST)


@pytest.mark.parametrize(("base_size", "accepted"), [(1_000_000, True), (1_000_001, False)])
def test_a_transaction_without_witness_fits_a_quarter_of_the_weight(base_size, accepted):
    empty = tx(outputs=[TxOut(0, b"")]).base_size
    big = tx(outputs=[TxOut(0, bytes(base_size - empty - 4))])
    assert big.base_size == base_size
    if accepted:
        check_transaction(big, REGTEST)
    else:
        with refused(Reason.TX_OVERSIZE):
            check_transaction(big, REGTEST)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([0], None),
        ([-1], Reason.VALUE_NEGATIVE),
        ([MAX], None),
        ([MAX + 1], Reason.VALUE_TOO_LARGE),
        ([MAX, 0], None),
        ([MAX, 1], Reason.VALUE_SUM_TOO_LARGE),
        ([2**63 - 1, 2**63 - 1], Reason.VALUE_TOO_LARGE),  # CVE-2010-5139
        ([-(2**63)], Reason.VALUE_NEGATIVE),
    ],
)
def test_output_values_stay_in_range_singly_and_summed(values, reason):
    if reason is None:
        check_transaction(tx(outputs=values), REGTEST)
    else:
        with refused(reason):
            check_transaction(tx(outputs=values), REGTEST)


def test_no_coin_is_taken_twice():
    check_transaction(tx(inputs=(A, B)), REGTEST)
    with refused(Reason.INPUTS_DUPLICATE):  # CVE-2018-17144
        check_transaction(tx(inputs=(A, B, A)), REGTEST)


@pytest.mark.parametrize(("size", "accepted"), [(1, False), (2, True), (100, True), (101, False)])
def test_a_coinbase_script_has_2_to_100_bytes(size, accepted):
    first = Transaction(1, [TxIn(NULL_OUTPOINT, bytes(size))], [pay(1)])
    if accepted:
        check_transaction(first, REGTEST)
    else:
        with refused(Reason.COINBASE_LENGTH):
            check_transaction(first, REGTEST)


def test_only_a_coinbase_spends_the_null_outpoint():
    with refused(Reason.PREVOUT_NULL):
        check_transaction(tx(inputs=(A, NULL_OUTPOINT)), REGTEST)


def test_the_fee_is_what_inputs_bring_over_outputs():
    assert check_inputs(tx(outputs=[1000, 500]), [coin(5000)], 10, REGTEST) == 3500
    assert check_inputs(tx(outputs=[5000]), [coin(5000)], 10, REGTEST) == 0


def test_a_missing_coin_is_refused():
    with refused(Reason.COIN_MISSING):
        check_inputs(tx(inputs=(A, B)), [coin(), None], 10, REGTEST)


@pytest.mark.parametrize(("age_blocks", "accepted"), [(99, False), (100, True)])
def test_a_coinbase_coin_spends_only_at_maturity(age_blocks, accepted):
    mined = coin(height=7, from_coinbase=True)
    if accepted:
        check_inputs(tx(), [mined], 7 + age_blocks, REGTEST)
    else:
        with refused(Reason.COIN_IMMATURE, "99 blocks old"):
            check_inputs(tx(), [mined], 7 + age_blocks, REGTEST)


def test_other_coins_spend_at_once():
    check_inputs(tx(), [coin(height=7)], 7, REGTEST)


@pytest.mark.parametrize(("second", "accepted"), [(0, True), (1, False)])
def test_input_values_stay_in_range_summed(second, accepted):
    if accepted:
        check_inputs(tx(inputs=(A, B)), [coin(MAX), coin(second)], 10, REGTEST)
    else:
        with refused(Reason.INPUT_VALUES_RANGE):
            check_inputs(tx(inputs=(A, B)), [coin(MAX), coin(second)], 10, REGTEST)


@pytest.mark.parametrize(("paid", "accepted"), [(5000, True), (5001, False)])
def test_outputs_never_exceed_inputs(paid, accepted):
    if accepted:
        check_inputs(tx(outputs=[paid]), [coin(5000)], 10, REGTEST)
    else:
        with refused(Reason.OUT_EXCEEDS_IN):
            check_inputs(tx(outputs=[paid]), [coin(5000)], 10, REGTEST)


@pytest.mark.parametrize(
    ("lock_time", "final"),
    [
        (0, True),
        (9, True),
        (10, False),
        (499_999_999, False),
        (500_000_000, True),
        (999_999_999, True),
        (1_000_000_000, False),
    ],
)
def test_a_lock_time_is_a_height_below_500_million_and_a_time_from_there(lock_time, final):
    locked = tx(lock_time=lock_time, sequence=0)
    assert is_final(locked, 10, 1_000_000_000) is final


def test_final_sequences_switch_the_lock_time_off():
    assert is_final(tx(lock_time=499_999_999), 10, 0)
    mixed = Transaction(2, [TxIn(A), TxIn(B, sequence=0xFFFFFFFE)], [pay(1)], 499_999_999)
    assert not is_final(mixed, 10, 0)


PARENT = LONG[50]  # the next block has height 51


@pytest.mark.parametrize(
    ("blocks", "accepted"), [(11, True), (12, False), (0, True), (0xFFFF, False)]
)
def test_a_relative_lock_counts_blocks_from_the_coin(blocks, accepted):
    locked = tx(sequence=blocks)
    if accepted:
        check_sequence_locks(locked, [coin(height=40)], PARENT)
    else:
        with refused(Reason.NOT_FINAL):
            check_sequence_locks(locked, [coin(height=40)], PARENT)


@pytest.mark.parametrize(("over_s", "accepted"), [(-1, False), (0, True)])
def test_a_relative_lock_counts_512_seconds_from_the_median_before_the_coin(over_s, accepted):
    start = LONG[39].median_time_past
    times = [start + 3 * 512 + over_s] * 6
    parent = line(LONG[50], times)
    assert parent.median_time_past == start + 3 * 512 + over_s
    locked = tx(sequence=(1 << 22) | 3)
    if accepted:
        check_sequence_locks(locked, [coin(height=40)], parent)
    else:
        with refused(Reason.NOT_FINAL):
            check_sequence_locks(locked, [coin(height=40)], parent)


def test_a_coin_of_genesis_height_counts_from_genesis():
    check_sequence_locks(tx(sequence=1 << 22), [coin(height=0)], GENESIS)


@pytest.mark.parametrize(
    ("version", "locked"), [(0, False), (1, False), (2, True), (2**31, True), (2**32 - 1, True)]
)
def test_versions_from_two_as_unsigned_have_relative_locks(version, locked):
    late = tx(version=version, sequence=0xFFFF)
    if locked:
        with refused(Reason.NOT_FINAL):
            check_sequence_locks(late, [coin(height=40)], PARENT)
    else:
        check_sequence_locks(late, [coin(height=40)], PARENT)


@given(st.integers(1 << 31, (1 << 32) - 1))
def test_the_top_bit_of_a_sequence_switches_its_lock_off(sequence):
    check_sequence_locks(tx(sequence=sequence), [coin(height=40)], PARENT)


def test_bits_between_length_and_type_mean_nothing():
    check_sequence_locks(tx(sequence=(0x3F << 16) | 11), [coin(height=40)], PARENT)
    with refused(Reason.NOT_FINAL):
        check_sequence_locks(tx(sequence=(0x3F << 16) | 12), [coin(height=40)], PARENT)


def test_the_fee_itself_stays_in_range():
    rich = replace(REGTEST, amount_max=1000)
    assert check_inputs(tx(outputs=[0]), [coin(1000)], 10, rich) == 1000
