"""BIP32: what every other wallet derives, this one derives."""

import json

import pytest

from chain.primitives.extended_key import ExtendedKey, decode_node
from chain.primitives.key_origin import HARDENED, DerivationError
from wallet.keys.derivation import root

SEED = bytes.fromhex("000102030405060708090a0b0c0d0e0f")  # BIP32, test vector 1
PATH = "m/0H/1/2H"
PRIVATE = (
    "xprv9z4pot5VBttmtdRTWfWQmoH1taj2axGVzFqSb8C9xaxKymcFzXBDptWmT7FwuEzG3ryjH4ktypQSAewRiNMjANTtp"
    "gP4mLTj34bhnZX7UiM"
)


def numbers(path):
    """Return the child numbers that a path such as m/0H/1 lists."""
    return [int(w.rstrip("H'h")) + HARDENED * (not w.isdecimal()) for w in path.split("/")[1:]]


def test_known_node_of_the_first_vector():
    node = root(SEED).descend(*numbers(PATH))
    assert node.encode(test=False) == PRIVATE
    assert decode_node(PRIVATE) == node


def test_every_published_node(vectors):
    table = json.loads((vectors / "bip32" / "bip32_test_vectors.json").read_text())
    seen = 0
    for seed, rows in table.items():
        for path, public, private in rows:
            node = root(bytes.fromhex(seed)).descend(*numbers(path))
            assert node.encode(test=False) == private
            assert node.public().encode(test=False) == public
            assert decode_node(public) == node.public()
            assert decode_node(private) == node
            seen += 1
    assert seen == 17


def test_every_published_invalid_key_is_refused(vectors):
    rows = json.loads((vectors / "bip32" / "bip32_invalid_keys.json").read_text())
    assert len(rows) == 16
    for text, _why in rows:
        with pytest.raises(DerivationError):
            decode_node(text)


def test_public_and_private_derivation_agree():
    parent = root(SEED).child(HARDENED)
    for number in (0, 1, 7, HARDENED - 1):
        assert parent.public().child(number) == parent.child(number).public()


@pytest.mark.parametrize(("number", "works"), [(HARDENED - 1, True), (HARDENED, False)])
def test_public_node_has_no_hardened_child(number, works):
    public = root(SEED).public()
    if works:
        assert public.child(number).number == number
    else:
        with pytest.raises(DerivationError):
            public.child(number)


@pytest.mark.parametrize("number", [-1, 1 << 32])
def test_child_number_out_of_range_is_refused(number):
    with pytest.raises(DerivationError):
        root(SEED).child(number)


def test_depth_ends_at_255():
    key = root(SEED)
    deepest = ExtendedKey(key.key, key.chain_code, 255, bytes(4), 0)
    with pytest.raises(DerivationError):
        deepest.child(0)
    assert ExtendedKey(key.key, key.chain_code, 254, bytes(4), 0).child(0).depth == 255


@pytest.mark.parametrize(("size", "works"), [(15, False), (16, True), (64, True), (65, False)])
def test_seed_length(size, works):
    if works:
        assert root(bytes(size)).depth == 0
    else:
        with pytest.raises(DerivationError):
            root(bytes(size))


def test_repr_shows_no_key():
    node = root(SEED)
    shown = repr(node)
    assert node.key.hex() not in shown
    assert repr(node.key) not in shown
    assert repr(node.chain_code) not in shown


def test_public_node_cannot_sign():
    with pytest.raises(DerivationError):
        root(SEED).public().private_key  # noqa: B018
