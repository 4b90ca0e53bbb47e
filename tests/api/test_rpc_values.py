"""JSON-RPC: numbers, amounts and ranges in all their written forms."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.primitives.numbers import GRAINS_PER_GROAT
from chain.service.api.exact_json import fixed_point
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.values import amount_argument, plain_json, range_argument, rate_argument
from chain.service.api.strict_json import Number, read_json

COIN = GRAINS_PER_GROAT
FIXED_POINTS = [
    ("0", 0), ("1", COIN), ("0.0", 0), ("-0.1", -COIN // 10), ("1.1", COIN * 11 // 10), ("-0", 0),
    ("1.10000000000000000", COIN * 11 // 10), ("1.1e1", COIN * 11), ("1100e-1", COIN * 110),
    ("1e-8", 1), ("1E-8", 1), ("1e+2", COIN * 100), ("0.10", COIN // 10),
    ("0.10000000000", COIN // 10), ("0.00000001", 1), ("0.00000001000000", 1), ("1e-008", 1),
    ("0.00000000000000000000000000000", 0), ("0e-8", 0), ("100e-10", 1),
    ("0.000000010e0", 1), ("9999999999.99999999", 10**18 - 1), ("-9999999999.99999999", 1 - 10**18),
    ("0.0000000000000000000000000001e20", 1), ("0." + "0" * 5000, 0),
]  # fmt: skip
NO_FIXED_POINTS = [
    "", "-", "a", "a-1", ".1", "5.", "-.1", "+1", " 1", "1 ", "1\n", "01", "00", "--1", "1.",
    "1.-1", "1e", "1e+", "1e-", "1.1e", "1.1e-", "0x1", "1,5", "1_0", "٣", "NaN", "Infinity",
    "1.1.1", "0.000000001", "0.1e-8", "1e-9", "1.1e-8", "10000000000", "1e10",
    "10000000000.00000000", "999999999999999999", "1e99999999999999999999",
    "1e-99999999999999999999", "9" * 5000, "0e10", "0e-9", "1" + "0" * 5000,
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), FIXED_POINTS)
def test_a_decimal_number_times_ten_to_the_eighth(text, value):
    assert fixed_point(text) == value


@pytest.mark.parametrize("text", NO_FIXED_POINTS)
def test_what_is_no_decimal_number_of_eight_decimals(text):
    assert fixed_point(text) is None


@given(
    st.decimals(-10_000_000_000, 10_000_000_000, places=8).filter(bool),
    st.integers(-9, 9),
    st.booleans(),
)
def test_any_eight_decimals_with_any_exponent_are_exact(number, exponent, is_long):
    grains = int(number * COIN)
    text = format(number.scaleb(-exponent), "f")
    text += "0" * 30 if is_long and "." in text else ""
    assert fixed_point(f"{text}e{exponent}") == (grains if abs(grains) < 10**18 else None)


@given(st.text("0123456789.eE+-", max_size=30))
def test_any_text_is_what_a_decimal_says_or_nothing(text):
    value = fixed_point(text)
    assert value is None or value == Decimal(text) * COIN


@pytest.mark.parametrize("text", [text for text, value in FIXED_POINTS if 0 <= value <= COIN])
def test_an_amount_is_the_same_as_a_number_and_as_text(text):
    wanted = fixed_point(text)
    assert amount_argument(text) == amount_argument(Number(text)) == wanted
    assert amount_argument(plain_json(Number(text))) == wanted


AMOUNT_ERRORS = [
    (None, "Amount is not a number or string"),
    (True, "Amount is not a number or string"),
    ([], "Amount is not a number or string"),
    ({}, "Amount is not a number or string"),
    ("0.000000001", "Invalid amount"),
    (Number("1e-9"), "Invalid amount"),
    (Number("1e99999999999999999999"), "Invalid amount"),
    ("-0.00000001", "Amount out of range"),
    (Number("-1"), "Amount out of range"),
    ("21000000.00000001", "Amount out of range"),
]


@pytest.mark.parametrize(("value", "text"), AMOUNT_ERRORS)
def test_what_is_no_amount_is_told_in_core_s_words(value, text):
    for read in (amount_argument, rate_argument):
        with pytest.raises(RpcError) as caught:
            read(value)
        assert (caught.value.code, caught.value.message) == (-3, text)


def test_a_fee_rate_is_below_one_coin():
    assert amount_argument("21000000") == 21_000_000 * COIN
    assert rate_argument("0.99999999") == COIN - 1
    for value in ("1", Number("1.0"), Number("21000000")):
        with pytest.raises(RpcError, match="larger than or equal to 1 groat/kvB") as caught:
            rate_argument(value)
        assert caught.value.code == -8


RANGES = [
    ("0", (0, 0)), ("5", (0, 5)), ("[3,5]", (3, 5)), ("[5,5]", (5, 5)), ("999999", (0, 999_999)),
    ("[2147483647,2147483647]", (2**31 - 1, 2**31 - 1)),
]  # fmt: skip
RANGE_ERRORS = [
    ('"5"', -8, "Range must be specified as end or as [begin,end]"),
    ("[]", -8, "Range must be specified as end or as [begin,end]"),
    ("[1,2,3]", -8, "Range must be specified as end or as [begin,end]"),
    ('[1,"2"]', -8, "Range must be specified as end or as [begin,end]"),
    ("[5,3]", -8, "Range specified as [begin,end] must not have begin after end"),
    ("-1", -8, "Range specified as [begin,end] must not have begin after end"),
    ("[-1,3]", -8, "Range should be greater or equal than 0"),
    ("[2147483647,2147483648]", -8, "End of range is too high"),
    ("1000000", -8, "Range is too large"),
    ("1.5", -1, "JSON integer out of range"),
    ("[0,1e9999999999]", -1, "JSON integer out of range"),
]


@pytest.mark.parametrize(("text", "ends"), RANGES)
def test_a_range_of_a_descriptor(text, ends):
    assert range_argument(read_json(text.encode())) == ends
    assert range_argument(json.loads(text)) == ends


@pytest.mark.parametrize(("text", "code", "message"), RANGE_ERRORS)
def test_what_is_no_range_is_told_in_core_s_words(text, code, message):
    with pytest.raises(RpcError) as caught:
        range_argument(read_json(text.encode()))
    assert (caught.value.code, caught.value.message) == (code, message)
