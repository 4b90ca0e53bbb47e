"""The bytes of undo data: whole, and one transaction's coins without the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.coin import Coin
from chain.ledger.db.records import decode_spent, encode_spent
from chain.ledger.db.records import decode_spent_at as decode_read_at
from chain.primitives.encoding import DecodeError

BLOCK_ID = bytes(range(32))
LONG = bytes(300)  # a script whose size takes three bytes
coins = st.builds(
    Coin,
    st.integers(0, 21 * 10**14),
    st.one_of(st.binary(max_size=40), st.just(LONG)),
    st.integers(0, 2**30),
    st.booleans(),
)
spent = st.lists(st.lists(coins, max_size=4).map(tuple), max_size=8).map(tuple)


def decode_spent_at(block_id, data, index):
    """Return what transaction `index` after the coinbase spent."""

    def read(at, size):
        return data[max(at, 0) : max(at + size, 0)]

    [coins] = decode_read_at(block_id, read, [index + 1])
    return coins


@given(spent)
def test_each_transactions_coins_are_what_the_whole_has_there(whole):
    data = encode_spent(BLOCK_ID, whole)
    assert decode_spent(data) == whole
    assert tuple(decode_spent_at(BLOCK_ID, data, at) for at in range(len(whole))) == whole
    backwards = range(len(whole), -1, -1)
    assert decode_read_at(BLOCK_ID, lambda at, size: data[at : at + size], backwards) == [
        *whole[::-1],
        (),  # the coinbase's
    ]
    for outside in (-2, len(whole)):
        with pytest.raises(DecodeError):
            decode_spent_at(BLOCK_ID, data, outside)


def test_a_block_of_very_many_transactions_and_inputs_is_read_by_offset_too():
    coin = Coin(1, b"x", 2, True)
    whole = ((coin,) * 300, *((coin,) for _ in range(300)))
    data = encode_spent(BLOCK_ID, whole)
    assert decode_spent(data) == whole
    assert decode_spent_at(BLOCK_ID, data, 0) == whole[0]
    assert decode_spent_at(BLOCK_ID, data, 300) == whole[300]


@given(spent, st.data())
def test_a_flipped_bit_changes_no_transactions_coins_unseen(whole, data):
    encoded = bytearray(encode_spent(BLOCK_ID, whole))
    bit = data.draw(st.integers(0, 8 * len(encoded) - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    for at, right in enumerate(whole):
        try:
            found = decode_spent_at(BLOCK_ID, bytes(encoded), at)
        except DecodeError:
            continue
        assert found == right


def test_coins_of_another_transaction_or_block_are_refused():
    coin = Coin(1, b"x", 2, False)
    data = encode_spent(BLOCK_ID, ((coin,), (coin,)))
    with pytest.raises(DecodeError, match="checksum"):
        decode_spent_at(bytes(32), data, 0)
    swapped = data[:1] + data[13:25] + data[1:13] + data[25:]
    with pytest.raises(DecodeError, match="checksum"):
        decode_spent_at(BLOCK_ID, swapped, 0)


@given(spent, st.data())
def test_cut_bytes_are_read_or_refused(whole, data):
    encoded = encode_spent(BLOCK_ID, whole)
    cut = encoded[: data.draw(st.integers(0, len(encoded)))]
    for at, right in enumerate(whole):
        try:
            found = decode_spent_at(BLOCK_ID, cut, at)
        except DecodeError:
            continue
        assert found == right
    try:
        assert decode_spent(cut) == whole
    except DecodeError:
        assert len(cut) < len(encoded)
