"""Headers kept as bytes are the sequence of headers that they encode."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.gossip.wire.messages import Headers
from chain.primitives.block import RawHeaders, encode_headers
from chain.primitives.encoding import DecodeError
from tests.builders import ChainBuilder
from tests.primitives.strategies import headers


@given(st.lists(headers, max_size=9), st.slices(9), st.integers(-10, 10))
def test_raw_headers_are_the_same_sequence_as_the_headers(some, part, index):
    raw = RawHeaders(b"".join(header.encode() for header in some))
    assert (len(raw), list(raw), raw, hash(raw)) == (len(some), some, some, hash(tuple(some)))
    assert raw[part] == tuple(some[part])
    assert list(raw[part].ids) == [header.id for header in some[part]]
    assert list(raw.ids) == [header.id for header in some]
    assert list(raw[part].ids) == [header.id for header in some[part]]  # cut from known ones
    assert list(raw.previous) == [header.previous for header in some]
    assert list(raw.columns()) == [(header.version, header.time, header.bits) for header in some]
    assert raw.then(raw[part]) == [*some, *some[part]]
    assert list(raw.then(raw[part]).ids) == [header.id for header in [*some, *some[part]]]
    assert RawHeaders.of(some) == RawHeaders.of(tuple(raw)) == raw is RawHeaders.of(raw)
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


def test_headers_are_a_chain_if_each_is_the_child_of_the_one_before():
    chain = [block.header for block in ChainBuilder().grow(4)]
    assert RawHeaders.of(chain).is_chain
    assert RawHeaders.of(chain[:1]).is_chain
    assert RawHeaders(b"").is_chain
    for wrong in (chain[::-1], [chain[0], *chain], chain[:1] + chain[2:]):
        assert not RawHeaders.of(wrong).is_chain
