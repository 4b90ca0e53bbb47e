"""Merkle trees and CVE-2012-2459."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.primitives.hashes import sha256d
from chain.primitives.merkle import merkle_branch, merkle_root
from chain.primitives.numbers import NULL_HASH
from tests.primitives.strategies import hashes


def test_no_leaves_give_the_null_hash():
    assert merkle_root([]) == (NULL_HASH, False)


@pytest.mark.parametrize("count", [3, 5, 6, 7, 70])
def test_a_repeated_tail_keeps_the_root_and_is_told(count):
    leaves = [sha256d(bytes([n])) for n in range(count)]
    width = count & -count  # the lowest set bit: so many leaves can be repeated unseen
    root, mutated = merkle_root(leaves)
    assert not mutated
    assert merkle_root(leaves + leaves[-width:]) == (root, True)


def test_vectors_of_cve_2012_2459(vectors):
    for row in json.loads((vectors / "merkle" / "merkle_cve_2012_2459.json").read_text()):
        leaves = [bytes.fromhex(leaf) for leaf in row["leaves"]]
        assert merkle_root(leaves) == (bytes.fromhex(row["root"]), row.get("mutated", False))
        for count in row.get("same_root_when_tail_duplicated_to", []):
            longer = leaves + leaves[len(leaves) - (count - len(leaves)) :]
            assert merkle_root(longer) == (bytes.fromhex(row["root"]), True)


@given(st.lists(hashes, min_size=1, max_size=40), st.data())
def test_a_branch_proves_its_leaf(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    node, position = leaves[index], index
    for sibling in merkle_branch(leaves, index):
        node = sha256d(sibling + node if position & 1 else node + sibling)
        position >>= 1
    assert node == merkle_root(leaves)[0]
