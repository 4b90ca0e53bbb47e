"""Compact targets, proof of work, ASERT."""

import json
import re
from base64 import b64decode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.params import DEVNET, MAIN, NETWORKS, REGTEST
from chain.consensus.work import asert_target, meets_target, next_bits
from chain.primitives.block import decode_header
from chain.primitives.compact import bits_from_target, target_from_bits, work_from_bits

LIMIT = target_from_bits(MAIN.target_limit_bits)


@pytest.mark.parametrize(
    ("bits", "target"),  # Bitcoin: arith_uint256_tests.cpp, bignum_SetCompact
    [
        (0x01123456, 0x12),
        (0x02123456, 0x1234),
        (0x03123456, 0x123456),
        (0x04123456, 0x12345600),
        (0x05009234, 0x92340000),
        (0x20123456, 0x123456 << 232),
        (0x00000000, None),
        (0x01003456, None),
        (0x01FEDCBA, None),
        (0x04923456, None),
        (0xFF123456, None),
        (0x2200FFFF, None),
        (0x21010000, None),
        (0x2100FFFF, 0xFFFF << 240),
    ],
)
def test_compact_bits_mean_a_target_or_none(bits, target):
    assert target_from_bits(bits) == target


def test_compact_vectors(vectors):
    rows = json.loads((vectors / "nbits" / "arith_uint256_compact.json").read_text())
    for row in rows["decode"]:
        target = int(row["target"] or "0", 16)  # none is given where it overflows
        bad = row["negative"] or row["overflow"] or not target
        assert target_from_bits(int(row["bits"], 16)) == (None if bad else target)
        if not bad:
            assert bits_from_target(target) == int(row["reencode"], 16)


@given(st.integers(1, (1 << 256) - 1))
def test_the_compact_form_of_a_target_rounds_down_a_little(target):
    rounded = target_from_bits(bits_from_target(target))
    assert rounded <= target < rounded + max(1, rounded >> 14)
    assert bits_from_target(rounded) == bits_from_target(target)


@pytest.mark.parametrize(("over", "meets"), [(0, True), (1, False)])
def test_proof_of_work_is_met_at_the_target_and_not_above(over, meets):
    target = target_from_bits(REGTEST.target_limit_bits)
    block_id = (target + over).to_bytes(32, "little")
    assert meets_target(block_id, REGTEST.target_limit_bits, REGTEST) is meets


@pytest.mark.parametrize("bits", [0x20800000, 0x2100FFFF, 0x207FFFFF + 1, 0, 0xFF123456])
def test_bits_that_are_no_target_or_easier_than_the_limit_are_never_met(bits):
    assert not meets_target(bytes(32), bits, REGTEST)


def test_work_is_the_expected_number_of_hashes():
    assert work_from_bits(0x207FFFFF) == 2
    assert work_from_bits(0x1D00FFFF) == 4_295_032_833
    assert work_from_bits(0) == 0


@pytest.mark.parametrize(
    ("drift", "bits"),  # the first rows of BCHN's run05: height jumps of a half-life, no time
    [(-600 * 2, 0x1D00FEC5), (-600 * 290, 0x1C7F62C0), (-600 * 578, 0x1C3FB160)],
)
def test_asert_reference_rows(drift, bits):
    limit = target_from_bits(0x1D00FFFF)
    assert bits_from_target(asert_target(limit, drift, 172_800, limit)) == bits


def test_asert_vectors(vectors):
    limit = target_from_bits(0x1D00FFFF)
    count = 0
    for file in sorted((vectors / "asert").glob("run*")):
        lines = file.read_text().splitlines()
        head = dict(re.findall(r"##\s+(anchor [^:]+):\s*(\S+)", "\n".join(lines)))
        reference = target_from_bits(int(head["anchor nBits"], 16))
        parent_time, height = int(head["anchor parent time"]), int(head["anchor height"])
        for line in lines:
            if line.startswith("#") or not line.strip():
                continue
            _, at, time, bits = line.split()
            drift = int(time) - parent_time - 600 * (int(at) - height + 1)
            target = asert_target(reference, drift, 172_800, limit)
            assert bits_from_target(target) == int(bits, 16), (file.name, line)
            count += 1
    assert count == 14_000


def test_asert_truncates_toward_zero():
    """One second late or early moves the exponent by 65536/half-life, rounded toward zero."""
    tiny = 65_536 * 2  # a half-life so long that one second is half a step
    assert asert_target(LIMIT >> 8, -1, tiny, LIMIT) == asert_target(LIMIT >> 8, 1, tiny, LIMIT)


@pytest.mark.parametrize("params", [MAIN, DEVNET])
def test_the_target_halves_after_a_half_life_of_being_early(params):
    blocks = params.asert_half_life_s // params.spacing_s
    bits = next_bits(blocks + 1, 1000, 1000, params)
    limit = target_from_bits(params.target_limit_bits)
    assert bits == bits_from_target(limit // 2)


def test_blocks_one_and_two_have_the_easiest_target():
    for parent_height in (0, 1):
        assert next_bits(parent_height, 10**6, 0, MAIN) == MAIN.target_limit_bits
    assert next_bits(2, 0, 0, MAIN) != MAIN.target_limit_bits


def test_the_target_is_never_easier_than_the_limit_nor_zero():
    assert next_bits(5, 10**9, 0, MAIN) == MAIN.target_limit_bits
    assert target_from_bits(next_bits(10**7, 0, 0, MAIN)) == 1


def test_on_regtest_the_difficulty_never_changes():
    assert next_bits(10**6, 0, 10**9, REGTEST) == REGTEST.target_limit_bits


def test_every_network_limit_is_a_target():
    for params in NETWORKS.values():
        limit = target_from_bits(params.target_limit_bits)
        assert limit is not None
        assert bits_from_target(limit) == params.target_limit_bits
        assert target_from_bits(replace(params).genesis_bits) <= limit


def test_mainnet_checkpoints_meet_their_bits(vectors):
    lines = (vectors / "headers" / "bitcoinj_mainnet_checkpoints.txt").read_text().split()
    rows = [line for line in lines if len(line) > 100]
    bitcoin = replace(REGTEST, target_limit_bits=0x1D00FFFF)
    for row in rows:
        raw = b64decode(row + "=" * (-len(row) % 4))
        header = decode_header(raw[16:])
        assert meets_target(header.id, header.bits, bitcoin)
    assert len(rows) >= 430
