"""ECDSA as consensus sees it, by both back ends."""

import hashlib
import json

import ecdsa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.primitives import signature as module
from chain.primitives.sighash import SignatureHasher
from chain.primitives.signature import (
    ORDER,
    is_low_s,
    is_strict_der,
    is_tweaked_key,
    public_key,
    sign,
    verify,
    verify_schnorr,
)
from chain.primitives.transaction import decode_transaction
from tests.builders import Key
from tests.primitives.test_transaction import BIP143_RAW

DIGEST = hashlib.sha256(b"groat").digest()
KEY = Key(7)


def high_s(signature: bytes) -> bytes:
    """Return the other valid form of a low-S signature."""
    r, s = module._der_numbers(signature)
    numbers = b""
    for value in (r, ORDER - s):
        raw = value.to_bytes(value.bit_length() // 8 + 1, "big")
        numbers += bytes([2, len(raw)]) + raw
    return bytes([0x30, len(numbers)]) + numbers


def both(key: bytes, signature: bytes, digest: bytes) -> bool:
    """Verify with either back end; they must agree."""
    answer = verify(key, signature, digest)
    if is_strict_der(signature) and len(key) == module._KEY_BYTES.get(key[0] if key else 0):
        assert module._verify_in_python(key, signature, digest) is answer
    return answer


def test_what_is_signed_verifies_and_is_low_s():
    signature = sign(KEY.private, DIGEST)
    assert both(KEY.public, signature, DIGEST)
    assert is_low_s(signature)
    assert len(signature) <= 70  # low R too
    assert not both(KEY.public, signature, hashlib.sha256(b"other").digest())
    assert not both(Key(8).public, signature, DIGEST)


def test_high_s_is_valid_in_consensus_and_not_low():
    signature = high_s(sign(KEY.private, DIGEST))
    assert both(KEY.public, signature, DIGEST)
    assert not is_low_s(signature)


def test_uncompressed_and_hybrid_keys_verify_with_the_right_parity_only():
    keys = pytest.importorskip("btclib_secp256k1.keys")
    full = keys.pubkey_from_prvkey(KEY.private, compressed=False)
    signature = sign(KEY.private, DIGEST)
    odd = full[-1] & 1
    assert both(full, signature, DIGEST)
    assert both(bytes([6 + odd]) + full[1:], signature, DIGEST)
    assert not both(bytes([7 - odd]) + full[1:], signature, DIGEST)


@pytest.mark.parametrize(
    "key", [b"", b"\x02", b"\x05" + bytes(32), b"\x02" + b"\xff" * 32, bytes(33)]
)
def test_what_is_no_key_verifies_nothing(key):
    assert not both(key, sign(KEY.private, DIGEST), DIGEST)


@given(st.binary(max_size=80), st.binary(min_size=32, max_size=32))
def test_garbage_is_no_signature(garbage, digest):
    assert not both(KEY.public, garbage, digest)


@given(st.data())
def test_both_back_ends_agree_on_mutated_signatures(data):
    signature = bytearray(sign(KEY.private, DIGEST))
    signature[data.draw(st.integers(0, len(signature) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert not both(KEY.public, bytes(signature), DIGEST)


@pytest.mark.parametrize(
    "signature",
    [
        "3006020101020101",  # r = s = 1
        "3006020100020101",  # r = 0
    ],
)
def test_tiny_strict_der_is_der_but_verifies_nothing(signature):
    assert is_strict_der(bytes.fromhex(signature))
    assert not both(KEY.public, bytes.fromhex(signature), DIGEST)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "3006020101",
        "3106020101020101",  # not a sequence
        "3007020101020101",  # wrong length
        "3006030101020101",  # not an integer
        "3006020181020101",  # negative
        "300702020001020101",  # padded
        "30060201010201010a",  # trailing byte
        "3006020001020101",  # empty integer
    ],
)
def test_loose_der_is_refused(signature):
    assert not is_strict_der(bytes.fromhex(signature))


@pytest.mark.parametrize("low_only", [False, True])
def test_wycheproof_agrees_with_both_back_ends(vectors, low_only):
    name = "ecdsa_secp256k1_sha256_bitcoin_test" if low_only else "ecdsa_secp256k1_sha256_test"
    groups = json.loads((vectors / "wycheproof" / f"{name}.json").read_text())["testGroups"]
    cases = 0
    for group in groups:
        key = bytes.fromhex(group["publicKey"]["uncompressed"])
        for case in group["tests"]:
            signature = bytes.fromhex(case["sig"])
            valid = both(key, signature, hashlib.sha256(bytes.fromhex(case["msg"])).digest())
            if low_only and valid:
                valid = is_low_s(signature)
            assert valid == (case["result"] == "valid"), case
            cases += 1
    assert cases == (463 if low_only else 476)


def test_bip143_native_p2wpkh_digest():
    transaction = decode_transaction(BIP143_RAW)
    key_hash = bytes.fromhex("1d0f172a0ecb48aee1be1f2687d2963ae33f71a1")
    digest = SignatureHasher(transaction).hash(1, key_hash, 600_000_000, 1)
    assert digest.hex() == "c37af31116d1b27caf68aae9e3ac82f1477929014d5b917657d0eb49478cb670"
    signature, key = transaction.inputs[1].witness
    assert verify(key, signature[:-1], digest)


def test_generated_digests_of_all_hash_types(vectors):
    rows = json.loads((vectors / "bip143" / "generated_p2wpkh_400.json").read_text())
    for row in rows:
        transaction = decode_transaction(bytes.fromhex(row["tx"]))
        key_hash = bytes.fromhex(row["script_pubkey"])[2:]
        digest = SignatureHasher(transaction).hash(
            row["input"], key_hash, row["amount"], row["hashtype"]
        )
        assert digest.hex() == row["sighash"]
    assert len({row["hashtype"] for row in rows}) > 5


def test_public_keys_are_compressed():
    assert public_key((1).to_bytes(32, "big")).hex() == (
        "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    )
    with pytest.raises(ValueError, match="key"):
        public_key(bytes(32))


@pytest.mark.parametrize("portable", [False, True])
def test_a_public_key_is_a_point_of_the_curve_and_not_hybrid(monkeypatch, portable):
    full = ecdsa.VerifyingKey.from_string(KEY.public, ecdsa.SECP256k1).to_string("uncompressed")
    hybrid = bytes([6 + (full[-1] & 1)]) + full[1:]
    if portable:
        monkeypatch.setattr(module, "keys", None)
    for key, is_one in (
        (KEY.public, True),
        (full, True),
        (hybrid, False),
        (b"", False),
        (KEY.public[:-1], False),
        (KEY.public + b"x", False),
        (b"\x05" + KEY.public[1:], False),
        (b"\x02" + b"\xff" * 32, False),
        (b"\x02" + bytes(31) + b"\x05", False),
        (full[:-1] + bytes([full[-1] ^ 1]), False),
    ):
        assert module.is_public_key(key) == is_one, key.hex()


@pytest.fixture
def _portable():
    """Let `ecc` compute by itself, not by libsecp256k1."""
    curves = pytest.importorskip("ecc.curves")
    before = curves.is_libsecp256k1_serving()
    curves.set_libsecp256k1_serving(serving=False)
    yield
    curves.set_libsecp256k1_serving(serving=before)


@pytest.mark.usefixtures("_portable")
def test_both_back_ends_agree_on_schnorr_signatures():
    ssa = pytest.importorskip("btclib_secp256k1.ssa")
    key = KEY.public[1:]
    right = ssa.sign(DIGEST, KEY.private, bytes(32))
    cases = [
        (key, right, DIGEST, True),
        (Key(8).public[1:], right, DIGEST, False),
        (key, right, bytes(32), False),
        (key, bytes(64), DIGEST, False),
        (key, right[:32] + ORDER.to_bytes(32, "big"), DIGEST, False),
        (key, b"\xff" * 32 + right[32:], DIGEST, False),
        (b"\xff" * 32, right, DIGEST, False),
        (bytes(32), right, DIGEST, False),
        *((key, flipped(right, bit), DIGEST, False) for bit in (0, 255, 256, 511)),
    ]
    for *case, expected in cases:
        assert verify_schnorr(*case) is expected
        assert module._verify_schnorr_in_python(*case) is expected


@pytest.mark.usefixtures("_portable")
def test_both_back_ends_agree_on_tweaked_keys():
    xonly = pytest.importorskip("btclib_secp256k1.xonly")
    key, other = KEY.public[1:], Key(8).public[1:]
    tweaked, parity = xonly.tweak_add(key, DIGEST)
    cases = [
        (tweaked, parity, key, DIGEST, True),
        (tweaked, 1 - parity, key, DIGEST, False),
        (other, parity, key, DIGEST, False),
        (tweaked, parity, other, DIGEST, False),
        (tweaked, parity, key, flipped(DIGEST, 3), False),
        (tweaked, parity, key, ORDER.to_bytes(32, "big"), False),
        (tweaked, parity, b"\xff" * 32, DIGEST, False),
        (key, 0, key, bytes(32), True),  # the point of an x-only key has an even y
    ]
    for *case, expected in cases:
        assert is_tweaked_key(*case) is expected
        assert module._is_tweaked_key_in_python(*case) is expected


def flipped(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "big") ^ 1 << bit).to_bytes(len(data), "big")
