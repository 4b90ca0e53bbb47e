"""Amounts and fee rates as text: exact, with their unit, and nothing taken for what it is not."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.params import MAIN
from wallet.amounts import amount_text, groat_text, parse_amount
from wallet.errors import InputError, UnsafeError
from wallet.fees import (
    FEE_MAX,
    RATE_MAX,
    FeeRate,
    check_fee,
    fee_for,
    feerate_for_target,
    feerate_text,
    parse_feerate,
)


@given(st.integers(1, MAIN.amount_max))
def test_amount_survives_its_text(grains):
    assert parse_amount(amount_text(grains), MAIN) == grains


@given(st.integers(-MAIN.amount_max, MAIN.amount_max))
def test_text_is_the_exact_decimal(grains):
    assert Decimal(amount_text(grains)) == Decimal(grains) / 10**8
    assert amount_text(grains, sign=True)[0] in "+-"


@pytest.mark.parametrize(
    ("text", "grains"),
    [
        ("1", 100_000_000),
        ("0.1", 10_000_000),
        ("0.00000001", 1),
        ("1.500000000000", 150_000_000),
        ("21000000", MAIN.amount_max),
        ("007.0", 700_000_000),
        (".5", 50_000_000),  # BIP21's ABNF: *digit [ "." *digit ]
        ("5.", 500_000_000),
        (" 1\r\n", 100_000_000),
    ],
)
def test_written_amounts(text, grains):
    assert parse_amount(text, MAIN) == grains


NO_NUMBERS = ["", ".", " ", "1. 5", "1..5", "1,5", "1e3", "-1", "+1", "1_0", "0x1", "١", "nan"]
OUT_OF_RANGE = ["0", "0.0", "0.000000001", "1.123456789", "21000000.00000001", "9" * 13]


@pytest.mark.parametrize("text", NO_NUMBERS + OUT_OF_RANGE)
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(InputError):
        parse_amount(text, MAIN)


def test_unit_is_named():
    assert groat_text(-150_000_000) == "-1.50000000 GROAT"
    assert groat_text(1, sign=True) == "+0.00000001 GROAT"
    assert feerate_text(FeeRate(1_500)) == "1.5 grain/vB"
    assert feerate_text(FeeRate(10_000)) == "10 grain/vB"


@pytest.mark.parametrize(
    ("text", "rate"), [("1", 1000), ("0.001", 1), ("2.5", 2500), ("10", 10**4)]
)
def test_written_rates(text, rate):
    assert parse_feerate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "0.000", "-1", "1e3", "1,5", "0.0001", "1" * 10])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(InputError):
        parse_feerate(text)


@pytest.mark.parametrize(
    ("weight", "rate", "fee"),
    [(4, 1000, 1), (5, 1000, 2), (561, 1000, 141), (561, 1, 1), (4, 1001, 2), (4000, 1, 1)],
)
def test_fee_is_rounded_up(weight, rate, fee):
    assert fee_for(weight, FeeRate(rate)) == fee


@pytest.mark.parametrize(
    ("target", "rate"), [(1, 9000), (2, 9000), (5, 9000), (6, 4000), (143, 4000), (1008, 1000)]
)
def test_rate_for_a_target_is_that_of_the_next_shorter_one(target, rate):
    estimates = {1: FeeRate(9000), 6: FeeRate(4000), 144: FeeRate(200)}
    assert feerate_for_target(estimates, target) == rate


def test_rate_without_a_shorter_target_or_any():
    assert feerate_for_target({6: FeeRate(4000)}, 1) == 4000
    assert feerate_for_target({}, 6) == 1000


@pytest.mark.parametrize(
    ("fee", "rate", "paid", "safe"),
    [
        (100, 1000, 1000, True),
        (101, 1000, 1000, False),
        (FEE_MAX, 1000, 10**12, True),
        (FEE_MAX + 1, 1000, 10**12, False),
        (1000, RATE_MAX, 10**12, True),
        (1000, RATE_MAX + 1, 10**12, False),
        (1000, 1000, 0, True),
    ],
)
def test_absurd_fees_are_refused(fee, rate, paid, safe):
    if safe:
        check_fee(fee, FeeRate(rate), paid)
    else:
        with pytest.raises(UnsafeError, match="--force"):
            check_fee(fee, FeeRate(rate), paid)
