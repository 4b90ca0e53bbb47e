"""Tests of ids and amounts as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.primitives.numbers import coins_text, counted, id_text, parse_id


@given(st.binary(min_size=32, max_size=32))
def test_an_id_is_read_as_it_was_printed_in_either_case(value):
    text = id_text(value)
    assert parse_id(text) == parse_id(text.upper()) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00" * 31,
        "00" * 33,
        "0" * 63,
        "0" * 65,
        "0x" + "0" * 62,
        " " + "0" * 63,
        " " + "00" * 32,
        "00" * 32 + "\n",
        "g" + "0" * 63,
        "\u0660" * 64,
    ],
)
def test_text_other_than_64_hex_digits_is_no_id(text):
    with pytest.raises(ValueError, match="64 hex digits"):
        parse_id(text)


@pytest.mark.parametrize(
    ("grains", "separator", "text"),
    [
        (0, "", "0.00000000"),
        (1, "", "0.00000001"),
        (-1, "", "-0.00000001"),
        (123_456_789_012, "", "1234.56789012"),
        (123_456_789_012, ",", "1,234.56789012"),
        (-100_000_000, ",", "-1.00000000"),
    ],
)
def test_amounts_have_all_decimals_and_their_sign(grains, separator, text):
    assert coins_text(grains, separator) == text


def test_a_number_and_its_noun_agree():
    words = [counted(*each) for each in ((0, "block"), (1, "block"), (2_000, "address"))]
    assert words == ["0 blocks", "1 block", "2,000 addresses"]
