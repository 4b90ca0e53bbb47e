"""Proofs that transactions are in a block."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.genesis import genesis_block
from chain.consensus.params import REGTEST
from chain.primitives.encoding import DecodeError
from chain.primitives.hashes import sha256d
from chain.primitives.merkle import merkle_root
from chain.primitives.merkle_block import decode_merkle_block, encode_merkle_block

HEADER = genesis_block(REGTEST).header
LEAVES = [sha256d(bytes([n])) for n in range(4)]


def test_a_proof_of_one_of_four_is_its_sibling_and_the_other_half():
    data = encode_merkle_block(HEADER, LEAVES, {LEAVES[2]})
    left = sha256d(LEAVES[0] + LEAVES[1])
    # depth first: root yes, left no, right yes, third yes, fourth no -> 1, 0, 1, 1, 0
    wanted = (4).to_bytes(4, "little") + b"\x03" + left + LEAVES[2] + LEAVES[3] + b"\x01\x0d"
    assert data == HEADER.encode() + wanted


@given(st.integers(1, 40), st.data())
def test_what_is_encoded_is_read_with_the_root(count, data):
    leaves = [sha256d(bytes([n])) for n in range(count)]
    wanted = data.draw(st.sets(st.sampled_from(leaves)))
    decoded = decode_merkle_block(encode_merkle_block(HEADER, leaves, wanted), count)
    assert decoded.header == HEADER
    assert decoded.root == merkle_root(leaves)[0]
    assert decoded.proven == tuple(leaf for leaf in leaves if leaf in wanted)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    for head in (b"", HEADER.encode()):
        with suppress(DecodeError):
            decode_merkle_block(head + data, 1000)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data + b"\0",
        lambda data: data[:-1],
        lambda data: data[:80] + b"\x00\x00\x00\x00" + data[84:],
        lambda data: data[:80] + b"\x05\x00\x00\x00" + data[84:],
    ],
    ids=["longer", "shorter", "no transactions", "more than a block has"],
)
def test_a_spoilt_proof_is_refused(spoil):
    data = encode_merkle_block(HEADER, LEAVES, {LEAVES[2]})
    with pytest.raises(DecodeError):
        decode_merkle_block(spoil(data), 4)


def test_equal_nodes_side_by_side_are_refused():
    """CVE-2012-2459: three leaves, and the same with the third given twice, have one root."""
    twice = [*LEAVES[:3], LEAVES[2]]
    assert merkle_root(twice)[0] == merkle_root(LEAVES[:3])[0]
    with pytest.raises(DecodeError, match="side by side"):
        decode_merkle_block(encode_merkle_block(HEADER, twice, set(twice)), 4)
