"""mempool.dat: what is written is read back; what is damaged is refused, whatever the damage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.params import DEVNET, REGTEST, network_identity
from chain.node.deltas import DELTA_MAX, DELTA_MIN, DELTAS_MAX
from chain.node.entry import PoolEntry
from chain.node.pool_file import (
    FILE_BYTES_MAX,
    SavedPool,
    WrongPoolNetworkError,
    decode_pool,
    encode_pool,
)
from chain.primitives.encoding import DecodeError
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Hash32
from tests.node.world import NOW, World, output, send

IDENTITY = network_identity(REGTEST)


def pooled() -> list[PoolEntry]:
    world = World()
    parent = world.submit(send([world.fund()], 1000))
    world.now += 7
    world.submit(send([output(parent.transaction)], 1000))
    return world.mempool.pool.entries()


ENTRIES = pooled()
DATA = encode_pool(ENTRIES, IDENTITY, {})
DELTAS = {Hash32(bytes([1]) * 32): DELTA_MIN, Hash32(bytes([2]) * 32): DELTA_MAX}
WITH_DELTAS = encode_pool(ENTRIES, IDENTITY, DELTAS)


def test_transactions_and_times_are_read_back_in_order():
    saved = decode_pool(DATA, {IDENTITY}).transactions
    assert [(s.transaction, s.time) for s in saved] == [(e.transaction, e.time) for e in ENTRIES]
    assert [s.time for s in saved] == [NOW, NOW + 7]
    assert decode_pool(encode_pool([], IDENTITY, {}), {IDENTITY}) == SavedPool([], {})


def test_deltas_are_read_back_and_only_they_need_the_later_version():
    saved = decode_pool(WITH_DELTAS, {IDENTITY})
    assert saved.transactions == decode_pool(DATA, {IDENTITY}).transactions
    assert saved.deltas == DELTAS
    assert (DATA[8], WITH_DELTAS[8]) == (1, 2)


@pytest.mark.parametrize("count", [DELTAS_MAX, DELTAS_MAX + 1])
def test_more_deltas_than_the_table_holds_are_refused(count):
    deltas = {Hash32(number.to_bytes(32, "little")): 1 for number in range(count)}
    data = encode_pool([], IDENTITY, deltas)
    if count <= DELTAS_MAX:
        assert len(decode_pool(data, {IDENTITY}).deltas) == count
    else:
        with pytest.raises(DecodeError, match="10001 fee deltas"):
            decode_pool(data, {IDENTITY})


@given(st.integers(0, len(WITH_DELTAS) - 33))
def test_any_cut_is_refused_even_with_a_right_checksum(size):
    with pytest.raises(DecodeError):
        decode_pool(_with_checksum(WITH_DELTAS[:size]), {IDENTITY})


@given(st.integers(0, len(DATA) * 8 - 1))
def test_any_flipped_bit_is_refused(bit):
    damaged = bytearray(DATA)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DecodeError):
        decode_pool(bytes(damaged), {IDENTITY})


@given(st.integers(0, len(DATA) - 1))
def test_any_truncation_is_refused(size):
    with pytest.raises(DecodeError):
        decode_pool(DATA[:size], {IDENTITY})


@given(st.binary(max_size=200))
def test_garbage_is_refused_even_with_a_right_checksum(garbage):
    body = DATA[:12] + garbage
    with pytest.raises((DecodeError, WrongPoolNetworkError)):
        decode_pool(body + sha256d(body), {IDENTITY})


def _with_checksum(body: bytes) -> bytes:
    return body + sha256d(body)


def test_bytes_after_the_last_transaction_are_refused():
    with pytest.raises(DecodeError, match="1 byte after"):
        decode_pool(_with_checksum(DATA[:-32] + b"\x00"), {IDENTITY})


def test_a_count_that_is_too_high_is_refused():
    body = bytearray(encode_pool([], IDENTITY, {})[:-32])
    body[-4:] = b"\xff\xff\xff\xff"
    with pytest.raises(DecodeError, match="truncated"):
        decode_pool(_with_checksum(bytes(body)), {IDENTITY})


def test_a_later_version_is_refused():
    body = bytearray(DATA[:-32])
    body[8] = 3
    with pytest.raises(DecodeError, match="version 3"):
        decode_pool(_with_checksum(bytes(body)), {IDENTITY})


def test_another_networks_file_is_refused():
    with pytest.raises(WrongPoolNetworkError):
        decode_pool(DATA, {network_identity(DEVNET)})


def test_a_file_that_is_too_large_is_refused_before_it_is_hashed():
    class Huge(bytes):
        def __len__(self) -> int:
            return FILE_BYTES_MAX + 1

    with pytest.raises(DecodeError, match="at most"):
        decode_pool(Huge(), {IDENTITY})
