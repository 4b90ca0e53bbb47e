"""Compact sizes (Bitcoin: ReadCompactSize), and hex."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.primitives.encoding import (
    COUNT_MAX,
    DecodeError,
    compact_size,
    parse_hex,
    read_compact_size,
    read_sized,
    with_size,
)


@given(st.integers(0, COUNT_MAX))
def test_a_compact_size_reads_back(value):
    encoded = compact_size(value)
    assert read_compact_size(b"x" + encoded + b"y", 1) == (value, 1 + len(encoded))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0xFC, "fc"),
        (0xFD, "fdfd00"),
        (0xFFFF, "fdffff"),
        (0x10000, "fe00000100"),
        (0xFFFFFFFF, "feffffffff"),
        (0x100000000, "ff0000000001000000"),
    ],
)
def test_a_compact_size_is_the_shortest(value, encoded):
    assert compact_size(value).hex() == encoded


@pytest.mark.parametrize(
    "encoded", ["fdfc00", "feffff0000", "ffffffffff00000000", "fd0000", "fe00000000"]
)
def test_a_size_longer_than_need_be_is_refused(encoded):
    with pytest.raises(DecodeError, match="non-canonical"):
        read_compact_size(bytes.fromhex(encoded), 0)


@pytest.mark.parametrize(("value", "accepted"), [(COUNT_MAX, True), (COUNT_MAX + 1, False)])
def test_sizes_have_a_limit(value, accepted):
    if accepted:
        assert read_compact_size(compact_size(value), 0)[0] == value
    else:
        with pytest.raises(DecodeError, match="too large"):
            read_compact_size(compact_size(value), 0)


@pytest.mark.parametrize("encoded", ["", "fd", "fd00", "fe000000", "ff00000000000000"])
def test_a_truncated_size_is_refused(encoded):
    with pytest.raises(DecodeError, match="truncated"):
        read_compact_size(bytes.fromhex(encoded), 0)


def test_sized_bytes_cut_short_are_refused():
    assert read_sized(with_size(b"abc"), 0) == (b"abc", 4)
    with pytest.raises(DecodeError, match="3 bytes wanted, 2 left"):
        read_sized(with_size(b"abc")[:-1], 0)


@given(st.binary())
def test_hex_is_read_in_either_case(data):
    assert parse_hex(data.hex()) == parse_hex(data.hex().upper()) == data


@pytest.mark.parametrize(
    "text", ["0", "000", "0g", " 00", "00 ", "00 00", "00\n", "0x00", "\u0660\u0660"]
)
def test_text_other_than_pairs_of_hex_digits_is_no_hex(text):
    with pytest.raises(DecodeError, match="hex digits"):
        parse_hex(text)
