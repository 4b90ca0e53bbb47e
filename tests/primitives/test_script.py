"""Script templates, numbers, sigop counts and texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.primitives.script import (
    ScriptKind,
    count_sigops,
    is_p2sh,
    is_unspendable,
    last_push,
    op_return,
    operations,
    p2wpkh_key_hash,
    push,
    push_number,
    script_kind,
    script_text,
    witness_program,
)


@pytest.mark.parametrize(
    ("number", "script"),
    [
        (0, "00"),
        (1, "51"),
        (16, "60"),
        (17, "0111"),
        (127, "017f"),
        (128, "028000"),
        (255, "02ff00"),
        (256, "020001"),
        (32767, "02ff7f"),
        (32768, "03008000"),
        (8_388_607, "03ffff7f"),
        (8_388_608, "0400008000"),
    ],
)
def test_numbers_are_pushed_as_bitcoin_pushes_them(number, script):
    assert push_number(number).hex() == script


@pytest.mark.parametrize(
    ("script", "count"),
    [
        ("ac", 1),
        ("ad", 1),
        ("ae", 20),
        ("af", 20),
        ("01ac", 0),
        ("01acac", 1),
        ("ac4c", 1),
        ("ac02ac", 1),
        ("6aac", 1),
        ("4c01acac", 1),
        ("4d0100acac", 1),
        ("4e01000000acac", 1),
        ("4eac", 0),
    ],
)
def test_sigops_are_counted_to_the_first_push_cut_short(script, count):
    assert count_sigops(bytes.fromhex(script)) == count


@given(st.binary(max_size=60))
def test_reading_operations_ends_for_any_bytes(script):
    pieces = list(operations(script))
    assert len(pieces) <= len(script)
    assert script_text(script).count("OP_") >= len(pieces)


@pytest.mark.parametrize(
    ("script", "kind", "text"),
    [
        ("", ScriptKind.EMPTY, ""),
        ("0014" + "ab" * 20, ScriptKind.P2WPKH, "OP_0 OP_PUSHBYTES_20 " + "ab" * 20),
        ("0020" + "ab" * 32, ScriptKind.P2WSH, "OP_0 OP_PUSHBYTES_32 " + "ab" * 32),
        ("5120" + "ab" * 32, ScriptKind.P2TR, "OP_PUSHNUM_1 OP_PUSHBYTES_32 " + "ab" * 32),
        (
            "a914" + "ab" * 20 + "87",
            ScriptKind.P2SH,
            "OP_HASH160 OP_PUSHBYTES_20 " + "ab" * 20 + " OP_EQUAL",
        ),
        (
            "76a914" + "ab" * 20 + "88ac",
            ScriptKind.P2PKH,
            "OP_DUP OP_HASH160 OP_PUSHBYTES_20 " + "ab" * 20 + " OP_EQUALVERIFY OP_CHECKSIG",
        ),
        ("21" + "02" * 33 + "ac", ScriptKind.P2PK, "OP_PUSHBYTES_33 " + "02" * 33 + " OP_CHECKSIG"),
        ("6a0548656c6c6f", ScriptKind.OP_RETURN, "OP_RETURN OP_PUSHBYTES_5 48656c6c6f"),
        ("51", ScriptKind.UNKNOWN, "OP_PUSHNUM_1"),
        ("02ab", ScriptKind.UNKNOWN, "<push past end>"),
    ],
)
def test_scripts_are_named_and_shown_as_esplora_does(script, kind, text):
    assert script_kind(bytes.fromhex(script)) is kind
    assert script_text(bytes.fromhex(script)) == text


@pytest.mark.parametrize(("size", "unspendable"), [(10_000, False), (10_001, True)])
def test_scripts_over_10000_bytes_never_become_coins(size, unspendable):
    assert is_unspendable(bytes(size)) is unspendable


def test_op_return_never_becomes_a_coin():
    assert is_unspendable(op_return(b"hello"))
    assert not is_unspendable(push(b"hello"))
    assert not is_unspendable(b"")


def test_only_the_exact_template_is_p2wpkh():
    assert p2wpkh_key_hash(b"\x00\x14" + bytes(20)) == bytes(20)
    for script in (b"\x00\x14" + bytes(19), b"\x00\x14" + bytes(21), b"\x51\x14" + bytes(20)):
        assert p2wpkh_key_hash(script) is None


@pytest.mark.parametrize(
    ("size", "start"),
    [(0, "00"), (75, "4b"), (76, "4c4c"), (255, "4cff"), (256, "4d0001"), (65536, "4e00000100")],
)
def test_data_is_pushed_with_its_size_in_the_shortest_form(size, start):
    assert push(bytes(size)) == bytes.fromhex(start) + bytes(size)
    assert last_push(push(bytes(size))) == bytes(size)


@pytest.mark.parametrize(
    ("script", "pushed"),
    [
        ("", ""),
        ("01aa", "aa"),
        ("01aa0102", "02"),
        ("01aa51", ""),
        ("01aa4f", ""),
        ("01aa50", ""),
        ("01aa61", None),
        ("6101aa", None),
        ("01aa02aa", None),
    ],
)
def test_the_last_push_of_pushes_alone(script, pushed):
    assert last_push(bytes.fromhex(script)) == (None if pushed is None else bytes.fromhex(pushed))


@pytest.mark.parametrize(
    ("script", "program"),
    [
        ("0002aabb", (0, "aabb")),
        ("5102aabb", (1, "aabb")),
        ("6002aabb", (16, "aabb")),
        ("6102aabb", None),
        ("4f02aabb", None),
        ("5102aabbcc", None),
        ("5101aa", None),
        ("51", None),
        ("5128" + "00" * 40, (1, "00" * 40)),
        ("5129" + "00" * 41, None),
    ],
)
def test_witness_programs_have_a_version_and_2_to_40_bytes(script, program):
    expected = None if program is None else (program[0], bytes.fromhex(program[1]))
    assert witness_program(bytes.fromhex(script)) == expected


def test_p2sh_is_told_by_its_exact_bytes():
    assert is_p2sh(b"\xa9\x14" + bytes(20) + b"\x87")
    assert not is_p2sh(b"\xa9\x4c\x14" + bytes(20) + b"\x87")
    assert not is_p2sh(b"\xa9\x14" + bytes(20) + b"\x88")


@pytest.mark.parametrize(
    ("script", "count"),
    [("51ae", 1), ("60ae", 16), ("00ae", 20), ("4fae", 20), ("0101ae", 20), ("51ac60af", 17)],
)
def test_multisigs_count_the_keys_that_stand_right_before_them_if_accurate(script, count):
    assert count_sigops(bytes.fromhex(script), accurate=True) == count
    assert count_sigops(bytes.fromhex(script)) >= 20
