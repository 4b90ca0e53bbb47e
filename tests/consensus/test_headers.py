"""Rules for headers, and the tree of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.entry import (
    LOCATOR_ENTRIES_MAX,
    MEDIAN_SPAN,
    BlockTreeEntry,
    fork_point,
)
from chain.consensus.errors import Reason
from chain.consensus.genesis import genesis_block
from chain.consensus.header import check_header_context, check_header_work
from chain.consensus.params import DEVNET, REGTEST
from chain.ledger.header_columns import PAGE_HEADERS, HeaderColumns, Page
from chain.primitives.block import Header
from chain.primitives.numbers import NULL_HASH
from tests.builders import ChainBuilder, block_on
from tests.consensus.checks import refused

NOW = 2_000_000_000


def line(parent: BlockTreeEntry, times: list[int]) -> BlockTreeEntry:
    """Extend `parent` by headers with these times; no work, only the tree."""
    for time in times:
        parent = BlockTreeEntry(Header(4, parent.id, NULL_HASH, time, 0x207FFFFF, 0), parent)
    return parent


GENESIS = BlockTreeEntry(genesis_block(REGTEST).header, None)
LONG = [GENESIS]
for _ in range(300):
    LONG.append(line(LONG[-1], [LONG[-1].header.time + 1]))


def header(**changes) -> Header:
    return replace(block_on(LONG[20]).header, **changes)


def test_a_header_that_misses_its_target_is_refused():
    good = block_on(GENESIS).header
    check_header_work(good, REGTEST)
    nonce = next(n for n in range(99) if replace(good, nonce=n).id[31] >= 0x80)
    with refused(Reason.PROOF_OF_WORK):
        check_header_work(replace(good, nonce=nonce), REGTEST)


@pytest.mark.parametrize("bits", [0x207FFFFE, 0x1D00FFFF, 0x20800000])
def test_bits_must_be_exactly_what_the_rule_gives(bits):
    with refused(Reason.BITS):
        check_header_context(header(bits=bits), LONG[20], NOW, REGTEST)


def test_bits_follow_asert_from_block_one():
    chain = ChainBuilder(replace(DEVNET, target_limit_bits=0x207FFFFF))
    chain.add(time=chain.tip.header.time + 10**6)  # the gap after genesis does not count
    assert chain.tip.anchor_time == chain.tip.header.time
    for _ in range(3):
        chain.add()
    assert chain.tip.header.bits < 0x207FFFFF


@pytest.mark.parametrize(("over_median", "accepted"), [(0, False), (1, True)])
def test_time_must_be_over_the_median_of_eleven(over_median, accepted):
    late = header(time=LONG[20].median_time_past + over_median)
    if accepted:
        check_header_context(late, LONG[20], NOW, REGTEST)
    else:
        with refused(Reason.TIME_TOO_OLD):
            check_header_context(late, LONG[20], NOW, REGTEST)


@pytest.mark.parametrize("params", [REGTEST, DEVNET], ids=lambda p: p.name)
@pytest.mark.parametrize(("over", "accepted"), [(0, True), (1, False)])
def test_time_may_be_ahead_of_the_clock_by_the_limit(params, over, accepted):
    chain = ChainBuilder(replace(params, target_limit_bits=0x207FFFFF, asert_half_life_s=0))
    early = replace(
        block_on(chain.tip, params=chain.params).header, time=NOW + params.header_ahead_s_max + over
    )
    if accepted:
        check_header_context(early, chain.tip, NOW, chain.params)
    else:
        with refused(Reason.TIME_TOO_NEW):
            check_header_context(early, chain.tip, NOW, chain.params)


@pytest.mark.parametrize(
    ("version", "text"),
    [(3, "0x00000003"), (0, "0x00000000"), (-1, "0xffffffff"), (4, ""), (2**31 - 1, "")],
)
def test_versions_below_four_are_refused_as_signed_numbers(version, text):
    if not text:
        check_header_context(header(version=version), LONG[20], NOW, REGTEST)
        return
    with refused(Reason.VERSION, text) as _:
        check_header_context(header(version=version), LONG[20], NOW, REGTEST)


def test_the_median_of_few_headers_is_the_upper_middle():
    base = GENESIS.header.time
    assert GENESIS.median_time_past == base
    assert line(GENESIS, [base + 7]).median_time_past == base + 7
    assert line(GENESIS, [base + 7, base + 3]).median_time_past == base + 3


def test_the_median_is_the_sixth_of_eleven():
    base = LONG[100]
    times = [base.header.time + n for n in (9, 1, 8, 2, 7, 3, 6, 4, 5, 10, 11)]
    assert line(base, times).median_time_past == base.header.time + 6


def test_what_is_buried_has_the_same_recent_times_and_median():
    pages = [LONG[start : start + PAGE_HEADERS] for start in (0, PAGE_HEADERS)]
    raw = [b"".join(entry.header.encode() for entry in page) for page in pages]
    chain = HeaderColumns([Page.of(page, 0) for page in raw])
    for held in LONG[: 2 * PAGE_HEADERS]:
        last = max(held.height - MEDIAN_SPAN, -1)
        walked = tuple(LONG[height].header.time for height in range(held.height, last, -1))
        assert BlockTreeEntry.buried(chain, held.height).recent_times == walked
        assert held.recent_times == walked
        assert held.median_time_past == sorted(walked)[len(walked) // 2]


def test_chain_work_adds_up():
    assert [entry.chain_work for entry in LONG[:4]] == [2, 4, 6, 8]


@given(st.integers(0, 300), st.integers(0, 300))
def test_any_ancestor_is_found(one, other):
    low, high = sorted((one, other))
    assert LONG[high].ancestor(low) == LONG[low]
    assert LONG[low].is_ancestor_of(LONG[high])
    assert not LONG[high].is_ancestor_of(LONG[low]) or low == high


@given(st.integers(0, 300), st.integers(1, 30), st.integers(0, 300))
def test_the_fork_point_is_the_last_shared_entry(start, length, other):
    branch = line(LONG[start], [LONG[start].header.time + 50 + n for n in range(length)])
    assert fork_point(branch, LONG[other]) == LONG[min(start, other)]
    assert fork_point(LONG[other], branch) == LONG[min(start, other)]


@pytest.mark.parametrize("height", [0, 1, 9, 10, 11, 12, 300])
def test_a_locator_goes_from_here_to_genesis_ever_sparser(height):
    locator = LONG[height].locator()
    heights = [next(e.height for e in LONG if e.id == block_id) for block_id in locator]
    assert heights[0] == height
    assert heights[-1] == 0
    assert heights[:10] == list(range(height, max(height - 10, -1), -1))
    assert len(locator) <= LOCATOR_ENTRIES_MAX
    assert len(set(heights)) == len(heights)
