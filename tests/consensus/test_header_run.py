"""Headers in a row are valid if each is, one by one."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError
from chain.consensus.genesis import genesis_block
from chain.consensus.header import VERSION_MIN, check_header_context, check_header_work
from chain.consensus.header_run import are_valid, first_without_work
from chain.consensus.params import DEVNET, REGTEST, Params
from chain.consensus.work import meets_target, next_bits
from chain.primitives.block import Header, RawHeaders
from chain.primitives.numbers import NULL_HASH, Hash32
from tests.builders import solve

EASY_ASERT = replace(DEVNET, target_limit_bits=0x207FFFFF, asert_half_life_s=60)
ORDINARY = ("", 1)
VERSIONS = {"version": VERSION_MIN - 1, "negative": -(2**31)}
WRONG = ["bits", "easy", "version", "negative", "nonce", "previous"]
STEPS = st.one_of(
    st.just(ORDINARY),
    st.tuples(st.just(""), st.integers(-1, 2) | st.integers(-40, 400)),
    st.tuples(
        st.sampled_from(["bits", "easy", "version", "negative", "nonce", "previous"]), st.just(1)
    ),
)


def child(parent: BlockTreeEntry, step: tuple[str, int], params: Params) -> Header:
    """A header whose time is so far over the median, with one field wrong."""
    wrong, over_median = step
    header = Header(
        version=VERSIONS.get(wrong, VERSION_MIN),
        previous=Hash32(bytes(31) + b"\x01") if wrong == "previous" else parent.id,
        merkle_root=NULL_HASH,
        time=parent.median_time_past + over_median,
        bits=next_bits(parent.height, parent.header.time, parent.anchor_time, params),
        nonce=0,
    )
    if wrong == "easy":
        return replace(header, bits=0x2100FFFF)  # over the limit
    header = solve(replace(header, bits=header.bits - (wrong == "bits")), params)
    while wrong == "nonce" and meets_target(header.id, header.bits, params):
        header = replace(header, nonce=header.nonce + 1)
    return header


def has_work(header: Header, params: Params) -> bool:
    try:
        check_header_work(header, params)
    except InvalidError:
        return False
    return True


def follows(header: Header, parent: BlockTreeEntry, now: int, params: Params) -> bool:
    try:
        check_header_context(header, parent, now, params)
    except InvalidError:
        return False
    return header.previous == parent.id and has_work(header, params)


@given(
    st.sampled_from([REGTEST, EASY_ASERT]),
    st.lists(st.integers(1, 60), max_size=14),
    st.lists(STEPS, min_size=1, max_size=14),
    st.integers(-2, 3),
)
@example(REGTEST, [], [ORDINARY] * 13, 0)
@example(REGTEST, [5] * 12, [("", 0)], 9)
def test_a_run_is_valid_if_each_header_is(params, below, steps, spare_s):
    parent = BlockTreeEntry(genesis_block(params).header, None)
    for over_median in below:
        parent = BlockTreeEntry(child(parent, ("", over_median), params), parent)
    entries = [parent]
    for step in steps:
        entries.append(BlockTreeEntry(child(entries[-1], step, params), entries[-1]))
    headers = [entry.header for entry in entries[1:]]
    now = max(header.time for header in headers) - params.header_ahead_s_max + spare_s
    right = [
        follows(header, before, now, params)
        for header, before in zip(headers, entries[:-1], strict=True)
    ]
    run = RawHeaders.of(headers)
    without = [place for place, header in enumerate(headers) if not has_work(header, params)]
    assert first_without_work(run, params) == (without[0] if without else None)
    assert are_valid(run, parent, now, params) == all(right)
    some = right.index(False) if False in right else len(right)
    assert are_valid(run[:some], parent, now, params) == (some > 0)


@pytest.mark.parametrize("params", [REGTEST, EASY_ASERT], ids=["fixed", "asert"])
def test_a_run_in_another_order_or_upon_another_header_is_not_valid(params):
    entries = [BlockTreeEntry(genesis_block(params).header, None)]
    for _ in range(5):
        entries.append(BlockTreeEntry(child(entries[-1], ORDINARY, params), entries[-1]))
    run, now = RawHeaders.of([entry.header for entry in entries[1:]]), entries[-1].header.time
    assert are_valid(run, entries[0], now, params)
    assert not are_valid(run[1:], entries[0], now, params)
    assert not are_valid(run[::-1], entries[0], now, params)
    assert not are_valid(run, entries[1], now, params)
