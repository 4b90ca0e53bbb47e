"""The bytes of undo data: whole, and a part of it without the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.coin import Coin
from chain.ledger.db.records import decode_spent, decode_spent_slice, encode_spent
from chain.primitives.encoding import DecodeError

LONG = bytes(300)  # a script whose size takes three bytes
coins = st.builds(
    Coin,
    st.integers(0, 21 * 10**14),
    st.one_of(st.binary(max_size=40), st.just(LONG)),
    st.integers(0, 2**30),
    st.booleans(),
)
spent = st.lists(st.lists(coins, max_size=4).map(tuple), max_size=8).map(tuple)


@given(spent, st.integers(0, 10), st.integers(0, 10))
def test_a_part_is_what_the_whole_has_there(whole, start, count):
    data = encode_spent(whole)
    assert decode_spent(data) == whole
    assert decode_spent_slice(data, start, count) == whole[start : start + count]


def test_a_transaction_with_very_many_inputs_is_skipped_too():
    coin = Coin(1, b"x", 2, True)
    whole = ((coin,) * 300, (coin,))
    assert decode_spent_slice(encode_spent(whole), 1, 1) == whole[1:]


@given(spent, st.integers(0, 10), st.integers(0, 10), st.data())
def test_cut_bytes_are_read_or_refused(whole, start, count, data):
    encoded = encode_spent(whole)
    cut = encoded[: data.draw(st.integers(0, len(encoded)))]
    try:
        found = decode_spent_slice(cut, start, count)
    except DecodeError:
        return
    assert found == whole[start : start + count]


def test_truncated_bytes_are_refused():
    coin = Coin(1, b"x", 2, False)
    data = encode_spent(((coin,), (coin,)))
    with pytest.raises(DecodeError):
        decode_spent_slice(data[:-14], 1, 1)
