"""Headers kept as bytes are the sequence of headers that they encode."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.gossip.wire.messages import Headers
from chain.primitives.block import RawHeaders, encode_headers
from chain.primitives.encoding import DecodeError
from tests.primitives.strategies import headers


@given(st.lists(headers, max_size=9), st.slices(9), st.integers(-10, 10))
def test_raw_headers_are_the_same_sequence_as_the_headers(some, part, index):
    raw = RawHeaders(b"".join(header.encode() for header in some))
    assert (len(raw), list(raw), raw, hash(raw)) == (len(some), some, some, hash(tuple(some)))
    assert raw[part] == tuple(some[part])
    assert list(encode_headers(raw)) == list(encode_headers(some))
    assert Headers(raw).encode() == Headers(tuple(some)).encode()
    assert Headers.decode(Headers(raw).encode()) == Headers(raw)
    if -len(some) <= index < len(some):
        assert raw[index] == some[index]
    else:
        with pytest.raises(IndexError):
            raw[index]


@pytest.mark.parametrize("size", [1, 79, 81, 159])
def test_a_part_of_a_header_is_not_one(size):
    with pytest.raises(DecodeError, match="headers of 80 bytes each"):
        RawHeaders(bytes(size))
